"""Comparison of a device with the golden model, element by element."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..program import Program, layer_hash
from ..progress import Progress
from .device import Device

__all__ = ["Mismatch", "check", "check_known_answer", "check_layers"]

TRACE_IMAGES = 32
"""Images whose golden tensors are computed, and kept, together."""


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """First element in which a device differs from the golden model.

    Members
    -------
    layer : name of the layer
    image, channel, row, column : place in the layer's output
    expected, actual : int8 codes of the golden model and the device
    differing : elements of the layer's output that differ in the image's batch
    compared : elements that were compared there
    """

    layer: str
    image: int
    channel: int
    row: int
    column: int
    expected: int
    actual: int
    differing: int
    compared: int

    def __str__(self) -> str:
        return (
            f"layer {self.layer!r}, image {self.image}, channel {self.channel}, row {self.row}, "
            f"column {self.column}: expected {self.expected}, got {self.actual} "
            f"({self.differing} of {self.compared} elements of the layer differ)"
        )


def check(
    program: Program, x: NDArray[np.int8], device: Device, *, progress: Progress | None = None
) -> Mismatch | None:
    """First difference between device and golden model, or None if all outputs are equal.

    Compares the network's output; only a batch whose output differs is run again layer by layer, to
    find where it starts.

    Parameters
    ----------
    program : loaded into `device` first, unless it is the one loaded last
    x : int8 (images, channels, height, width)
    progress : called with images compared, images in all, and ``images``
    """
    if not device.holds(program):
        device.load(program)
    x = device.check_input(x)
    count = len(program.network.layers)
    for first, part, trace in _traced(program, x, device):
        device._write_input(part)
        device.run_layers(0, count)
        for name, actual in device.read_outputs().items():
            if np.array_equal(trace[name], actual):
                continue
            found = _locate(program, first, part, trace, device)
            return found or _compare(_maker(program, name), first, trace[name], actual)
        if progress is not None:
            progress(min(first + program.batch, len(x)), len(x), "images")
    return None


def check_layers(
    program: Program, x: NDArray[np.int8], device: Device, *, progress: Progress | None = None
) -> Mismatch | None:
    """First difference between device and golden model in any layer, or None if all are equal.

    Each layer runs once a batch and its whole output is read back.

    Parameters
    ----------
    program : loaded into `device` first, unless it is the one loaded last
    x : int8 (images, channels, height, width)
    progress : called with images compared, images in all, and ``images``
    """
    if not device.holds(program):
        device.load(program)
    x = device.check_input(x)
    for first, part, trace in _traced(program, x, device):
        found = _run_layers(program, first, part, trace, device)
        if found is not None:
            return found
        if progress is not None:
            progress(min(first + program.batch, len(x)), len(x), "images")
    return None


def check_known_answer(program: Program, device: Device) -> str | None:
    """Name of the first layer that differs from the program's known answer, or None if none does.

    Needs no golden model: the program carries the input and a hash of every layer's output. The
    whole network runs first; where its output differs, layer by layer.

    Parameters
    ----------
    program : loaded into `device` first, unless it is the one loaded last
    """
    if not device.holds(program):
        device.load(program)
    answer = program.answer
    outputs = device.infer_outputs(answer.input)
    if all(np.array_equal(outputs[name], values) for name, values in answer.outputs.items()):
        return None
    ((_, batch),) = device.batches(answer.input)
    device._write_input(batch)
    for index, (layer, wanted) in enumerate(
        zip(program.network.layers, answer.layers, strict=True)
    ):
        device.run_layers(index, 1)
        if program.layers[index].stored and layer_hash(device.read_tensor(index)[:1]) != wanted:
            return layer.name
    return program.network.layers[-1].name


def _maker(program: Program, tensor: str) -> str:
    """Name of the layer that makes a tensor; the last one's for the network's input."""
    makers = {layer.output: layer.name for layer in program.network.layers}
    return makers.get(tensor, program.network.layers[-1].name)


Traced = tuple[int, NDArray[np.int8], dict[str, NDArray[np.int8]]]


def _traced(program: Program, x: NDArray[np.int8], device: Device) -> Iterator[Traced]:
    """Every batch with its first image's index and the golden model's tensors."""
    together = max(1, TRACE_IMAGES // program.batch)
    batches = list(device.batches(x))
    for start in range(0, len(batches), together):
        group = batches[start : start + together]
        images = np.concatenate([part for _, part in group])
        tensors = program.golden(images)
        for index, (first, part) in enumerate(group):
            here = slice(index * program.batch, (index + 1) * program.batch)
            yield first, part, {name: values[here] for name, values in tensors.items()}


def _run_layers(
    program: Program,
    first: int,
    x: NDArray[np.int8],
    trace: dict[str, NDArray[np.int8]],
    device: Device,
) -> Mismatch | None:
    device._write_input(x)
    for index, layer in enumerate(program.network.layers):
        device.run_layers(index, 1)
        if not program.layers[index].stored:
            continue
        found = _compare(layer.name, first, trace[layer.output], device.read_tensor(index))
        if found is not None:
            return found
    return None


def _locate(
    program: Program,
    first: int,
    x: NDArray[np.int8],
    trace: dict[str, NDArray[np.int8]],
    device: Device,
) -> Mismatch | None:
    """First layer that differs when run alone, else after the ones before it without a stop."""
    found = _run_layers(program, first, x, trace, device)
    if found is not None:
        return found
    for index, layer in enumerate(program.network.layers):
        if not program.layers[index].stored:
            continue
        device._write_input(x)
        device.run_layers(0, index + 1)
        found = _compare(layer.name, first, trace[layer.output], device.read_tensor(index))
        if found is not None:
            return found
    return None


def _compare(
    layer: str, first: int, expected: NDArray[np.int8], actual: NDArray[np.int8]
) -> Mismatch | None:
    different = expected != actual
    differing = int(np.count_nonzero(different))
    if not differing:
        return None
    image, channel, row, column = map(int, np.argwhere(different)[0])
    return Mismatch(
        layer=layer,
        image=first + image,
        channel=channel,
        row=row,
        column=column,
        expected=int(expected[image, channel, row, column]),
        actual=int(actual[image, channel, row, column]),
        differing=differing,
        compared=expected.size,
    )
