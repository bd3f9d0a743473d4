"""What the demo does in its worker processes; arguments and results can be pickled."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steelyard import data as dataset
from steelyard import driver, zoo
from steelyard.contract import AcceleratorConfig
from steelyard.errors import UserError
from steelyard.network import Network, golden
from steelyard.program import Program

from ..threads import one_thread

__all__ = [
    "Baseline",
    "Checked",
    "Measured",
    "accuracy",
    "baseline",
    "build",
    "check",
    "measure",
    "opened",
]


@dataclass(frozen=True)
class Baseline:
    """Accuracies of the dense network, 0 to 1, with what they were measured on."""

    float_accuracy: float
    int8_accuracy: float
    images: int
    source: str
    bundled: bool
    """Whether the bundled images stood in for the whole test set."""


@dataclass(frozen=True)
class Measured:
    """One batch run at once: cycles, the layers' counters and whether the output was right."""

    cycles: int | None
    counters: list[driver.LayerCounters]
    equal: bool
    seconds: float
    """CPU seconds of the run."""


@dataclass(frozen=True)
class Checked:
    """Images compared in every layer, and the first difference."""

    images: int
    mismatch: driver.Mismatch | None


def build(device: str, config: AcceleratorConfig) -> float:
    """Seconds until the simulation of a configuration lies in the cache; nothing for the others."""
    started = time.monotonic()
    if device == "sim":
        from steelyard_sim import build_library

        build_library(config)
    return time.monotonic() - started


Labelled = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def _bundled() -> Labelled:
    sample = zoo.sample()
    return sample.test, sample.test_labels


def _whole(folder: Path | None) -> tuple[Labelled, str]:
    found = dataset.find(folder)
    return (found.test_images, found.test_labels), found.source


def baseline(folder: Path | None) -> Baseline:
    """Accuracy of the dense network in float and as int8.

    Unless a folder is named, which must hold the data, the bundled images stand in for them.
    """
    from steelyard.importer import load
    from steelyard.quantize import quantize
    from steelyard.train import accuracy as float_accuracy

    one_thread()
    bundled = False
    try:
        (images, labels), source = _whole(folder)
    except UserError as error:
        if folder is not None:
            raise
        bundled = True
        images, labels = _bundled()
        source = f"the bundled ones, for the whole test set is missing ({error})"
    model = zoo.load()
    network = load(quantize(model, zoo.sample().calibration_input))
    return Baseline(
        float_accuracy(model, images, labels),
        _accuracy(network, images, labels),
        len(images),
        source,
        bundled,
    )


def accuracy(network: Network, folder: Path | None, bundled: bool) -> float:
    """Accuracy of an integer network by the golden model, on the images of the baseline."""
    images, labels = _bundled() if bundled else _whole(folder)[0]
    return _accuracy(network, images, labels)


def _accuracy(
    network: Network, images: NDArray[np.uint8], labels: NDArray[np.uint8], block: int = 1000
) -> float:
    tensor = network.tensor(network.input)
    right = 0
    for start in range(0, len(images), block):
        codes = tensor.quantize(zoo.to_input(images[start : start + block]))
        scores = golden.run(network, codes, threads=1).reshape(len(codes), -1)
        right += int((scores.argmax(1) == labels[start : start + block]).sum())
    return right / len(images)


def measure(device_name: str, program: Program, codes: NDArray[np.int8]) -> Measured:
    """One batch with all layers in one go."""
    device = opened(device_name)
    device.load(program)
    started = time.process_time()
    result = device.infer(codes)
    seconds = time.process_time() - started
    expected = golden.run(program.network, codes, threads=1)
    equal = bool(np.array_equal(result, expected))
    return Measured(device.cycles, device.counters(), equal, seconds)


def check(device_name: str, program: Program, first: int, codes: NDArray[np.int8]) -> Checked:
    """Every layer of a few images against the golden model; `first` is the first image's number."""
    found = driver.check_layers(program, codes, opened(device_name))
    if found is not None:
        found = replace(found, image=found.image + first)
    return Checked(len(codes), found)


_opened: dict[str, driver.Device] = {}


def opened(name: str) -> driver.Device:
    """Device of this process, opened once: a worker runs many batches."""
    if name not in _opened:
        _opened[name] = driver.open(name)
    return _opened[name]
