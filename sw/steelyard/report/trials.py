"""A network's images through its crossbars, once for each way in which these may compute."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..engines.crossbar import (
    Activity,
    Converter,
    EffectLevel,
    NetworkMapping,
    activity,
    greatest_sum,
    run,
)
from ..errors import UserError
from ..network import Network, golden
from ..progress import Progress

__all__ = ["Measured", "Trial", "check_labels", "try_all"]

BLOCK = 250
"""Images that pass the crossbars at once, enough to repay the tables of their conversions."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A way in which the crossbars compute.

    Members
    -------
    mapping : of the network, for converters of this width
    converters : of every mapped layer, by name
    level : effects of real devices, None for none
    seed : of the effects
    """

    mapping: NetworkMapping
    converters: Mapping[str, Converter]
    level: EffectLevel | None = None
    seed: int = 0

    @property
    def bits(self) -> int:
        """Of the converters."""
        return self.mapping.config.adc_bits

    def __str__(self) -> str:
        effects = "" if self.level is None else f", {self.level}, seed {self.seed}"
        return f"{self.bits} bits{effects}"


@dataclass(frozen=True, eq=False)
class Measured:
    """What a trial gave.

    Members
    -------
    images : that went through the crossbars
    same : images of the class that the integer network gives them
    right : images of the class that they have; None where nobody says it
    works : work of every mapped layer over all images, by name
    """

    images: int
    same: int
    right: int | None
    works: Mapping[str, Activity]

    @property
    def accuracy(self) -> float | None:
        """Share of the images that have the right class."""
        return None if self.right is None else self.right / self.images

    @property
    def agreement(self) -> float:
        """Share of the images that have the integer network's class."""
        return self.same / self.images

    def __add__(self, other: "Measured") -> "Measured":
        right = None
        if self.right is not None and other.right is not None:
            right = self.right + other.right
        works = {name: work + other.works[name] for name, work in self.works.items()}
        return Measured(self.images + other.images, self.same + other.same, right, works)


def try_all(
    network: Network,
    trials: Sequence[Trial],
    codes: NDArray[np.int8],
    labels: NDArray[np.integer] | None = None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Measured]:
    """What each trial gives.

    Parameters
    ----------
    codes : images, int8 (images, channels, height, width)
    labels : class of each image, integers (images,)
    workers : threads that share the work; by default one a processor
    progress : called with blocks of images done, blocks of all trials, and what they were

    Raises
    ------
    UserError
        If the labels are not those of the images, or a mapping is of another network.
    """
    if labels is not None:
        check_labels(network, len(codes), labels)
    firsts = range(0, len(codes), BLOCK)
    integers = _classes(golden.run(network, codes, threads=workers))

    def block(number: int, first: int) -> Measured:
        part = slice(first, first + BLOCK)
        found, works = _block(network, trials[number], codes[part], first)
        same = int((found == integers[part]).sum())
        right = None if labels is None else int((found == labels[part]).sum())
        return Measured(len(found), same, right, works)

    jobs = [(number, first) for number in range(len(trials)) for first in firsts]
    found: dict[int, Measured] = {}
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        futures = {pool.submit(block, *job): job[0] for job in jobs}
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                number, own = futures[future], future.result()
                found[number] = found[number] + own if number in found else own
                if progress is not None:
                    progress(done, len(jobs), str(trials[number]))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [found[number] for number in range(len(trials))]


def _block(
    network: Network, trial: Trial, codes: NDArray[np.int8], first: int
) -> tuple[NDArray[np.intp], Mapping[str, Activity]]:
    """Classes and work of a block of images in one trial; `first` is the first's number."""
    level = trial.level
    if level is None and _is_exact(trial.mapping, trial.converters):
        # These converters change no sum, so the results are the integers'.
        tensors = golden.run(network, codes, trace=True, threads=1)
        return _classes(tensors[network.output]), activity(network, trial.mapping, tensors)
    result = run(
        network, trial.mapping, codes,
        converters=trial.converters,
        effects=None if level is None else level.faults(trial.seed),
        # Every block is read for itself, so its noise is its own.
        analog=None if level is None else level.analog(trial.seed, reads=first),
    )  # fmt: skip
    return _classes(result.output), result.layers


def _is_exact(mapping: NetworkMapping, converters: Mapping[str, Converter]) -> bool:
    """Whether the converters change no sum that the actual weights can reach."""
    return all(
        converters[name].is_exact(greatest_sum(layer)) for name, layer in mapping.layers.items()
    )


def _classes(output: NDArray[np.int8]) -> NDArray[np.intp]:
    """Class of the largest score, of equal ones the first: (images,)."""
    return output.reshape(len(output), -1).argmax(axis=1)


def check_labels(network: Network, images: int, labels: NDArray) -> None:
    """Refuse labels that are not those of the images.

    Raises
    ------
    UserError
        If they are no integers, one for each image, or no classes of the network.
    """
    classes, *plane = network.tensor(network.output).shape
    if plane != [1, 1]:
        raise UserError(
            f"Network {network.name!r} gives a map of {plane[0]} x {plane[1]} pixels, and labels "
            "are of one class for each image; leave --labels out."
        )
    if labels.shape != (images,) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"Labels must be {images} integers, one for each image, not {labels.dtype} of shape "
            f"{labels.shape}; write the number of each image's class."
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise UserError(
            f"Labels must lie between 0 and {classes - 1}, the classes of network "
            f"{network.name!r}, but go from {labels.min()} to {labels.max()}; number the classes "
            "in the order of the network's outputs."
        )
