"""What a layer kind is: one class with typed fields that owns its check, shape and arithmetic."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import UserError
from .arithmetic import BlockFunction
from .checks import check_integer
from .tensor import Shape, Tensor
from .window import Window

__all__ = ["Layer", "Rank"]


@dataclass(frozen=True)
class Rank:
    """Number of axes of an array field, as in ``Annotated[NDArray[np.int8], Rank(4)]``."""

    axes: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer(ABC):
    """What all layers share: names of their tensors and the output clamp.

    A kind is a frozen dataclass with these hooks, entered in `steelyard.network.kinds`. Fields are
    integers, floats, bools, strings, None or one of them, tuples of them, or arrays with type and
    :class:`Rank`; files of networks follow from their annotations (`steelyard.network.arrays`).
    """

    key: ClassVar[str]
    """The kind in files and in the registry of kinds."""
    input_count: ClassVar[int | None] = 1
    """Tensors that it reads; None for any number from 1 on."""

    name: str
    inputs: tuple[str, ...]
    output: str
    lo: int = -128
    """Lower clamp of the int8 output (the zero point for a fused ReLU)."""
    hi: int = 127
    """Upper clamp of the int8 output."""

    @property
    def kind(self) -> str:
        """The kind in tables: the key, but ``fc`` for fully connected layers."""
        return self.key

    @property
    def window(self) -> Window:
        """What an output pixel reads of each input."""
        return Window()

    def rows_read(self, row: int, height: int) -> range:
        """Rows of an input of so many that an output row depends on; neither end falls from one
        output row to the next.

        Parameters
        ----------
        row : of the output, from 0
        """
        window = self.window
        top = row * window.stride[0] - window.padding[0]
        return range(max(top, 0), min(top + window.kernel[0], height))

    @property
    def elementwise(self) -> bool:
        """Whether each element depends on that at its place in every input alone, alike for all."""
        return False

    @property
    def range(self) -> tuple[int, int]:
        """Lowest and highest code that it can give, whatever it reads."""
        return (self.lo, self.hi)

    def macs(self, output: Tensor) -> int:
        """Multiplications by weights for one image, counting pruned weights too."""
        return 0

    @abstractmethod
    def output_shape(self, *inputs: Shape) -> Shape:
        """Shape of the output for shapes of the inputs.

        Raises
        ------
        UserError
            If a weight or window is none, or does not fit the map.
        """

    @abstractmethod
    def check(self, inputs: Sequence[Tensor], output: Tensor) -> None:
        """Refuse what the golden model, the compiler or the gateware cannot take.

        Raises
        ------
        UserError
            One sentence without the layer's name, which :class:`Network` puts before it.
        """

    @abstractmethod
    def golden(self, inputs: Sequence[Tensor], output: Tensor) -> BlockFunction:
        """Function from the inputs' blocks to the output's, with all parameters prepared."""

    def error(self, sentence: str) -> UserError:
        """Error whose sentence has the layer's name before it."""
        return UserError(f"Layer {self.name!r}: {sentence}")

    def check_clamp(self) -> None:
        """Refuse bad clamps.

        Raises
        ------
        UserError
            If one is no int8 code, or `lo` exceeds `hi`.
        """
        check_integer("lo", self.lo, -128, 127)
        check_integer("hi", self.hi, -128, 127)
        if self.lo > self.hi:
            raise UserError(f"lo must not exceed hi, but they are {self.lo} and {self.hi}.")

    def check_moved(self, inputs: Sequence[Tensor], output: Tensor) -> None:
        """Refuse what a layer that only moves codes cannot do: new scales, or a clamp.

        Raises
        ------
        UserError
            Names both scales and zero points.
        """
        for each in inputs:
            if (each.scale, each.zero_point) != (output.scale, output.zero_point):
                raise UserError(
                    f"{self.key} needs equal scale and zero point in and out, not ({each.scale!r}, "
                    f"{each.zero_point}) and ({output.scale!r}, {output.zero_point})."
                )
        if (self.lo, self.hi) != (-128, 127):
            raise UserError(f"{self.key} does not clamp, but lo and hi are {self.lo}, {self.hi}.")

    def check_shape(self, inputs: Sequence[Tensor], output: Tensor) -> None:
        """Refuse an output of another shape than :meth:`output_shape`.

        Raises
        ------
        UserError
            Names the output and both shapes.
        """
        expected = self.output_shape(*(each.shape for each in inputs))
        if output.shape != expected:
            raise UserError(
                f"output {output.name!r} must have the shape {expected} that follows from the "
                f"input, not {output.shape}."
            )
