"""Outputs of torch modules by name, whatever they stand in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from steelyard.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["named_outputs", "plain_outputs"]


def named_outputs(result: Any, model: str) -> dict[str, Tensor]:
    """Tensors that a module gives, by the names that they have in its file.

    One tensor is ``output``; several in a row are ``output0``, ``output1`` and so on, those of a
    dictionary, named tuple or dataclass have its keys. Names of what stands in one another are
    joined by ``/``. None and text are left out.

    Parameters
    ----------
    result : what the module's forward gave
    model : the module's class, for sentences

    Raises
    ------
    UserError
        If there is no tensor, or anything else than tensors, or two of one name.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in _walk(result, "output", model):
        if name in found or name == "input":
            raise UserError(
                f"Model {model} gives output {name!r}, a name that another value has; give its "
                "outputs names of their own."
            )
        found[name] = tensor
    if not found:
        raise UserError(f"Model {model} gives no tensor, which it must; correct its forward.")
    return found


@contextmanager
def plain_outputs(model: nn.Module) -> Iterator[None]:
    """Let a module give a tuple of the tensors of :func:`named_outputs` for a while.

    Parameters
    ----------
    model : compiled ones are left alone, for they take no hooks
    """
    import torch

    if isinstance(model, torch.jit.ScriptModule):
        yield
        return

    def flat(module: nn.Module, given: Any, result: Any) -> Any:
        if isinstance(result, torch.Tensor):
            return result
        return tuple(named_outputs(result, type(module).__name__).values())

    # Behind hooks of the user's own, which may make something else of the result.
    hook = model.register_forward_hook(flat)
    try:
        yield
    finally:
        hook.remove()


def _walk(value: Any, name: str, model: str, depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    import torch

    if isinstance(value, torch.Tensor):
        yield name, value
        return
    if value is None or isinstance(value, str):
        return
    join = "" if depth == 0 else f"{name}/"
    items: list[tuple[str, Any]]
    if isinstance(value, Mapping):
        items = [(f"{join}{key}", each) for key, each in value.items()]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        keys = [each.name for each in dataclasses.fields(value)]
        items = [(f"{join}{key}", getattr(value, key)) for key in keys]
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        items = [(f"{join}{key}", getattr(value, key)) for key in value._fields]
    elif isinstance(value, tuple | list):
        row = name if depth == 0 else join
        items = [(f"{row}{number}", each) for number, each in enumerate(value)]
        if depth == 0 and len(items) == 1:
            items = [(name, value[0])]
    else:
        raise UserError(
            f"Model {model} gives {type(value).__name__} {str(value)[:40]!r} as {name!r}, allowed "
            "are tensors, and tuples, lists and dictionaries of them; correct its forward."
        )
    for key, each in items:
        yield from _walk(each, key, model, depth + 1)
