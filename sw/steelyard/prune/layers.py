"""What a network computes for a sample: its layers in order, and which of them can be pruned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.overrides import TorchFunctionMode

from steelyard.balanced import check_prunable
from steelyard.errors import UserError
from steelyard.prune.calls import WEIGHTED, Call, Layer, call_of
from steelyard.prune.groups import Map, kept_weights, to_rows
from steelyard.prune.trial import reason


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
    calls
        How often the layer runs in a pass.
    """

    name: str
    source: Map | None
    rows: tuple[int, int]
    macs: int
    norm: str | None
    calls: int = 1

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

    def check_prunable(self, name: str) -> None:
        """Refuse the name of a layer that cannot be pruned.

        Raises
        ------
        UserError
            Names the reason and the layers that can be.
        """
        check_prunable(name, [info.name for info in self.prunable], dict(self.left_dense))


class _Watch(TorchFunctionMode):
    """What a forward pass does with the layers' weights, their outputs and flattened maps."""

    def __init__(self, layers: Collection[Layer]) -> None:
        super().__init__()
        self._layers = layers
        self._maps: dict[int, Map] = {}
        self._alive: list[torch.Tensor] = []  # keeps ids from being used again
        self._makers: dict[int, Layer] = {}
        self.calls: list[Call] = []
        self.sources: dict[Layer, Map | None] = {}
        self.readers: Counter[Layer] = Counter()
        """How many operations take the output of a layer."""
        self.used: set[Layer] = set()
        """Layers whose weight goes into something else than their own product."""
        self.first: torch.Tensor | None = None
        """Weight of the first product of all."""

    def maker(self, tensor: torch.Tensor) -> Layer | None:
        """Layer whose product a tensor is."""
        return self._makers.get(id(tensor))

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        result = func(*args, **given)
        if not isinstance(result, torch.Tensor | tuple | list):
            return result
        call = None
        if func in WEIGHTED:
            weight = args[1] if len(args) > 1 else given["weight"]
            self.first = weight if self.first is None else self.first
            if func in (functional.conv2d, functional.linear) and isinstance(result, torch.Tensor):
                call = call_of(self._layers, func, args, given, result)
        for operand in _tensors((*args, *given.values())):
            if id(operand) in self._makers:
                self.readers[self._makers[id(operand)]] += 1
            for layer in self._layers:
                own = call is not None and call.layer is layer
                if layer.weight is operand and not own and result is not operand:
                    self.used.add(layer)
        if not isinstance(result, torch.Tensor):
            return result
        if call is not None:
            self.calls.append(call)
            self.sources.setdefault(call.layer, self._maps.get(id(call.input)))
            self._makers[id(result)] = call.layer
            self._alive.append(result)
        given_map = args[0] if args else None
        if isinstance(given_map, torch.Tensor):
            found = self._source_of(given_map, result)
            if found is not None:
                self._maps[id(result)] = found
                self._alive.append(result)
        return result

    def _source_of(self, given: torch.Tensor, result: torch.Tensor) -> Map | None:
        if result.dim() != 2 or given.dim() == 0 or len(result) != len(given):
            return None
        if given.dim() == 4 and given[0].numel() == result.shape[1]:
            return (given.shape[1], given.shape[2], given.shape[3])
        # An element-wise function keeps the order of its operand.
        return self._maps.get(id(given)) if given.shape == result.shape else None


def _tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    """Tensors among arguments, those in lists included, as torch.cat takes them."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)


def as_input(images: torch.Tensor | np.ndarray, what: str = "The calibration") -> torch.Tensor:
    """Network input as a float32 tensor of at least one image.

    Raises
    ------
    UserError
        If it is no array of numbers, there is no image, or a value is NaN or infinite.
    """
    if isinstance(images, torch.Tensor):
        tensor = images.detach().cpu().float()
    else:
        # torch takes arrays of other layouts or without leave to write only with complaints.
        try:
            tensor = torch.from_numpy(np.require(images, np.float32, ["C", "W"]))
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{what} is a {type(images).__name__} of which numpy makes no array of numbers "
                f"({str(error).rstrip('.')}); give a float32 array of network inputs, batch first."
            ) from None
    if tensor.dim() < 2 or tensor.numel() == 0:
        raise UserError(
            f"{what} has the shape {tuple(tensor.shape)}; give network inputs, batch first."
        )
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
    than a batch of maps or vectors, weights that two layers share or that are used in other ways
    than the layer's own product, and layers of other kinds.

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
                f"its layers are {', '.join(names[layer] for layer in layers) or 'none'}."
            )
    watch = _Watch(layers)
    norms: dict[Layer, nn.Module] = {}
    normed: Counter[nn.Module] = Counter()

    def norm_ran(module: nn.Module, inputs: tuple[torch.Tensor, ...], _: torch.Tensor) -> None:
        normed[module] += 1
        maker = watch.maker(inputs[0]) if inputs else None
        if maker is not None:
            norms[maker] = module

    handles = [
        module.register_forward_hook(norm_ran) for module in names if isinstance(module, BatchNorm)
    ]
    modes = {module: module.training for module in names}
    model.eval()
    try:
        with torch.no_grad(), watch:
            model(as_input(sample, "The sample")[:1].clone())
    except Exception as error:  # Any error at all may come out of code that is not ours.
        raise UserError(
            f"The network cannot run on a sample of the shape {tuple(sample.shape)} "
            f"({reason(error)}); give inputs of the shape that it was made for."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    alone = {
        layer: norm
        for layer, norm in norms.items()
        if watch.readers[layer] == 1 and normed[norm] == 1
    }
    return _sort(names, layers, watch, alone, exclude, keep_first)


def _sort(
    names: dict[nn.Module, str],
    layers: list[Layer],
    watch: _Watch,
    norms: dict[Layer, nn.Module],
    exclude: Collection[str],
    keep_first: bool,
) -> Structure:
    calls: dict[Layer, list[Call]] = {}
    for call in watch.calls:
        calls.setdefault(call.layer, []).append(call)
    macs = {
        layer: sum(c.output.numel() for c in own) * layer.weight[0].numel()
        for layer, own in calls.items()
    }
    first = _first(names, watch)
    if first is None:
        raise UserError(
            "The network has no convolution or Linear layer that the sample reaches; "
            "there is nothing to prune."
        )
    prunable: list[LayerInfo] = []
    dense: list[tuple[str, str]] = []
    weights = total_macs = 0
    for layer in [*calls, *(m for m in layers if m not in calls)]:
        name = names[layer]
        if name != first:
            weights += layer.weight.numel()
            total_macs += macs.get(layer, 0)
        reason = _why_dense(layer, layers, names, calls.get(layer, []), watch)
        if name == first and keep_first:
            dense.append((name, "first layer"))
        elif name in exclude:
            dense.append((name, "excluded"))
        elif reason is not None:
            dense.append((name, reason))
        else:
            source = watch.sources[layer]
            rows = to_rows(layer.weight.detach(), source).shape
            norm = norms.get(layer)
            prunable.append(
                LayerInfo(
                    name,
                    source,
                    (rows[0], rows[1]),
                    macs[layer],
                    None if norm is None else names[norm],
                    len(calls[layer]),
                )
            )
    for name, weight, kind in _other_weights(names):
        if name != first:
            weights += weight.numel()
        dense.append((name, "first layer" if name == first else f"{kind} is not supported"))
    return Structure(tuple(prunable), tuple(dense), first, weights, total_macs)


def _first(names: Mapping[nn.Module, str], watch: _Watch) -> str | None:
    """Name of the layer or parameter whose product comes first."""
    for module, name in names.items():
        for own, weight in vars(module)["_parameters"].items():
            if weight is not None and weight is watch.first:
                return name if own == "weight" else f"{name}.{own}".lstrip(".")
        if getattr(module, "weight", None) is watch.first is not None:
            return name
    return names[watch.calls[0].layer] if watch.calls else None


def _other_weights(
    names: Mapping[nn.Module, str],
) -> Iterator[tuple[str, torch.Tensor, str]]:
    """Name, value and kind of the weights of more than one axis outside the layers to prune."""
    for module, name in names.items():
        if isinstance(module, nn.Conv2d | nn.Linear):
            continue
        for own, weight in module.named_parameters(recurse=False):
            if weight.dim() > 1:
                full = name if own == "weight" else f"{name}.{own}".lstrip(".")
                yield full, weight, type(module).__name__


def _why_dense(
    layer: Layer,
    layers: Collection[Layer],
    names: Mapping[nn.Module, str],
    calls: Sequence[Call],
    watch: _Watch,
) -> str | None:
    """Why a layer cannot be pruned, None if it can."""
    for other in layers:
        if other is not layer and _same_memory(other.weight, layer.weight):
            return f"shares its weight with {names[other]}"
    if not calls:
        if layer in watch.used:
            return "its own forward computes with another weight"
        return "not reached by the sample"
    if any(call.groups != 1 for call in calls):
        return "grouped convolution"
    rank = 4 if isinstance(layer, nn.Conv2d) else 2
    if any(call.input.dim() != rank or len(call.input) != 1 for call in calls):
        return "input is no batch of maps or vectors"
    if layer in watch.used:
        return "its weight is used in other ways too"
    if any(call.bias is not layer.bias for call in calls):
        return "its bias is added in another way"
    return None


def _same_memory(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def prunable_layers(
    model: nn.Module, sample: torch.Tensor | np.ndarray, exclude: Collection[str] = ()
) -> tuple[list[LayerInfo], list[tuple[str, str]]]:
    """Layers that can be pruned, and (name, reason) of those left dense; see :func:`inspect`."""
    structure = inspect(model, sample, exclude)
    return list(structure.prunable), list(structure.left_dense)
