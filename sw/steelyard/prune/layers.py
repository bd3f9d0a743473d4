"""What a network computes for a sample: its layers in order, and which of them can be pruned."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from steelyard.errors import UserError
from steelyard.prune.groups import Map, kept_weights, stored_weight, to_rows

Layer = nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class LayerInfo:
    """One convolution or Linear layer as a sample met it.

    Attributes
    ----------
    name
        In the network.
    source
        Map that a Linear layer's input was flattened from, None if it was no map.
    rows
        Output channels and weights of each.
    macs
        Multiplications for one sample.
    norm
        Name of the batch normalization that alone reads the layer's output, if there is one.
    """

    name: str
    source: Map | None
    rows: tuple[int, int]
    macs: int
    norm: str | None

    @property
    def weights(self) -> int:
        """Weights of the layer."""
        return self.rows[0] * self.rows[1]

    def kept(self, k: int, group: int) -> int:
        """Weights that stay at ``k`` a group."""
        return kept_weights(self.rows, k, group)


@dataclass(frozen=True)
class Structure:
    """The layers of a network in the order in which they ran.

    Attributes
    ----------
    prunable
        Layers to prune.
    left_dense
        (name, reason) of every other layer with a weight.
    first
        Name of the first layer.
    weights_outside_first
        Weights of all layers but the first, those left dense included.
    macs_outside_first
        Multiplications of all layers but the first.
    """

    prunable: tuple[LayerInfo, ...]
    left_dense: tuple[tuple[str, str], ...]
    first: str
    weights_outside_first: int
    macs_outside_first: int

    @property
    def sources(self) -> dict[str, Map]:
        """The flattened maps of the prunable Linear layers."""
        return {info.name: info.source for info in self.prunable if info.source is not None}


class _FlattenedMaps(TorchFunctionMode):
    """Remembers from which (c, h, w) map each matrix of a forward pass was flattened."""

    def __init__(self) -> None:
        super().__init__()
        self._maps: dict[int, Map] = {}
        self._alive: list[torch.Tensor] = []  # keeps ids from being used again

    def source(self, tensor: torch.Tensor) -> Map | None:
        return self._maps.get(id(tensor))

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = args[0] if args else None
        if isinstance(result, torch.Tensor) and isinstance(given, torch.Tensor):
            found = self._source_of(given, result)
            if found is not None:
                self._maps[id(result)] = found
                self._alive.append(result)
        return result

    def _source_of(self, given: torch.Tensor, result: torch.Tensor) -> Map | None:
        if result.dim() != 2 or len(result) != len(given):
            return None
        if given.dim() == 4 and given[0].numel() == result.shape[1]:
            return (given.shape[1], given.shape[2], given.shape[3])
        # An element-wise function keeps the order of its operand.
        return self.source(given) if given.shape == result.shape else None


def as_input(images: torch.Tensor | np.ndarray, what: str = "The calibration") -> torch.Tensor:
    """Network input as a float tensor of at least one image.

    Raises
    ------
    UserError
        If there is no image, or a value is NaN or infinite.
    """
    tensor = torch.as_tensor(images)
    if tensor.dim() < 2 or len(tensor) == 0:
        raise UserError(
            f"{what} has the shape {tuple(tensor.shape)}; give network inputs, batch first."
        )
    tensor = tensor if tensor.is_floating_point() else tensor.float()
    if not bool(torch.isfinite(tensor).all()):
        raise UserError(f"{what} holds NaN or infinite values; give finite network inputs.")
    return tensor


def inspect(
    model: nn.Module,
    sample: torch.Tensor | np.ndarray,
    exclude: Collection[str] = (),
    keep_first: bool = True,
) -> Structure:
    """The layers of ``model`` by one forward pass of the first image of ``sample``.

    Left dense are the first layer unless ``keep_first`` is off, the layers in ``exclude``,
    grouped convolutions, layers that the sample does not reach or that run on something other
    than a batch of maps or vectors, and layers of other kinds.

    Raises
    ------
    UserError
        If ``exclude`` names no layer, or the network cannot run on the sample.
    """
    names = {module: name for name, module in model.named_modules()}
    layers = [m for m in names if isinstance(m, nn.Conv2d | nn.Linear)]
    for name in exclude:
        if name not in {names[layer] for layer in layers}:
            raise UserError(
                f"The excluded layer {name!r} is no convolution or Linear layer of the network; "
                f"its layers are {', '.join(names[layer] for layer in layers)}."
            )
    maps = _FlattenedMaps()
    order: list[nn.Module] = []
    sources: dict[nn.Module, Map | None] = {}
    macs: dict[nn.Module, int] = {}
    odd: set[nn.Module] = set()
    outputs: dict[int, nn.Module] = {}
    norms: dict[nn.Module, nn.Module] = {}
    alive: list[torch.Tensor] = []

    def ran(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            producer = outputs.get(id(inputs[0]))
            if producer is not None:
                norms[producer] = module
            return
        if module not in macs:
            order.append(module)
            sources[module] = maps.source(inputs[0])
            macs[module] = 0
        if inputs[0].dim() != (4 if isinstance(module, nn.Conv2d) else 2):
            odd.add(module)
        weight = stored_weight(module)
        macs[module] += output[0].numel() // weight.shape[0] * weight.numel()
        outputs[id(output)] = module
        alive.append(output)

    watched = [*layers, *(m for m in names if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d))]
    handles: list[RemovableHandle] = [m.register_forward_hook(ran) for m in watched]
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), maps:
            model(as_input(sample, "The sample")[:1])
    except RuntimeError as error:
        raise UserError(
            f"The network cannot run on a sample of the shape {tuple(sample.shape)} "
            f"({str(error).splitlines()[0]}); give inputs of the shape that it was made for."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
    return _sort(names, layers, order, sources, macs, odd, norms, exclude, keep_first)


def _sort(
    names: dict[nn.Module, str],
    layers: list[Layer],
    order: list[nn.Module],
    sources: dict[nn.Module, Map | None],
    macs: dict[nn.Module, int],
    odd: set[nn.Module],
    norms: dict[nn.Module, nn.Module],
    exclude: Collection[str],
    keep_first: bool,
) -> Structure:
    if not order:
        raise UserError("The network has no convolution or Linear layer that the sample reaches.")
    prunable: list[LayerInfo] = []
    dense: list[tuple[str, str]] = []
    weights = total_macs = 0
    reached: list[Layer] = [m for m in order if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in [*reached, *(m for m in layers if m not in macs)]:
        name = names[layer]
        first = layer is order[0]
        if not first:
            weights += layer.weight.numel()
            total_macs += macs.get(layer, 0)
        if first and keep_first:
            dense.append((name, "first layer"))
        elif name in exclude:
            dense.append((name, "excluded"))
        elif layer not in macs:
            dense.append((name, "not reached by the sample"))
        elif isinstance(layer, nn.Conv2d) and layer.groups != 1:
            dense.append((name, "grouped convolution"))
        elif layer in odd:
            dense.append((name, "input is no batch of maps or vectors"))
        else:
            rows = to_rows(layer.weight.detach(), sources[layer]).shape
            norm = norms.get(layer)
            prunable.append(
                LayerInfo(
                    name,
                    sources[layer],
                    (rows[0], rows[1]),
                    macs[layer],
                    None if norm is None else names[norm],
                )
            )
    for module, name in names.items():
        weight = getattr(module, "weight", None)
        if isinstance(module, nn.Conv2d | nn.Linear) or not isinstance(weight, torch.Tensor):
            continue
        if weight.dim() > 1:
            weights += weight.numel()
            dense.append((name, f"{type(module).__name__} is not supported"))
    return Structure(tuple(prunable), tuple(dense), names[order[0]], weights, total_macs)


def prunable_layers(
    model: nn.Module, sample: torch.Tensor | np.ndarray, exclude: Collection[str] = ()
) -> tuple[list[LayerInfo], list[tuple[str, str]]]:
    """Layers that can be pruned, and (name, reason) of those left dense; see :func:`inspect`."""
    structure = inspect(model, sample, exclude)
    return list(structure.prunable), list(structure.left_dense)
