"""Integer networks, layer by layer."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .fields import checked_scale, number, pair, per_channel, scaling, sides
from .graph import Network
from .kinds import Add, AvgPool, Concat, Conv, MaxPool
from .layer import Layer
from .scales import add_fixed_point
from .shaping import Shaping
from .tensor import Shape, Tensor
from .window import Padding

__all__ = ["NetworkBuilder"]


class NetworkBuilder(Shaping):
    """Integer network under construction, layer by layer.

    Every method that appends a layer returns the name of its output, for later layers to read; by
    default a layer reads the output of the one before. Shapes follow from the layers, multipliers
    and shifts from the scales unless they are given. Only :meth:`network` checks everything.

    Parameters
    ----------
    name : name of the network
    shape : channels, height and width of the input
    scale, zero_point : real value of one step of the input's codes, and the code of real zero
    input : name of the input

    Examples
    --------
    A convolution with a ReLU, pooling, and ten scores of 8x8 images:

    >>> import numpy as np
    >>> from steelyard.network import NetworkBuilder, golden
    >>> rng = np.random.default_rng(0)
    >>> builder = NetworkBuilder("digits", (1, 8, 8), scale=1 / 255, zero_point=-128)
    >>> weight = rng.integers(-127, 128, (4, 1, 3, 3), np.int8)
    >>> image = builder.conv(weight, weight_scale=0.01, padding=1, scale=0.02, zero_point=-128)
    >>> builder.max_pool(2, image, stride=2)
    'max_pool1'
    >>> weight = rng.integers(-127, 128, (10, 4 * 4 * 4), np.int8)
    >>> scores = builder.fully_connected(weight, weight_scale=0.01, scale=0.5, zero_point=0)
    >>> network = builder.network()
    >>> [layer.name for layer in network.layers], network.tensor(scores).shape
    (['conv0', 'max_pool1', 'fc2'], (10, 1, 1))
    >>> golden.run(network, np.zeros((3, 1, 8, 8), np.int8)).shape
    (3, 10, 1, 1)
    """

    def __init__(
        self,
        name: str,
        shape: Shape,
        *,
        scale: float = 1.0,
        zero_point: int = 0,
        input: str = "input",
    ) -> None:
        self._name = name
        self._input = input
        self._tensors = {input: Tensor(input, shape, scale, zero_point)}
        self._layers: list[Layer] = []

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """All tensors so far, by name."""
        return MappingProxyType(self._tensors)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers so far."""
        return tuple(self._layers)

    @property
    def last(self) -> Tensor:
        """Output of the last layer, or the input before there is one."""
        return self._tensors[self._layers[-1].output if self._layers else self._input]

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
        """Append a layer of any kind.

        Parameters
        ----------
        kind : class of the layer
        sources : names of the tensors that it reads, by default the last one
        name : name of the layer, by default its kind and number
        output : name of the output, by default the layer's
        scale, zero_point : of the output, by default those of the first source
        fields : all other fields of the layer's class; a stride may be one number for both

        Returns
        -------
        str
            Name of the output.

        Raises
        ------
        UserError
            If a source or the output's name is wrong, or the output's shape does not follow.
        """
        inputs = sources or (self.last.name,)
        name = name or f"{kind.key}{len(self._layers)}"
        shapes = [self._source(name, each).shape for each in inputs]
        if isinstance(fields.get("stride"), int):
            fields["stride"] = (fields["stride"],) * 2
        layer = kind(name=name, inputs=inputs, output=output or name, **fields)
        if layer.output in self._tensors:
            raise layer.error(f"output {layer.output!r} is made twice; give it another name.")
        try:
            shape = layer.output_shape(*shapes)
        except UserError as error:
            raise layer.error(str(error)) from None
        first = self._tensors[inputs[0]]
        self._tensors[layer.output] = Tensor(
            layer.output,
            shape,
            first.scale if scale is None else scale,
            first.zero_point if zero_point is None else zero_point,
        )
        self._layers.append(layer)
        return layer.output

    def conv(
        self,
        weight: NDArray[np.int8],
        source: str | None = None,
        *,
        bias: ArrayLike = 0,
        weight_scale: ArrayLike = 1.0,
        multiplier: ArrayLike | None = None,
        shift: ArrayLike | None = None,
        padding: int | Padding = 0,
        **more: Any,
    ) -> str:
        """Append a convolution.

        Parameters
        ----------
        weight : int8 (out_channels, in_channels, kernel_h, kernel_w), -127 to 127
        source : name of the tensor that it reads, by default the last one
        bias : one integer or (out_channels,), in steps of the input's scale times `weight_scale`
        weight_scale : real value of one step of the weight, one or (out_channels,)
        multiplier, shift : one or (out_channels,), by default as the scales want them
        padding : one for all sides, or top, left, bottom and right
        more : `stride`, `lo`, `hi`, `k`, and what :meth:`append` takes

        Returns
        -------
        str
            Name of the output.

        Raises
        ------
        UserError
            If the kernel does not fit the map, or the scales no multiplier.
        """
        key = "fc" if more.get("fully_connected") else Conv.key
        more["name"] = name = more.get("name") or f"{key}{len(self._layers)}"
        x = self._source(name, source)
        more["scale"] = scale = checked_scale(name, more.get("scale"), x.scale)
        ratio = x.scale * np.asarray(weight_scale, np.float64) / scale
        multiplier, shift = scaling(name, multiplier, shift, ratio)
        channels = len(weight)
        return self.append(
            Conv,
            x.name,
            weight=weight,
            bias=per_channel(bias, channels),
            multiplier=per_channel(multiplier, channels),
            shift=per_channel(shift, channels),
            padding=sides(padding),
            **more,
        )

    def fully_connected(
        self, weight: NDArray[np.int8], source: str | None = None, **more: Any
    ) -> str:
        """Append a fully connected layer: a convolution whose kernel is the whole map.

        Parameters
        ----------
        weight
            int8 (outputs, inputs) with the inputs in order of channels, rows and columns, or
            (outputs, channels, height, width).
        source, more : as in :meth:`conv`

        Returns
        -------
        str
            Name of the output.

        Raises
        ------
        UserError
            If the weight does not fit the map, or the scales no multiplier.
        """
        name = more.setdefault("name", f"fc{len(self._layers)}")
        x = self._source(name, source)
        if weight.ndim == 2:
            if weight.shape[1] != x.size:
                raise UserError(
                    f"Layer {name!r}: the weight has {weight.shape[1]} inputs where {x.name!r} has "
                    f"{x.size} elements; give one for each element."
                )
            weight = weight.reshape(-1, *x.shape)
        return self.conv(weight, x.name, fully_connected=True, **more)

    def max_pool(
        self,
        kernel: int | tuple[int, int],
        source: str | None = None,
        *,
        padding: int | Padding = 0,
        **more: Any,
    ) -> str:
        """Append a max pooling; its output has the scale and zero point of its input.

        Parameters
        ----------
        kernel : height and width, or one for both
        source : name of the tensor that it reads, by default the last one
        padding : one for all sides, or top, left, bottom and right
        more : `stride`, `lo`, `hi`, and what :meth:`append` takes

        Returns
        -------
        str
            Name of the output.

        Raises
        ------
        UserError
            If the kernel does not fit the map.
        """
        sources = () if source is None else (source,)
        return self.append(MaxPool, *sources, kernel=pair(kernel), padding=sides(padding), **more)

    def avg_pool(
        self,
        kernel: int | tuple[int, int] | None = None,
        source: str | None = None,
        *,
        multiplier: int | None = None,
        shift: int | None = None,
        padding: int | Padding = 0,
        **more: Any,
    ) -> str:
        """Append an average pooling.

        Parameters
        ----------
        kernel : height and width, or one for both; by default the whole map
        source : name of the tensor that it reads, by default the last one
        multiplier, shift : by default as the scales and the kernel want them
        padding : one for all sides, or top, left, bottom and right
        more : `stride`, `lo`, `hi`, and what :meth:`append` takes

        Returns
        -------
        str
            Name of the output.

        Raises
        ------
        UserError
            If the kernel does not fit the map, or the scales no multiplier.
        """
        more["name"] = name = more.get("name") or f"{AvgPool.key}{len(self._layers)}"
        x = self._source(name, source)
        size = x.shape[1:] if kernel is None else pair(kernel)
        more["scale"] = scale = checked_scale(name, more.get("scale"), x.scale)
        ratio = x.scale / (scale * size[0] * size[1])
        m, s = scaling(name, multiplier, shift, ratio)
        return self.append(
            AvgPool,
            x.name,
            kernel=size,
            padding=sides(padding),
            multiplier=number(m),
            shift=number(s),
            **more,
        )

    def add(
        self,
        a: str,
        b: str,
        *,
        multipliers: tuple[int, int] | None = None,
        shift: int | None = None,
        **more: Any,
    ) -> str:
        """Append a residual add of two tensors of one shape.

        Parameters
        ----------
        a, b : names of the tensors
        multipliers, shift : of `a` and `b`, and of both; by default as the scales want them
        more : `lo`, `hi`, and what :meth:`append` takes

        Returns
        -------
        str
            Name of the output.

        Raises
        ------
        UserError
            If the scales fit no multipliers.
        """
        more["name"] = name = more.get("name") or f"{Add.key}{len(self._layers)}"
        x, y = self._source(name, a), self._source(name, b)
        more["scale"] = scale = checked_scale(name, more.get("scale"), x.scale)
        if (multipliers is None) != (shift is None):
            raise UserError(
                f"Layer {name!r}: give both multipliers and the shift, or none of them."
            )
        if multipliers is None:
            *found, shift = add_fixed_point(x.scale / scale, y.scale / scale, f"Layer {name!r}")
            multipliers = (found[0], found[1])
        return self.append(
            Add, a, b, multiplier_a=multipliers[0], multiplier_b=multipliers[1], shift=shift, **more
        )

    def concat(self, *sources: str, name: str | None = None, **more: Any) -> str:
        """Append a concatenation of channels; sources of other codes are requantized for it.

        Parameters
        ----------
        sources : names of the tensors, whose maps are of one size
        name : name of the layer, by default its kind and number
        more : what :meth:`append` takes; scale and zero point are by default the first source's

        Returns
        -------
        str
            Name of the output.

        Raises
        ------
        UserError
            If the maps differ, or the scales fit no multiplier.
        """
        name = name or f"{Concat.key}{len(self._layers)}"
        tensors = [self._source(name, each) for each in sources] or [self.last]
        more["scale"] = scale = checked_scale(name, more.get("scale"), tensors[0].scale)
        zero_point = more.setdefault("zero_point", tensors[0].zero_point)
        parts = [
            each.name
            if (each.scale, each.zero_point) == (scale, zero_point)
            else self.avg_pool(
                1, each.name, name=f"{name}/part {number}", scale=scale, zero_point=zero_point
            )
            for number, each in enumerate(tensors)
        ]
        return self.append(Concat, *parts, name=name, **more)

    def network(
        self,
        *outputs: str,
        input_view: tuple[int, ...] = (),
        output_views: tuple[tuple[int, ...], ...] = (),
        input_last: bool = False,
        outputs_last: tuple[bool, ...] = (),
    ) -> Network:
        """Network of all layers that the outputs depend on.

        Parameters
        ----------
        outputs : names of the outputs, by default the last layer's
        input_view, output_views : shapes where the network comes from, as of :class:`Network`
        input_last, outputs_last : whether channels come last there, likewise

        Raises
        ------
        UserError
            If something does not fit together; names the layer.
        """
        outputs = outputs or (self.last.name,)
        needed, kept = {*outputs, self._input}, []
        for layer in reversed(self._layers):
            if layer.output in needed:
                needed.update(layer.inputs)
                kept.append(layer)
        tensors = {name: tensor for name, tensor in self._tensors.items() if name in needed}
        return Network(
            self._name,
            self._input,
            outputs,
            tensors,
            tuple(kept[::-1]),
            input_view,
            output_views,
            input_last,
            outputs_last,
        )

    def _channels(self, *source: str) -> int:
        return self._source("depth_to_space", *(source or (None,))).shape[0]

    def _source(self, layer: str, name: str | None) -> Tensor:
        if name is None:
            return self.last
        if name not in self._tensors:
            raise UserError(
                f"Layer {layer!r}: input {name!r} is not made before it; "
                "put the layer that makes it first."
            )
        return self._tensors[name]
