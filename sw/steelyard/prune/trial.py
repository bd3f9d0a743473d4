"""A trial run of a user's network: it must give one tensor of scores, an image at a time.

What keeps it from running is tried out, so that the sentence says it truly.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect as python
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from steelyard.errors import UserError

AGREE = 1e-3
"""Greatest difference of scores that should be equal, over the largest of them."""
TORCH = Path(torch.__file__).parent
FEW = 512
"""Images up to which a whole set is tried at once."""

Change = Callable[[torch.Tensor], torch.Tensor]


def check_scores(model: nn.Module, images: torch.Tensor) -> None:
    """Runs a network in evaluation mode on two images, and on one of them alone.

    Where it returns one tensor inside a tuple, list or dictionary, a hook on it takes the tensor.

    Raises
    ------
    UserError
        If it does not run, gives several tensors, or scores that are not finite, have no axis of
        images, or depend on chance or on the other images of a batch.
    """
    pair = torch.cat([images[:1], images[-1:]])
    try:
        given = _run(model, pair)
    except Exception as error:  # Any error at all may come out of code that is not ours.
        raise UserError(_why_not(model, images, error)) from error
    found = dict(_named_tensors(given))
    if len(found) != 1:
        raise UserError(_several(model, given, found))
    ((path, scores),) = found.items()
    if path:
        # A hook leaves the names of the layers as they are, which a module around it would not.
        model.register_forward_hook(_only_tensor)
    if not scores.is_floating_point():
        raise UserError(
            f"The network returns {str(scores.dtype).removeprefix('torch.')}, allowed are real "
            "scores; return them without argmax, rounding or complex numbers."
        )
    if scores.dim() == 0 or len(scores) != len(pair):
        raise UserError(
            f"The network returns the shape {tuple(scores.shape)} for {len(pair)} images, allowed "
            "are scores whose first axis counts the images; return one row an image."
        )
    if not bool(torch.isfinite(scores).all()):
        raise UserError(
            "The network gives scores that are NaN or infinite for the calibration images; check "
            "the scale of the images and the weights."
        )
    if not _agree(scores, _run(model, pair, seed=1)):
        raise UserError(
            "The network gives other scores each time for the same images, as a dropout does that "
            "stays on; use functional.dropout(x, training=self.training), and no random numbers "
            "or state in evaluation mode."
        )
    try:
        alone = _run(model, pair[:1])
    except Exception as error:  # As above.
        raise UserError(_why_not(model, images, error)) from error
    if not _agree(scores[:1], alone) and not _alone_in_double(model, pair):
        raise UserError(
            "The network gives other scores for an image alone than for the same image beside "
            "others; leave out what mixes the images of a batch."
        )


def forwarded(model: nn.Module, images: torch.Tensor, first: int = 0) -> torch.Tensor:
    """What the network gives for images, the first of which has the number ``first``.

    Raises
    ------
    UserError
        If its code raises anything.
    """
    try:
        result: torch.Tensor = model(images)
    except Exception as error:  # As above.
        raise UserError(
            f"The network fails on images {first} to {first + len(images) - 1}: {_place(error)} "
            f"raised {type(error).__name__} ({reason(error)}); leave these images out, or correct "
            "its code."
        ) from error
    return result


def _alone_in_double(model: nn.Module, pair: torch.Tensor) -> bool:
    """Whether an image's scores do not depend on the other one, where rounding is no reason."""
    wide = copy.deepcopy(model).double()
    try:
        return _agree(_run(wide, pair.double())[:1], _run(wide, pair[:1].double()))
    except Exception:  # A network that makes float32 tensors itself runs in float32 only.
        return False


def _run(model: nn.Module, images: torch.Tensor, seed: int = 0) -> Any:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return model(images.clone())
        except SystemExit as error:
            raise RuntimeError(f"it ends the program with status {error.code}") from error


def _agree(a: torch.Tensor, b: Any) -> bool:
    if not isinstance(b, torch.Tensor) or a.shape != b.shape:
        return False
    return float((a - b).abs().max()) <= AGREE * max(float(a.abs().max()), 1e-30)


def _named_tensors(value: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors inside a returned value, with how to get at each."""
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _named_tensors(inner, f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _named_tensors(inner, f"{path}[{index}]")
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _named_tensors(getattr(value, field.name), f"{path}.{field.name}")


def _only_tensor(_module: nn.Module, _inputs: Any, output: Any) -> torch.Tensor:
    ((_path, tensor),) = _named_tensors(output)
    return tensor


def _several(model: nn.Module, given: Any, found: Mapping[str, torch.Tensor]) -> str:
    if not found:
        return (
            f"Network {type(model).__name__} returns no tensor but {type(given).__name__}; let "
            "its forward return the scores."
        )
    listed = ", ".join(f"output{path} {tuple(each.shape)}" for path, each in found.items())
    return (
        f"Network {type(model).__name__} returns {len(found)} tensors ({listed}), one is allowed; "
        "choose it behind the network's definition, for example with "
        f"model.register_forward_hook(lambda module, inputs, output: output{next(iter(found))})."
    )


def _why_not(model: nn.Module, images: torch.Tensor, error: Exception) -> str:
    """What keeps a network from running on images, as far as trying can tell."""
    shape = tuple(images.shape)
    wanted = _required_inputs(model)
    if len(wanted) > 1:
        return (
            f"Network {type(model).__name__} takes {len(wanted)} inputs ({', '.join(wanted)}), one "
            "is allowed; give the others default values or fix them in a module around it."
        )
    for change, how in _changes(images):
        if _runs(model, change(images)):
            return f"The network cannot run on images of the shape {shape}, but {how}."
    if 2 < len(images) <= FEW and _runs(model, images):
        return (
            f"The network runs on {len(images)} images at once but not on two or one; write "
            "x.shape[0] in its forward in place of a fixed batch."
        )
    kind = type(error).__name__
    return (
        f"The network cannot run on a sample of the shape {(2, *shape[1:])}: {_place(error)} "
        f"raised {kind} ({reason(error)}); give inputs of the shape that it was made for, or "
        "correct its code."
    )


def _changes(images: torch.Tensor) -> Iterator[tuple[Change, str]]:
    """Other forms that images often have, and what to do about it."""
    if images.dim() == 4:
        yield (
            lambda x: x[:2].permute(0, 3, 1, 2).contiguous(),
            "runs on images with the channels before height and width; save "
            "images.transpose(0, 3, 1, 2)",
        )
        yield (lambda x: x[:2].flatten(1)), "runs on vectors; save images.reshape(len(images), -1)"
        if images.shape[1] == 1:
            yield (lambda x: x[:2, 0]), "runs without the axis of one channel; save images[:, 0]"
    if images.dim() == 3:
        yield (lambda x: x[:2, None]), "runs with an axis for one channel; save images[:, None]"
        yield (lambda x: x[None]), "takes it for one image; save images[None], better of many"
        yield (
            lambda x: x.permute(2, 0, 1)[None].contiguous(),
            "takes it for one image with the channels first; save "
            "images.transpose(2, 0, 1)[None], better of many",
        )


def _runs(model: nn.Module, images: torch.Tensor) -> bool:
    try:
        _run(model, images)
    except Exception:  # Whatever the network raises, it does not run.
        return False
    return True


def _required_inputs(model: nn.Module) -> list[str]:
    try:
        given = python.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return []
    return [
        p.name
        for p in given
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]


def _place(error: Exception) -> str:
    """Line of the user's own code that raised, else the forward."""
    frames = traceback.extract_tb(error.__traceback__)
    here = (TORCH, Path(__file__))
    own = [f for f in frames if not any(Path(f.filename).is_relative_to(p) for p in here)]
    return f"{Path(own[-1].filename).name} line {own[-1].lineno}" if own else "its forward"


def reason(error: Exception) -> str:
    """What an error says, on one line."""
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= 300 else f"{text[:300]} ..."
