"""Files of weights: the state that fits a network, wherever training scripts put it."""

import contextlib
import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from steelyard.errors import UserError
from steelyard.prune import unwrapped
from steelyard.reading import MALFORMED, opened
from steelyard.state import read_state

from ..view.console import note

__all__ = ["load_weights"]

State = Mapping[str, torch.Tensor]

ADVICE = "give a state dictionary of this very network."
USUAL = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
"""Names under which training scripts keep the state, the likelier first."""
DEPTH = 4
"""Dictionaries inside each other that are searched."""
WRAPPERS = ("module", "_orig_mod")
"""Parts of names that wrappers of parallel training and of torch.compile add."""
SHOWN = 3
"""Names that a sentence lists."""
COUNTER = "num_batches_tracked"
"""What batch normalization counts, which old files and other tools leave out."""
MAX_HEADER = 1 << 24


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads the state of a file into a network.

    The file is one of torch.save, of numpy.savez or .safetensors. The state may lie inside the
    dictionary of a checkpoint, and its names may have prefixes such as ``module.`` that the
    network's have not, or the other way round.

    Raises
    ------
    UserError
        If the file is missing, damaged or holds no state of this network.
    """
    inner = unwrapped(model)
    try:
        found = _safetensors(path) if _is_safetensors(path) else read_state(path)
    except FileNotFoundError:
        raise UserError(f"Weights {str(path)!r} do not exist; {ADVICE}") from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"Weights {str(path)!r} cannot be loaded ({_short(error)}); {_remedy(path)}"
        ) from error
    candidates = list(_states(found))
    if not candidates:
        held = f"names {_listed(found)}" if isinstance(found, Mapping) else type(found).__name__
        raise UserError(
            f"Weights {str(path)!r} hold no tensors by name but {held}; save "
            "model.state_dict() and give that."
        )
    wanted = inner.state_dict()
    for place, state in candidates:
        names = _fitted(wanted, state)
        if names is not None:
            if place:
                note(f"{path}: the weights under {place}")
            _put(inner, {own: state[given] for own, given in names.items()}, path)
            return
    reason, advice = _misfit(wanted, candidates)
    raise UserError(f"Weights {str(path)!r} cannot be loaded ({reason}); {advice}")


def _states(value: Any, place: str = "", depth: int = DEPTH) -> Iterator[tuple[str, State]]:
    """Dictionaries of tensors inside a checkpoint with how to get at them, the likelier first."""
    if not isinstance(value, Mapping) or depth == 0:
        return
    tensors = {str(k): v for k, v in value.items() if isinstance(v, torch.Tensor)}
    if tensors:
        yield place, tensors
    inner = [key for key, held in value.items() if isinstance(held, Mapping)]
    inner.sort(key=lambda key: USUAL.index(key) if key in USUAL else len(USUAL))
    for key in inner:
        yield from _states(value[key], f"{place}[{key!r}]", depth - 1)


def _fitted(wanted: State, state: State) -> dict[str, str] | None:
    """Name in the state by the network's own name, None if the two do not fit."""
    own, given = _plain(wanted), _plain(state)
    if own is None or given is None:
        own, given = {name: name for name in wanted}, {name: name for name in state}
    needed = [name for name in own if not name.endswith(COUNTER)] or list(own)
    if not needed:
        return None
    some = min(needed)
    # Prefixes that the state has in front of the network's names, the shorter first.
    for name in sorted(given, key=len):
        if name == some or name.endswith(f".{some}"):
            prefix = name.removesuffix(some)
            inside = {n.removeprefix(prefix): full for n, full in given.items()
                      if n.startswith(prefix)}  # fmt: skip
            if inside.keys() <= own.keys() and inside.keys() >= set(needed):
                return {own[name]: full for name, full in inside.items()}
    # Prefixes that the network's names have in front of the state's.
    first = min(name for name in given) if given else ""
    for name in sorted(needed, key=len):
        if first and name.endswith(f".{first}"):
            prefix = name.removesuffix(first)
            longer = {prefix + n: full for n, full in given.items()}
            if longer.keys() <= own.keys() and longer.keys() >= set(needed):
                return {own[name]: full for name, full in longer.items()}
    return None


def _plain(state: State) -> dict[str, str] | None:
    """Full names by the names without parts of wrappers; None if two become one."""
    plain = {
        ".".join(part for part in name.split(".") if part not in WRAPPERS): name for name in state
    }
    return plain if len(plain) == len(state) and "" not in plain else None


def _put(model: nn.Module, values: dict[str, torch.Tensor], path: Path) -> None:
    wanted = model.state_dict()
    for name, value in values.items():
        if not is_lazy(wanted[name]) and value.shape != wanted[name].shape:
            raise UserError(
                f"Weights {str(path)!r} cannot be loaded ({name!r} has the shape "
                f"{tuple(value.shape)} where the network has {tuple(wanted[name].shape)}); {ADVICE}"
            )
    try:
        model.load_state_dict(values, strict=False)
    except Exception as error:  # A network's own hooks may raise anything.
        raise UserError(
            f"Weights {str(path)!r} cannot be loaded ({_short(error)}); {ADVICE}"
        ) from error


def _misfit(wanted: State, candidates: list[tuple[str, State]]) -> tuple[str, str]:
    """What the likeliest state lacks and has too much, and what to do."""
    own = _plain(wanted) or {name: name for name in wanted}

    def common(state: State) -> int:
        return len(own.keys() & (_plain(state) or state).keys())

    place, state = max(candidates, key=lambda each: (common(each[1]), -len(each[0])))
    given = _plain(state) or {name: name for name in state}
    lacks = [full for name, full in own.items() if name not in given and COUNTER not in name]
    extra = [full for name, full in given.items() if name not in own]
    parts = [f"there is no {_listed(lacks)}"] if lacks else []
    if extra:
        parts.append(f"{_listed(extra)} {'is' if len(extra) == 1 else 'are'} not in the network")
    reason = ", and ".join(parts) or "its names fit in two ways"
    if extra and not lacks:
        return reason, f"remove {'it' if len(extra) == 1 else 'them'} from the file{place}."
    return f"{f'under {place} ' if place else ''}{reason}", ADVICE


def _listed(names: Any) -> str:
    shown = [repr(name) for name in list(names)[:SHOWN]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _is_safetensors(path: Path) -> bool:
    with opened(path) as (file, size):
        begin = file.read(9)
    if len(begin) < 9 or begin[8:] != b"{":
        return False
    return struct.unpack("<Q", begin[:8])[0] <= min(size - 8, MAX_HEADER)


def _safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, json.JSONDecodeError, KeyError, RuntimeError) as error:
        raise ValueError(f"it is damaged, {_short(error)}") from None


def _remedy(path: Path) -> str:
    """What to do with a file that holds something else than a state."""
    names: list[str] = []
    with contextlib.suppress(OSError, *MALFORMED), opened(path) as (file, _):
        names = zipfile.ZipFile(file).namelist()
    if any("/code/" in name for name in names):
        return (
            "it is a TorchScript program: write its weights with "
            f"torch.save(torch.jit.load({str(path)!r}).state_dict(), 'state.pt') and give state.pt."
        )
    return ADVICE


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(". ")
