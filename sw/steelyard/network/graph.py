"""Integer layer graph: the one description of a network behind golden model, compiler and files.

Tensors are int8 planes ``(channels, height, width)``; a flatten is a view, so a fully connected
layer takes any plane and its weight has the shape of a convolution over the whole plane.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from ..errors import UserError
from .kinds import LAYER_KINDS, Slice
from .layer import Layer
from .tensor import Tensor

__all__ = ["Network"]


# Arrays have no single truth value, so networks compare by identity.
@dataclass(frozen=True, eq=False)
class Network:
    """Layers in execution order with all their tensors.

    Whatever golden model, compiler and gateware rely on has been checked.

    Raises
    ------
    UserError
        If a layer's shapes, parameters or tensor names do not fit together; the sentence names the
        layer or tensor, the value and what is allowed.
    """

    name: str
    input: str
    outputs: tuple[str, ...]
    tensors: dict[str, Tensor]
    layers: tuple[Layer, ...] = field(default=())
    input_view: tuple[int, ...] = ()
    """Shape of an image where the network comes from; the tensor's, or (channels,) of one pixel."""
    output_views: tuple[tuple[int, ...], ...] = ()
    """Shape of each output of an image where the network comes from, likewise."""
    input_last: bool = False
    """Whether the input's view holds its elements in order of height, width and channels."""
    outputs_last: tuple[bool, ...] = ()
    """The same of each output's view; by default channels come first in all of them."""

    def __post_init__(self) -> None:
        # A frozen class has no other way to fill a default in.
        if not self.input_view and self.input in self.tensors:
            object.__setattr__(self, "input_view", _usual_view(self.tensors[self.input]))
        if not self.output_views and all(name in self.tensors for name in self.outputs):
            views = tuple(_usual_view(self.tensors[name]) for name in self.outputs)
            object.__setattr__(self, "output_views", views)
        if not self.outputs_last:
            object.__setattr__(self, "outputs_last", (False,) * len(self.outputs))
        self._check_outputs()
        self._check_tensors()
        self._check_layers()

    @property
    def output(self) -> str:
        """The output, or the first of several."""
        return self.outputs[0]

    @property
    def output_view(self) -> tuple[int, ...]:
        """Shape of :attr:`output` where the network comes from."""
        return self.output_views[0]

    def tensor(self, name: str) -> Tensor:
        """Tensor of a name."""
        return self.tensors[name]

    @property
    def only_parts(self) -> bool:
        """Whether there are but parts of the input: nothing for an accelerator to compute."""
        return all(isinstance(layer, Slice) for layer in self.layers)

    def is_last(self, name: str) -> bool:
        """Whether channels come last where the network comes from, of an input or output."""
        if name in self.outputs:
            return self.outputs_last[self.outputs.index(name)]
        return name == self.input and self.input_last

    def planes(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """Values of a tensor as (images, channels, height, width).

        Parameters
        ----------
        values : as they are where the network comes from, images first
        """
        channels, height, width = self.tensors[name].shape
        if self.is_last(name):
            return values.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
        return values.reshape(-1, channels, height, width)

    def inputs_of(self, layer: Layer) -> tuple[Tensor, ...]:
        """Tensors that a layer reads."""
        return tuple(self.tensors[name] for name in layer.inputs)

    def macs(self, layer: Layer) -> int:
        """Multiplications by weights of one image in a layer, counting pruned weights too."""
        return layer.macs(self.tensors[layer.output])

    def _check_tensors(self) -> None:
        for key, tensor in self.tensors.items():
            if key != tensor.name:
                raise UserError(
                    f"Tensor {tensor.name!r} is listed as {key!r}; use one name for it."
                )
            tensor.check()
        for name in (self.input, *self.outputs):
            if name not in self.tensors:
                raise UserError(
                    f"Network {self.name!r} has no tensor {name!r}, which it names as its input "
                    "or output; add the tensor."
                )
        self._check_view("input_view", self.input_view, self.tensors[self.input])
        for view, name in zip(self.output_views, self.outputs, strict=True):
            self._check_view("output_view", view, self.tensors[name])

    def _check_outputs(self) -> None:
        if not self.outputs or len(set(self.outputs)) < len(self.outputs):
            raise UserError(
                f"Network {self.name!r} needs at least one output and each once, not "
                f"{', '.join(map(repr, self.outputs)) or 'none'}; name tensors of the network."
            )
        for count, what in (
            (len(self.output_views or self.outputs), "views"),
            (len(self.outputs_last), "orders"),
        ):
            if count != len(self.outputs):
                raise UserError(
                    f"Network {self.name!r} has {len(self.outputs)} outputs and {count} {what} of "
                    "them; give one for each."
                )

    def _check_view(self, key: str, view: tuple[int, ...], tensor: Tensor) -> None:
        if math.prod(view) != tensor.size or min(view, default=1) < 1:
            raise UserError(
                f"The {key} of network {self.name!r} must be a shape of the {tensor.size} elements "
                f"of {tensor.name!r}, not {view}."
            )

    def _check_layers(self) -> None:
        known = {self.input}
        names: set[str] = set()
        for layer in self.layers:
            if layer.name in names:
                raise UserError(f"Layer {layer.name!r} occurs twice; give each layer its own name.")
            names.add(layer.name)
            try:
                self._check_wiring(layer, known)
                layer.check_clamp()
                layer.check(self.inputs_of(layer), self.tensors[layer.output])
            except UserError as error:
                raise layer.error(str(error)) from None
            known.add(layer.output)
        for output in self.outputs:
            if output in known:
                continue
            raise UserError(
                f"Output {output!r} of network {self.name!r} is made by no layer; "
                "name the output of a layer."
            )
        unmade = sorted(set(self.tensors) - known)
        if unmade:
            raise UserError(
                f"Tensor {unmade[0]!r} of network {self.name!r} is made by no layer; remove it."
            )

    def _check_wiring(self, layer: Layer, known: set[str]) -> None:
        if type(layer) not in LAYER_KINDS.values():
            *most, last = (kind.__name__ for kind in LAYER_KINDS.values())
            raise UserError(
                f"{type(layer).__name__} is no known kind; use {', '.join(most)} or {last}."
            )
        wanted = layer.input_count
        if wanted is None:
            if not layer.inputs:
                raise UserError(f"{layer.kind} takes at least 1 input tensor, not none.")
        elif len(layer.inputs) != wanted:
            raise UserError(
                f"{layer.kind} takes {wanted} input tensor{'s' if wanted > 1 else ''}, "
                f"not {len(layer.inputs)}."
            )
        for name in layer.inputs:
            if name not in known:
                raise UserError(
                    f"input {name!r} is not made before it; put the layer that makes it first."
                )
        if layer.output not in self.tensors:
            raise UserError(f"output {layer.output!r} is no tensor of the network; add the tensor.")
        if layer.output in known:
            raise UserError(
                f"output {layer.output!r} is made twice; give each output its own name."
            )


def _usual_view(tensor: Tensor) -> tuple[int, ...]:
    shape = tensor.shape
    return shape[:1] if shape[1:] == (1, 1) else shape
