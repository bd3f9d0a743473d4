"""Networks as plain entries and arrays, for files: what a field looks like follows from its type.

Annotations that a layer kind may use: bool, int, float, str, ``X | None``, tuples of fixed or any
length, all of these plain in a manifest; and ``Annotated[NDArray[np.int8], Rank(4)]``, an array, or
``| None`` behind it, an array that a layer may do without.
"""

import types
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, NoReturn, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from ..errors import FileRefused
from .graph import Network
from .kinds import LAYER_KINDS
from .tensor import Tensor

__all__ = ["from_arrays", "to_arrays"]

HEADER = (
    "name", "input", "outputs", "input_view", "output_views", "input_last", "outputs_last"
)  # fmt: skip
"""Fields of a network that are plain."""


def to_arrays(network: Network) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Network as a manifest that JSON can hold and the arrays of its layers.

    Arrays are named ``layerN.FIELD``, as in ``layer0.weight``, where N is the layer's place.
    :func:`from_arrays` is the inverse.
    """
    arrays: dict[str, NDArray] = {}
    layers = []
    for number, layer in enumerate(network.layers):
        entry: dict[str, Any] = {"kind": layer.key}
        for name, hint in _hints(type(layer)).items():
            value = getattr(layer, name)
            if _array_hint(hint) is not None:
                if value is None:
                    continue
                arrays[f"layer{number}.{name}"] = value
            else:
                entry[name] = _plain(value)
        layers.append(entry)
    manifest = {
        **{name: _plain(getattr(network, name)) for name in HEADER},
        "tensors": [
            {name: _plain(getattr(tensor, name)) for name in _hints(Tensor)}
            for tensor in network.tensors.values()
        ],
        "layers": layers,
    }
    return manifest, arrays


def from_arrays(manifest: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> Network:
    """Network of a manifest and arrays written by :func:`to_arrays`.

    Raises
    ------
    FileRefused
        If an entry or array is missing, unknown or of the wrong type.
    UserError
        If the layers do not fit together.
    """
    what = "the network"
    table = _table(manifest, what, (*HEADER, "tensors", "layers"))
    hints = _hints(Network)
    header = {name: _value(what, name, hints[name], table[name]) for name in HEADER}
    tensors: dict[str, Tensor] = {}
    for number, item in enumerate(_list(table["tensors"], "tensors")):
        tensor = Tensor(**_plain_fields(item, f"tensor {number}", _hints(Tensor)))
        if tensor.name in tensors:
            raise FileRefused(f"Tensor {tensor.name!r} is described twice; write the file again.")
        tensors[tensor.name] = tensor
    unused = set(arrays)
    layers = []
    for number, item in enumerate(_list(table["layers"], "layers")):
        what = f"layer {number}"
        key = item.get("kind") if isinstance(item, Mapping) else None
        if not isinstance(key, str) or key not in LAYER_KINDS:
            _refuse(what, "kind", key)
        kind = LAYER_KINDS[key]
        hints = _hints(kind)
        stored = [name for name, hint in hints.items() if _array_hint(hint) is not None]
        plain = {name: hint for name, hint in hints.items() if name not in stored}
        values = _plain_fields(item, what, plain, "kind")
        for name in stored:
            place = f"layer{number}.{name}"
            values[name] = _array(place, hints[name], arrays)
            unused.discard(place)
        layers.append(kind(**values))
    if unused:
        raise FileRefused(f"Array {min(unused)!r} belongs to no layer; write the file again.")
    return Network(tensors=tensors, layers=tuple(layers), **header)


def _hints(made: type) -> dict[str, Any]:
    """Type of each field of a dataclass."""
    hints = get_type_hints(made, include_extras=True)
    return {each.name: hints[each.name] for each in fields(made)}


def _array_hint(hint: Any) -> Any:
    """Annotation of the array that a field holds, None if it holds something else."""
    kinds = get_args(hint) if _is_optional(hint) else (hint,)
    return kinds[0] if get_origin(kinds[0]) is Annotated else None


def _is_optional(hint: Any) -> bool:
    """Whether a type is another one or None."""
    if get_origin(hint) not in (types.UnionType, Union):
        return False
    return len(get_args(hint)) == 2 and get_args(hint)[1] is types.NoneType


def _plain(value: Any) -> Any:
    """Value as JSON holds it; numpy's numbers become Python's."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _refuse(what: str, key: str, value: object) -> NoReturn:
    raise FileRefused(f"Entry {key!r} of {what} cannot be {value!r}; write the file again.")


def _table(item: object, what: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """Mapping with exactly these keys."""
    if not isinstance(item, Mapping):
        raise FileRefused(f"The description of {what} is no table; write the file again.")
    for key in keys:
        if key not in item:
            raise FileRefused(f"Entry {key!r} of {what} is missing; write the file again.")
    for key in item:
        if key not in keys:
            raise FileRefused(f"Entry {key!r} of {what} is unknown; write the file again.")
    return item


def _list(value: object, key: str) -> list[Any]:
    if not isinstance(value, list):
        _refuse("the network", key, value)
    return value


def _plain_fields(
    item: object, what: str, hints: Mapping[str, Any], *others: str
) -> dict[str, Any]:
    """Values of a table with exactly these fields, and the keys `others`, which are left out."""
    table = _table(item, what, (*others, *hints))
    return {name: _value(what, name, hint, table[name]) for name, hint in hints.items()}


def _value(what: str, key: str, hint: Any, value: object) -> Any:
    """Value of a field as its type wants it."""
    try:
        return _typed(hint, value)
    except ValueError:
        _refuse(what, key, value)


def _typed(hint: Any, value: object) -> Any:
    """Plain value of a type.

    Raises
    ------
    ValueError
        If the value has another type.
    TypeError
        If no manifest can hold the type.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError
        if parts[1:] == (...,):
            parts = (parts[0],) * len(value)
        if len(parts) != len(value):
            raise ValueError
        return tuple(_typed(part, item) for part, item in zip(parts, value, strict=True))
    if _is_optional(hint):
        return None if value is None else _typed(parts[0], value)
    if hint is float and type(value) is int:
        # JSON may write a whole number without a point.
        return float(value)
    if hint not in (bool, int, float, str):
        raise TypeError(f"A field of type {hint} cannot be written to a file")
    if type(value) is not hint:
        raise ValueError
    return value


def _array(place: str, hint: Any, arrays: Mapping[str, NDArray]) -> NDArray | None:
    """Array of a field, of the type and rank of its annotation."""
    if place not in arrays:
        if _is_optional(hint):
            return None
        raise FileRefused(f"Array {place!r} is missing; write the file again.")
    annotation, rank = get_args(_array_hint(hint))
    (scalar,) = get_args(get_args(annotation)[1])
    wanted, found = np.dtype(scalar), arrays[place]
    if found.dtype != wanted or found.ndim != rank.axes:
        raise FileRefused(
            f"Array {place!r} must be {wanted} of rank {rank.axes}, not {found.dtype} of shape "
            f"{found.shape}; write the file again."
        )
    return found
