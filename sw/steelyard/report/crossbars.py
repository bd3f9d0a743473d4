"""Networks in crossbars: what a mapping costs beside another one, under every constant set."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cost import CONSTANTS, Cost, NetworkCost, compare, constant_set, price
from ..engines.crossbar import (
    MAPPINGS,
    Activity,
    CrossbarConfig,
    NetworkMapping,
    activity,
    map_network,
    most_activity,
)
from ..errors import UserError
from ..network import Conv, Network, golden, ungroup

__all__ = ["Comparison", "compare_with_traditional", "cost_over_dense"]

MOST_ZEROS = 0.25
"""Share of zeros among the weights that take cells above which a network is pruned for another
shape: `mixed` by itself takes up to a fifth, the other mappings nearly none."""
MILLION = 1e6
"""Picojoules in a microjoule, nanoseconds in a millisecond."""


@dataclass(frozen=True)
class Comparison:
    """Mapping of a network beside the traditional mapping of the same network.

    Members
    -------
    network : that is mapped
    mapping : of its weights
    traditional : mapping to compare with
    images : whose activity is priced
    prices : cost of the mapping and of the traditional one, by name of the constant set
    """

    network: Network
    mapping: NetworkMapping
    traditional: NetworkMapping
    images: int
    prices: Mapping[str, tuple[NetworkCost, NetworkCost]]

    def document(self) -> dict[str, Any]:
        """All figures, as JSON holds them; energy and time of one image."""
        config = self.mapping.config
        _, other = self.prices[config.constants]
        return {
            "network": self.network.name,
            "mapping": self.mapping.mapping,
            "images": self.images,
            "config": json.loads(config.canonical()),
            "crossbars": self.mapping.crossbars,
            "fills": self.mapping.fills.tolist(),
            "index_bits": self.mapping.index_bits,
            "zeros_in_cells": self.zeros_in_cells,
            "layers": [self._layer(*each) for each in self.mapping.shares().items()],
            "constants": {
                key: {
                    **_costs(mine.total, theirs.total, self.images),
                    "ratios": {
                        k: v if np.isfinite(v) else None
                        for k, v in asdict(compare(mine, theirs)).items()
                    },
                }
                for key, (mine, theirs) in self.prices.items()
            },
            **self._conversions(),
            "traditional": {
                "crossbars": self.traditional.crossbars,
                "fills": self.traditional.fills.tolist(),
                "ou_steps": other.ou_steps,
                "ou_skipped": other.ou_skipped,
            },
        }

    @property
    def zeros_in_cells(self) -> float:
        """Share of zeros among the weights that take cells; 0 without any."""
        return _zeros_in_cells(self.network, self.mapping)

    def shape_warning(self) -> str | None:
        """Sentence on a network that was pruned for another shape than it is mapped to, if so."""
        name, found = self.mapping.mapping, self.zeros_in_cells
        if name == "traditional" or found <= MOST_ZEROS:
            return None
        others = {
            other: _zeros_in_cells(
                self.network, map_network(self.network, self.mapping.config, other)
            )
            for other in MAPPINGS
            if other not in ("traditional", name)
        }
        best = min(others, key=lambda other: others[other])
        better = ""
        if others[best] <= MOST_ZEROS:
            better = f", or use the mapping {best!r}, whose cells hold {100 * others[best]:.0f} %"
        units = self.mapping.config.ou_weights
        return (
            f"{100 * found:.0f} % of the weights that take cells are 0: the network was pruned for "
            f"another shape than {name!r} mapping with operation units of "
            f"{self.mapping.config.ou_rows} rows by {units} channels; prune it for this "
            f"configuration with the constraint {name!r}{better}."
        )

    def _conversions(self) -> dict[str, list[int]]:
        """Conversions by the bits that they resolve, where converters stop at some."""
        if self.mapping.config.adc_resolve == "all":
            return {}
        own, other = self.prices[self.mapping.config.constants]
        found: dict[str, list[int]] = {}
        for prefix, cost in (("", own), ("traditional_", other)):
            works = [work.conversions for work in cost.activities.values()]
            found[f"{prefix}conversions_by_bits"] = np.stack(works).sum(axis=0).tolist()
        return found

    def _layer(self, name: str, share: float) -> dict[str, Any]:
        own, other = self.prices[self.mapping.config.constants]
        mapping = self.mapping.layers[name]
        counts, reference = own.activities[name].counts, other.activities[name].counts
        return {
            "name": name,
            "weights": int(np.prod(mapping.shape)),
            "mapped_weights": mapping.weights,
            "crossbars": mapping.crossbar_numbers.tolist(),
            "crossbar_share": share,
            "cells": mapping.cells,
            "index_bits": mapping.index_bits,
            "ou_steps": counts.ou_steps,
            "ou_skipped": counts.ou_skipped,
            "traditional_ou_steps": reference.ou_steps,
            "traditional_ou_skipped": reference.ou_skipped,
            "constants": {
                key: _costs(mine.layers[name], theirs.layers[name], self.images)
                for key, (mine, theirs) in self.prices.items()
            },
        }


def compare_with_traditional(
    network: Network,
    config: CrossbarConfig,
    mapping: str = "pattern",
    codes: NDArray[np.int8] | None = None,
) -> Comparison:
    """Map a network onto crossbars, and price it under every constant set with such a converter.

    Parameters
    ----------
    mapping : how the crossbars hold the weights
    codes : images whose activity counts, int8 (images, channels, height, width); without them no
        step of an image is skipped, so that energy and time are the most possible

    Raises
    ------
    UserError
        If there is no such mapping, or the configuration's own constants have no such converter.
    """
    constant_set(config.constants).adc(config.adc_bits)
    network = ungroup(network, config.ou_rows, config.ou_columns)
    own = map_network(network, config, mapping)
    traditional = map_network(network, config, "traditional")
    if codes is None:
        images = 1
        work, other = (most_activity(network, mapped) for mapped in (own, traditional))
    else:
        images = len(codes)
        tensors = golden.run(network, codes, trace=True)
        work, other = (activity(network, mapped, tensors) for mapped in (own, traditional))
    prices = {
        name: (price(own, work, name), price(traditional, other, name))
        for name in CONSTANTS
        if _has_converter(name, config)
    }
    return Comparison(network, own, traditional, images, prices)


def _zeros_in_cells(network: Network, mapping: NetworkMapping) -> float:
    stored = sum(layer.weights for layer in mapping.layers.values())
    nonzero = sum(
        int(np.count_nonzero(layer.weight)) for layer in network.layers if isinstance(layer, Conv)
    )
    return 1 - nonzero / stored if stored else 0.0


def _has_converter(name: str, config: CrossbarConfig) -> bool:
    try:
        CONSTANTS[name].adc(config.adc_bits)
    except UserError:
        return False
    return True


def _costs(own: Cost, other: Cost, images: int) -> dict[str, float]:
    """Area in um2, energy in uJ and times in ms of an image, with those of the traditional."""
    made = {}
    for prefix, cost in (("", own), ("traditional_", other)):
        made[f"{prefix}area_um2"] = cost.total_area
        made[f"{prefix}energy_uj"] = cost.total_energy / images / MILLION
        made[f"{prefix}serial_ms"] = cost.serial_time / images / MILLION
        made[f"{prefix}parallel_ms"] = cost.parallel_time / images / MILLION
    return made


def cost_over_dense(
    network: Network,
    config: CrossbarConfig,
    mapping: str,
    dense: Network,
    codes: NDArray[np.int8],
) -> dict[str, Any]:
    """What one network costs in its crossbars, over the dense one in the traditional mapping.

    Where the mapping is neither traditional nor the compression by rows of operation units
    (``ou_row``), that of the same weights is priced too, as ``same_weights_ou_row``.

    Parameters
    ----------
    codes : images whose activity is priced, int8 (images, channels, height, width)
    """
    other, other_works = _mapped(dense, config, "traditional", codes)
    reference = {name: price(other, other_works, name) for name in CONSTANTS}
    own, works = _mapped(network, config, mapping, codes)
    weights = [layer.weight for layer in network.layers if isinstance(layer, Conv)]
    total = sum(weight.size for weight in weights)
    nonzero = sum(int(np.count_nonzero(weight)) for weight in weights)
    row = {
        "weights": total,
        "nonzero_weights": nonzero,
        "compression": total / max(1, nonzero),
        **_relative(total, own, works, reference),
        "adc_conversions": sum(work.counts.adc_conversions for work in works.values()),
    }
    if mapping not in ("traditional", "ou_row"):
        row["same_weights_ou_row"] = _relative(
            total, *_mapped(network, config, "ou_row", codes), reference
        )
    return row


def _relative(
    total: int,
    own: NetworkMapping,
    works: Mapping[str, Activity],
    reference: Mapping[str, NetworkCost],
) -> dict[str, Any]:
    """Costs of a mapping of `total` weights, and over those of a reference under each set."""
    ratios = {name: asdict(compare(price(own, works, name), reference[name])) for name in reference}
    stored = sum(layer.weights for layer in own.layers.values())
    first = next(iter(ratios.values()))
    return {
        "mapped_weights": stored,
        "memory_compression": 8 * total / (8 * stored + own.index_bits),
        "crossbars": own.crossbars,
        "area_ratio": {name: ratio["area"] for name, ratio in ratios.items()},
        "energy_ratio": {name: ratio["energy"] for name, ratio in ratios.items()},
        "speed_ratio": {name: ratio["speed"] for name, ratio in ratios.items()},
        "parallel_speed_ratio": {name: r["parallel_speed"] for name, r in ratios.items()},
        "cells_ratio": first["cells"],
        "ou_steps_ratio": first["ou_steps"],
        "executed_steps_ratio": first["executed_steps"],
        "ou_steps": sum(work.counts.ou_steps for work in works.values()),
        "ou_skipped": sum(work.counts.ou_skipped for work in works.values()),
        "index_bits": own.index_bits,
    }


def _mapped(
    network: Network, config: CrossbarConfig, mapping: str, codes: NDArray[np.int8]
) -> tuple[NetworkMapping, Mapping[str, Activity]]:
    mapped = map_network(network, config, mapping)
    tensors = golden.run(network, codes, trace=True, threads=1)
    return mapped, activity(network, mapped, tensors)
