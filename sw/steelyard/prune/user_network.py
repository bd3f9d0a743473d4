"""Networks as users bring them, as copies that pruning can work on, or refused by what they do."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils import prune as torch_prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from steelyard.balanced import check_sparsity
from steelyard.errors import UserError
from steelyard.prune.groups import check_finite, layer_mask
from steelyard.prune.layers import Structure, as_input, inspect
from steelyard.prune.trial import check_scores, reason


def examined(
    model: nn.Module,
    calibration: torch.Tensor | np.ndarray,
    sparsity: float,
    exclude: Collection[str],
) -> tuple[nn.Module, torch.Tensor, Structure]:
    """How every pruning begins: the network as it can be pruned, its inputs and its layers.

    Parameters
    ----------
    model
        Trained network; it is left as it is.
    calibration
        Network inputs, batch first.
    sparsity
        Share of the weights that must go.
    exclude
        Layers to leave dense.

    Raises
    ------
    UserError
        If the sparsity is out of range, the inputs are none, or as :func:`prepared` and
        :func:`steelyard.prune.inspect`.
    """
    check_sparsity(sparsity)
    images = as_input(calibration)
    ready = prepared(model, images)
    return ready, images, inspect(ready, images, exclude)


def prepared(model: nn.Module, images: torch.Tensor) -> nn.Module:
    """A copy of a network that runs alone, in float32 on the processor, and gives one tensor.

    Wrappers of parallel training and of torch.compile are taken off, inside it too; weights that
    are computed from others (weight and spectral norm, parametrizations, masks of torch's pruning)
    become plain ones, and shared ones become one for each layer; of a tuple, list or dictionary
    with one tensor the tensor is taken. It is run on two images to see that its scores depend on
    nothing else.

    Parameters
    ----------
    model
        Trained network; it is left as it is.
    images
        Network inputs, batch first.

    Raises
    ------
    UserError
        If the network cannot be copied or run, has weights without values, gives several tensors,
        or scores that depend on chance or on the other images of a batch.
    """
    ready = _copied(unwrapped(model))
    _unwrap_inside(ready)
    _check_values(ready)
    _plain_weights(ready)
    ready = ready.cpu().float()
    seen: set[int] = set()
    for module in ready.modules():
        own = isinstance(module, nn.Conv2d | nn.Linear | BatchNorm)
        for name, parameter in list(module.named_parameters(recurse=False)):
            memory = parameter.untyped_storage().data_ptr()
            plain = parameter.detach().contiguous()
            if memory in seen:
                # Layers that share a weight are pruned each for itself.
                plain = plain.clone()
            seen.add(memory)
            # Repair and tuning change what is pruned, whatever was frozen in training.
            trained = own or parameter.requires_grad
            if plain.data_ptr() != parameter.data_ptr() or trained != parameter.requires_grad:
                setattr(module, name, nn.Parameter(plain, trained))
    _evaluation(ready)
    _check_norms(ready)
    check_scores(ready, images)
    return ready


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside wrappers of parallel training and of torch.compile."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, nn.DataParallel | DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _unwrap_inside(model: nn.Module) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            inner = unwrapped(child)
            if inner is not child:
                setattr(module, name, inner)


def _copied(model: nn.Module) -> nn.Module:
    # Computed and inference tensors know no copy of their own.
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in _tensors_of(vars(module)):
            if is_lazy(value):
                continue
            if isinstance(value, nn.Parameter) and value.is_inference():
                memo[id(value)] = nn.Parameter(value.detach().clone(), value.requires_grad)
            elif not value.is_leaf or value.is_inference():
                memo[id(value)] = value.detach().clone()
    try:
        copied = copy.deepcopy(model, memo)
        if not isinstance(copied, nn.Module):
            raise TypeError(f"its copy is a {type(copied).__name__}")
        return copied
    except Exception as error:  # Whatever the attributes of a user's class raise.
        raise UserError(
            f"Network {type(model).__name__} cannot be copied ({reason(error)}); keep what cannot "
            "be copied, such as open files and locks, out of its attributes."
        ) from error


def _tensors_of(value: Any, depth: int = 3) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif depth and isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors_of(inner, depth - 1)
    elif depth and isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors_of(inner, depth - 1)


def _check_values(model: nn.Module) -> None:
    for name, module in model.named_modules():
        label = name or type(module).__name__
        if isinstance(module, torch.jit.ScriptModule):
            raise UserError(
                f"Module {label!r} is TorchScript, which pruning cannot look into; give the Python "
                "module that it was made of, with the same weights."
            )
        tensors: dict[str, torch.Tensor] = dict(module.named_parameters(recurse=False))
        if isinstance(module, BatchNorm):
            tensors |= dict(module.named_buffers(recurse=False))
        for own, values in tensors.items():
            if is_lazy(values):
                raise UserError(
                    f"Layer {label!r} is lazy and has no weights yet; load them with --weights, or "
                    "run the trained network once before it is pruned."
                )
            if values.is_meta:
                raise UserError(
                    f"Layer {label!r} has no values in {own!r} (it is on the device 'meta'); make "
                    "the network on 'cpu' and load its weights."
                )
            if values.is_complex():
                raise UserError(
                    f"Layer {label!r} holds complex numbers in {own!r}, allowed are real ones; "
                    "use real layers."
                )
            if values.numel() == 0:
                raise UserError(
                    f"Layer {label!r} holds nothing in {own!r}, whose shape is "
                    f"{tuple(values.shape)}; give it at least one channel, or leave it out."
                )
            check_finite(label, values)


def _evaluation(model: nn.Module) -> None:
    # A module's own train() need not return it.
    try:
        model.eval()
    except Exception as error:  # Whatever a user's class raises.
        raise UserError(
            f"Network {type(model).__name__} cannot be put into evaluation mode "
            f"({reason(error)}); correct its train() and eval()."
        ) from error


def _plain_weights(model: nn.Module) -> None:
    """Makes computed weights plain parameters, with the values that they have in evaluation."""
    _evaluation(model)
    for module in model.modules():
        if parametrize.is_parametrized(module):
            # A copy shares the class that was made for the original, and removal changes it.
            made = type(module)
            module.__class__ = type(made.__name__, made.__bases__, dict(vars(made)))
            for name in list(module.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(module, name)
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(module, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(module, hook.name)
        if layer_mask(module) is not None:
            torch_prune.remove(module, "weight")
        if "bias_mask" in module._buffers:
            torch_prune.remove(module, "bias")


def _check_norms(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, BatchNorm) and (module.running_mean is None or module.training):
            kind = type(module).__name__
            why = (
                "keeps no running statistics (track_running_stats=False)"
                if module.running_mean is None
                else "stays in training mode when the network is put into evaluation mode"
            )
            raise UserError(
                f"Layer {name!r} {why}, so that the scores of an image depend on the others of its "
                f"batch; make it nn.{kind}({module.num_features}), load the weights with "
                "strict=False, and run training images through the network in training mode."
            )
