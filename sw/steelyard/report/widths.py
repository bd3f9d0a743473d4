"""A mapped network under converters of several widths: accuracy, energy and area."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cost import CONSTANTS, Cost, NetworkCost, constant_set, price
from ..engines.crossbar import Converter, CrossbarConfig, map_network, most_activity
from ..errors import UserError
from ..progress import Progress
from .crossbars import MILLION, Comparison
from .trials import Measured, Trial, try_all

__all__ = ["Width", "check_widths", "layer_costs", "under_converters"]


@dataclass(frozen=True, eq=False)
class Width:
    """A mapped network with converters of one width.

    Members
    -------
    trial : bits of the converters, and those of every layer
    measured : what images gave; None without any
    images : whose work is priced
    prices : cost of the network, by name of the constant set; sets without such a converter are
        left out
    """

    trial: Trial
    measured: Measured | None
    images: int
    prices: Mapping[str, NetworkCost]

    def document(self) -> dict[str, Any]:
        """All figures but those of layers, as JSON holds them; energy and time of one image."""
        return {
            "adc_bits": self.trial.bits,
            "steps": {name: own.step for name, own in self.trial.converters.items()},
            "accuracy": self.measured and self.measured.accuracy,
            "agreement": self.measured and self.measured.agreement,
            "constants": {
                name: {
                    "priced_bits": priced_bits(name, self.trial.bits),
                    "area_um2": cost.total.total_area,
                    "energy_uj": cost.total.total_energy / self.images / MILLION,
                    "adc_energy_uj": cost.total.energy["adc"] / self.images / MILLION,
                    "serial_ms": cost.total.serial_time / self.images / MILLION,
                    "parallel_ms": cost.total.parallel_time / self.images / MILLION,
                }
                for name, cost in self.prices.items()
            },
        }


def check_widths(config: CrossbarConfig, bits: Sequence[int]) -> None:
    """Refuse converters that there are not.

    Raises
    ------
    UserError
        If a width is out of range, or the configuration's constants have no such converter.
    """
    for each in bits:
        constant_set(config.constants).adc(config.with_(adc_bits=each).adc_bits)


def under_converters(
    found: Comparison,
    bits: Sequence[int] = (),
    codes: NDArray[np.int8] | None = None,
    labels: NDArray[np.integer] | None = None,
    *,
    fitted: Mapping[int, Mapping[str, Converter]] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Width]:
    """A mapped network with converters of each of some widths.

    Without bits and labels nothing is computed: the comparison's own width is priced as it is.

    Parameters
    ----------
    found : the mapped network, with the work of its images
    bits : of the converters, each once; those of the configuration unless given
    codes : the images, int8 (images, channels, height, width); they go through the crossbars under
        every width, and what these do then is priced
    labels : class of each image, integers (images,)
    fitted : converters of every layer for each width, as of
        :func:`steelyard.engines.crossbar.fit_converters`, in place of the configuration's
    workers : threads that share the work; by default one a processor
    progress : called with blocks of images done, blocks in all, and what they were

    Raises
    ------
    UserError
        If there are no such converters, the configuration's constants have none, or the labels are
        not those of the images.
    """
    own = found.mapping.config
    check_widths(own, bits)
    trials = [_trial(found, each, fitted) for each in bits or (own.adc_bits,)]
    measured: Sequence[Measured | None] = [None] * len(trials)
    if labels is not None and codes is None:
        raise UserError("Labels are of images, and there are none; give the images too.")
    if codes is not None and (bits or labels is not None):
        measured = try_all(found.network, trials, codes, labels, workers=workers, progress=progress)
    widths = []
    for trial, each in zip(trials, measured, strict=True):
        if each is not None:
            works = each.works
        elif bits:
            works = most_activity(found.network, trial.mapping)
        else:
            works = found.prices[own.constants][0].activities
        prices = {
            name: price(trial.mapping, works, name)
            for name in CONSTANTS
            if priced_bits(name, trial.bits) is not None
        }
        widths.append(Width(trial, each, found.images, prices))
    return widths


def _trial(
    found: Comparison, bits: int, fitted: Mapping[int, Mapping[str, Converter]] | None
) -> Trial:
    """The network with converters of some width."""
    config = found.mapping.config.with_(adc_bits=bits)
    mapping = found.mapping
    if config != mapping.config:
        mapping = map_network(found.network, config, mapping.mapping)
    if fitted is not None:
        return Trial(mapping=mapping, converters=fitted[bits])
    return Trial(mapping=mapping, converters=dict.fromkeys(mapping.layers, Converter.of(config)))


def layer_costs(widths: Sequence[Width]) -> list[dict[str, Any]]:
    """A row for each width, layer and constant set: what the layer takes, does and costs.

    Counts are of all images, energy and times of one. The columns are the same in all rows.
    """
    return [
        {
            "layer": name,
            "adc_bits": width.trial.bits,
            "step": width.trial.converters[name].step,
            "constants": constants,
            "weights": int(np.prod(layer.shape)),
            "mapped_weights": layer.weights,
            "cells": layer.cells,
            "crossbar_share": shares[name],
            "index_bits": layer.index_bits,
            "images": width.images,
            **asdict(cost.activities[name].counts),
            **_parts(cost.layers[name], width.images),
        }
        for width in widths
        for constants, cost in width.prices.items()
        for shares in (cost.mapping.shares(),)
        for name, layer in cost.mapping.layers.items()
    ]


def _parts(cost: Cost, images: int) -> dict[str, float]:
    """Area in um2, energy in uJ and times in ms of an image, by part and in all."""
    return {
        **{f"area_{part}_um2": value for part, value in cost.area.items()},
        "area_um2": cost.total_area,
        **{f"energy_{part}_uj": v / images / MILLION for part, v in cost.energy.items()},
        "energy_uj": cost.total_energy / images / MILLION,
        "serial_ms": cost.serial_time / images / MILLION,
        "parallel_ms": cost.parallel_time / images / MILLION,
    }


def priced_bits(constants: str, bits: int) -> int | None:
    """Width of the converter that a constant set has for some bits: the next; None for none."""
    return min((own for own in CONSTANTS[constants].adc_energy if own >= bits), default=None)
