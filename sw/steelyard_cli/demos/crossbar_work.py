"""What the crossbar demo does in its worker processes; arguments and results can be pickled."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steelyard import data as dataset
from steelyard import driver, zoo
from steelyard.compile import compile as compile_program
from steelyard.contract import AcceleratorConfig
from steelyard.engines import crossbar
from steelyard.engines.crossbar import Activity, CrossbarConfig, map_network
from steelyard.network import Network, golden

from ..threads import one_thread
from .array_work import opened

__all__ = [
    "WAYS",
    "Checked",
    "Way",
    "accuracy",
    "build",
    "check",
    "pruned",
    "tested",
]

BLOCK = 250
"""Images that pass the crossbars at once, enough to repay the tables of their conversions."""


@dataclass(frozen=True)
class Way:
    """One way to prune and map.

    Members
    -------
    name : constraint of the pruning; ``dense`` prunes nothing
    mapping : how the crossbars hold what is left
    sparsity : share of the weights outside the first layer that go
    """

    name: str
    mapping: str
    sparsity: float


WAYS = (
    Way("dense", "traditional", 0.0),
    Way("unstructured", "ou_row", 0.75),
    Way("balanced", "ou_row", 0.75),
    Way("structured", "structured", 0.4),
    Way("ou_row", "ou_row", 0.75),
    Way("pattern", "pattern", 0.75),
    Way("mixed", "mixed", 0.8),
)
"""Each at a share that costs it about a point of accuracy or two."""


@dataclass(frozen=True)
class Checked:
    """A batch through the tile.

    Members
    -------
    images : compared in every layer
    wrong : what is wrong first, in words
    counted : whether there were counters to compare with the cost model
    cycles : of the whole batch; None where nothing counts them
    """

    images: int
    wrong: str | None
    counted: bool
    cycles: int | None


def pruned(
    way: Way, config: CrossbarConfig, calibration: int, epochs: int, seed: int
) -> tuple[Network, float]:
    """Bundled network pruned in one way, quantized: the integer network and what was removed.

    Parameters
    ----------
    calibration : bundled calibration images to use, without their labels
    epochs : of tuning towards the dense network's outputs
    """
    from steelyard import prune
    from steelyard.importer import load
    from steelyard.quantize import quantize
    from steelyard.train import augment

    one_thread()
    model = zoo.load()
    images = zoo.sample().calibration_input[:calibration]
    sparsity = 0.0
    if way.name != "dense":
        result = prune.prune_for_crossbar(
            model, images, way.name, way.sparsity,
            crossbar=prune.shape_of(config), epochs=epochs, augment=augment, seed=seed,
        )  # fmt: skip
        model, sparsity = result.model, result.sparsity
    return load(quantize(model, images)), sparsity


@lru_cache(maxsize=1)
def tested(images: int, folder: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str]:
    """The first test images, uint8 (images, 28, 28), their labels, and where they came from.

    Parameters
    ----------
    folder : of the whole data set; without one, up to 1,000 images are the bundled ones

    Raises
    ------
    UserError
        If more are wanted, and the data set cannot be found.
    """
    sample = zoo.sample()
    if folder is None and images <= len(sample.test):
        return sample.test[:images], sample.test_labels[:images], "the bundled ones"
    found = dataset.find(folder)
    return found.test_images[:images], found.test_labels[:images], found.source


def accuracy(
    network: Network, mapping: str, config: CrossbarConfig, images: int, folder: Path | None = None
) -> float:
    """Accuracy on test images (:func:`tested`): of the crossbars where the converter loses
    something, else of the integers."""
    pixels, labels, _ = tested(images, folder)
    tensor = network.tensor(network.input)
    mapped = None if config.adc_is_ideal else map_network(network, config, mapping)
    right = 0
    for first in range(0, len(labels), BLOCK):
        codes = tensor.quantize(zoo.to_input(pixels[first : first + BLOCK]))
        if mapped is None:
            scores = golden.run(network, codes, threads=1)
        else:
            scores = crossbar.run(network, mapped, codes).output
        found = scores.reshape(len(codes), -1).argmax(axis=1)
        right += int((found == labels[first : first + BLOCK]).sum())
    return right / len(labels)


def build(device: str, config: AcceleratorConfig) -> None:
    """Brings the simulation of a configuration into the cache; nothing for other devices."""
    if device == "sim":
        from steelyard_sim import build_library

        build_library(config)


def check(
    device_name: str,
    network: Network,
    mapping: str,
    config: AcceleratorConfig,
    first: int,
    codes: NDArray[np.int8],
) -> Checked:
    """One batch against the golden crossbar, and its counters against the cost model.

    The first images are compared in every layer, the others in the network's output.
    """
    program = compile_program(network, config, batch=len(codes), mapping=mapping)
    device = opened(device_name)
    found = None if first else driver.check_layers(program, codes, device)
    found = found or driver.check(program, codes, device)
    if found is not None:
        found = replace(found, image=found.image + first)
        return Checked(len(codes), str(found), False, None)
    expected = golden.run(network, codes, threads=1)
    wrong = None
    if config.engine.crossbar.adc_is_ideal and not np.array_equal(device.read_output(), expected):
        wrong = "the results are not those of the sparse array, though the converter is ideal"
    counters = {each.name: each.units for each in device.counters() if each.units is not None}
    if counters and program.mapping is not None:
        works = crossbar.activity(network, program.mapping, program.golden(codes))
        wrong = wrong or _miscounted(works, counters)
    return Checked(len(codes), wrong, bool(counters), device.cycles)


def _miscounted(
    works: Mapping[str, Activity], counted: Mapping[str, crossbar.UnitCounters]
) -> str | None:
    """First layer whose counters are not those of the cost model, in words."""
    for name, work in works.items():
        expected = {field: getattr(work.counts, field) for field in asdict(counted[name])}
        if asdict(counted[name]) != expected:
            return f"layer {name!r} counts {asdict(counted[name])} instead of {expected}"
    return None
