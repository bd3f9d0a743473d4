"""Methods of network builders whose layers only move codes."""

from abc import ABC, abstractmethod
from typing import Any

from .fields import sides
from .kinds import Interleave, Pad, Repeat, Shuffle, Slice
from .layer import Layer
from .window import Padding

__all__ = ["Shaping"]


class Shaping(ABC):
    """What a builder that can append layers can do with channels and pixels.

    Every method returns the name of its last layer's output, which has the scale and zero point of
    what it reads. `source` is the name of the tensor that it reads, by default the last one; `more`
    is what :meth:`append` takes, for the last layer where there are several.
    """

    @abstractmethod
    def append(
        self,
        kind: type[Layer],
        *sources: str,
        name: str | None = None,
        output: str | None = None,
        scale: float | None = None,
        zero_point: int | None = None,
        **fields: Any,
    ) -> str:
        """Append a layer of any kind."""

    def slice_channels(self, first: int, count: int, source: str | None = None, **more: Any) -> str:
        """Take `count` channels from channel `first` on.

        Raises
        ------
        UserError
            If the source has no such channels.
        """
        return self.append(Slice, *_given(source), first=first, count=count, **more)

    def pad(self, padding: int | Padding, source: str | None = None, **more: Any) -> str:
        """Put real zeros around every map, 0 to 7 on a side; negative padding cuts pixels off.

        Parameters
        ----------
        padding : one for all sides, or top, left, bottom and right
        source, more : as the class says

        Raises
        ------
        UserError
            If a side is beyond 7, nothing is left, or some sides are padded and others cut.
        """
        return self.append(Pad, *_given(source), padding=sides(padding), **more)

    def shuffle(self, groups: int, source: str | None = None, **more: Any) -> str:
        """Put channels ``(groups, n)`` in the order ``(n, groups)``.

        Raises
        ------
        UserError
            If the groups do not divide the channels.
        """
        return self.append(Shuffle, *_given(source), groups=groups, **more)

    def upsample(self, count: int | tuple[int, int], source: str | None = None, **more: Any) -> str:
        """Repeat every pixel, `count` times in height and width, or one count for each.

        Raises
        ------
        UserError
            If a count is below 1, or the map becomes too large.
        """
        rows, columns = (count, count) if isinstance(count, int) else count
        repeated = self.append(Repeat, *_given(source), axis=1, count=rows)
        return self.append(Repeat, repeated, axis=2, count=columns, **more)

    def depth_to_space(
        self, block: int, source: str | None = None, *, inside: bool = False, **more: Any
    ) -> str:
        """Make blocks of ``block * block`` pixels out of as many channels each.

        Parameters
        ----------
        block : rows and columns of a block
        source, more : as the class says
        inside
            Whether channels are (channel, row, column), as for torch's PixelShuffle and ONNX's mode
            CRD, and not (row, column, channel), as in mode DCR.

        Raises
        ------
        UserError
            If ``block * block`` does not divide the channels.
        """
        given = _given(source)
        outer = max(self._channels(*given) // block**2, 1) if inside else 1
        columns = self.append(Interleave, *given, axis=2, count=block, blocks=outer * block)
        return self.append(Interleave, columns, axis=1, count=block, blocks=outer, **more)

    @abstractmethod
    def _channels(self, *source: str) -> int:
        """Channels of a tensor, by default of the last one."""


def _given(source: str | None) -> tuple[str, ...]:
    return () if source is None else (source,)
