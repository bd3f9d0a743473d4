"""Random layers on the compiled crossbar tile, every output and count compared.

``python -m steelyard_sim.runs.tile`` draws configurations whose fields meet in most pairs of
values, compiles a simulation of each, and runs random programs on it through the unmodified driver:
each layer alone and all together. Outputs and the counts of section 4 of docs/crossbar.md must be
those of the golden crossbar, and, where the converter is ideal, outputs also those of the integer
network.
"""

import resource
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress as ProgressBar

from steelyard import driver
from steelyard.compile import Descriptor, compile
from steelyard.contract import AcceleratorConfig
from steelyard.engines import crossbar
from steelyard.engines.crossbar import MAPPINGS, DeviceEffects, NetworkMapping
from steelyard.engines.crossbar.crossbar import OU_FORMATIONS
from steelyard.errors import UserError
from steelyard.network import Conv, Network, golden
from steelyard.network.random import random_conv, random_input, random_network
from steelyard.program import Program

from ..cases.tile import unit_counts
from ..cases.tile_cover import covering_configs, pairs, possible_pairs
from .command import JSON_FILE, Command, write_json

__all__ = ["Case", "CrossbarTileBench", "Summary", "random_case"]

CONFIGS = 36
ATTEMPTS = 1000
CYCLES = 20_000
"""Predicted cycles of a program at most."""
EFFECTS = {"stuck_at_zero": 30_000, "stuck_at_one": 20_000, "deviating": 100_000, "deviation": 2}
TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """Program for the tile with its inputs, one batch int8 (batch, channels, height, width)."""

    program: Program
    x: NDArray[np.int8]

    @property
    def convolutions(self) -> list[Conv]:
        """Layers that go through crossbars."""
        return [layer for layer in self.program.network.layers if isinstance(layer, Conv)]

    def __str__(self) -> str:
        names = ", ".join(layer.name for layer in self.program.network.layers)
        shapes = "; ".join(
            f"{'x'.join(map(str, layer.weight.shape))} stride "
            f"{'x'.join(map(str, layer.stride))} padding {layer.padding}"
            for layer in self.convolutions
        )
        return (
            f"{self.program.settings.mapping}, {names} ({shapes}), batch {self.program.batch}"
            f"{', device effects' * (self.program.settings.effects is not None)}"
        )


@dataclass(kw_only=True)
class Summary:
    """What was compared, and what differed.

    Members
    -------
    layers, programs, configurations : that were run
    pairs, possible_pairs : pairs of field values that the configurations have, and all there are
    kinds : layers by what is particular about them
    mappings : layers by mapping
    elements : output elements compared, each layer alone
    ou_steps, ou_skipped : of all operation units in these layers
    cycles, predicted_cycles : of the layers through crossbars, each alone; and the bound
    busy_cycles, busy_predicted_cycles : of those in which no step is skipped
    cpu_seconds : processor time, compilation of the simulations included
    differences : what differed, in words
    """

    layers: int = 0
    programs: int = 0
    configurations: int = 0
    pairs: int = 0
    possible_pairs: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    mappings: Counter[str] = field(default_factory=Counter)
    elements: int = 0
    ou_steps: int = 0
    ou_skipped: int = 0
    cycles: int = 0
    predicted_cycles: int = 0
    busy_cycles: int = 0
    busy_predicted_cycles: int = 0
    cpu_seconds: float = 0.0
    differences: list[str] = field(default_factory=list)


def _random_network(rng: np.random.Generator, config: AcceleratorConfig) -> Network:
    """Convolution of any shape, fully connected layer or short chain, of any sparsity."""
    group, most = config.engine.group, min(config.engine.partial_sum_channels, 20)
    k = (0, None, int(rng.integers(1, group + 1)))[int(rng.choice(3, p=[0.06, 0.24, 0.7]))]
    if rng.random() < 0.25:
        network = random_network(
            int(rng.integers(1 << 32)),
            layers=int(rng.integers(2, 5)),
            max_pixels=40,
            max_channels=min(most, 12),
            max_kernel=min(config.load.padded_kernel, 4),
            group=group,
            k=k,
        )
    else:
        kernel = tuple(int(side) for side in rng.choice([1, 1, 2, 3, 3, 5], 2))
        padding = [int(rng.integers(0, side)) for side in (*kernel, *kernel)]
        network = random_conv(
            rng,
            in_channels=int(rng.integers(1, 17)),
            out_channels=int(rng.integers(1, most + 1)),
            size=(int(rng.integers(1, 9)), int(rng.integers(1, 9))),
            kernel=(kernel[0], kernel[1]),
            stride=(int(rng.integers(1, 3)), int(rng.integers(1, 3))),
            padding=(padding[0], padding[1], padding[2], padding[3]),
            k=k,
            group=group,
            fully_connected=bool(rng.random() < 0.2),
        )
    # Kernels without weights, and weights pruned without any order.
    whole, single = float(rng.choice([0, 0, 0.5])), float(rng.choice([0, 0, 0.6]))
    layers = []
    for layer in network.layers:
        if isinstance(layer, Conv):
            kept = rng.random(layer.weight.shape[:2])[:, :, None, None] >= whole
            kept = kept & (rng.random(layer.weight.shape) >= single)
            layer = replace(layer, weight=np.where(kept, layer.weight, np.int8(0)))
        layers.append(layer)
    return replace(network, layers=tuple(layers))


def random_case(
    rng: np.random.Generator, config: AcceleratorConfig, *, cycles: int = CYCLES
) -> Case:
    """Random program for a tile with one batch of inputs.

    Parameters
    ----------
    cycles : limit of the predicted cycles

    Raises
    ------
    ValueError
        If no draw keeps to the limit.
    """
    refused: UserError | None = None
    for _ in range(ATTEMPTS):
        try:
            network = _random_network(rng, config)
            batch, mapping = int(rng.choice([1, 1, 2, 3, 5])), str(rng.choice(list(MAPPINGS)))
            effects = DeviceEffects(seed=int(rng.integers(1 << 31)), **EFFECTS)
            worn = effects if rng.random() < 0.25 else None
            program = compile(network, config, batch=batch, mapping=mapping, effects=worn)
        except UserError as error:
            # The draw does not fit its map or the configuration: the next one may.
            refused = error
            continue
        if sum(entry.predicted_cycles for entry in program.layers) > cycles:
            continue
        x = random_input(network, batch, int(rng.integers(1 << 32)))
        # The offset input of -128 is 0: such steps are skipped.
        x[rng.random(x.shape) < rng.choice([0, 0.5, 0.9, 1])] = -128
        return Case(program=program, x=x)
    raise ValueError(f"No program of {cycles} cycles was found") from refused


class CrossbarTileBench:
    """Simulated tile of one configuration, and the comparisons made on it.

    Parameters
    ----------
    summary : what was done is added to it
    """

    def __init__(self, config: AcceleratorConfig, summary: Summary) -> None:
        self._config = config
        self._summary = summary
        self._device = driver.open("sim", config=config, timeout=TIMEOUT_SECONDS)

    def close(self) -> None:
        """Free the simulation."""
        self._device.close()

    def run(self, case: Case) -> str | None:
        """First difference of a case, in words."""
        program, device = case.program, self._device
        mapping = program.mapping
        assert mapping is not None
        result = crossbar.run(program.network, mapping, case.x, effects=program.settings.effects)
        self._describe(case, mapping, result)
        if self._config.engine.crossbar.adc_is_ideal and case.program.settings.effects is None:
            whole = golden.run(program.network, case.x, trace=True)
            for name, tensor in whole.items():
                if not np.array_equal(result.tensors[name], tensor):
                    return f"golden crossbar: tensor {name!r} is not the integer network's"
        device.load(program)
        output = device.infer(case.x)
        if not np.array_equal(output, result.output):
            return f"output: {np.count_nonzero(output != result.output)} elements differ"
        found = self._counters(program, result)
        device.write_input(case.x)
        for number, layer in enumerate(program.network.layers):
            if found is not None:
                break
            device.run_layers(number, 1)
            actual, expected = device.read_tensor(number), result.tensors[layer.output]
            if not np.array_equal(actual, expected):
                place = tuple(np.argwhere(actual != expected)[0].tolist())
                return f"layer {layer.name!r}: {actual[place]} not {expected[place]} at {place}"
            self._summary.elements += actual.size
            found = self._counters(program, result) or self._cycles(program, number, result)
        return found

    def _cycles(self, program: Program, number: int, result: crossbar.Result) -> str | None:
        """Whether the last layer took more cycles than predicted, in words."""
        entry, cycles = program.layers[number], self._device.counters()[0].cycles
        if entry.name not in result.layers:
            return None
        self._summary.cycles += cycles
        self._summary.predicted_cycles += entry.predicted_cycles
        if not result.layers[entry.name].counts.ou_skipped:
            self._summary.busy_cycles += cycles
            self._summary.busy_predicted_cycles += entry.predicted_cycles
        if cycles > entry.predicted_cycles:
            return f"layer {entry.name!r}: {cycles} cycles, predicted {entry.predicted_cycles}"
        return None

    def _counters(self, program: Program, result: crossbar.Result) -> str | None:
        """First counter of the last run that differs, in words."""
        for each in self._device.counters():
            entry = next(entry for entry in program.layers if entry.name == each.name)
            d = Descriptor.from_words(program.descriptors[entry.first])
            counts, written = crossbar.Counts(), d.in_channels
            if each.name in result.layers:
                counts, written = result.layers[each.name].counts, d.passes
            expected = unit_counts(counts, program.config.engine.crossbar)
            actual = None if each.units is None else tuple(asdict(each.units).values())
            if actual != expected:
                return f"layer {each.name!r}: counts {actual} not {expected}"
            if each.words_written != d.out_tiles * written:
                return f"layer {each.name!r}: {each.words_written} words written"
        return None

    def _describe(self, case: Case, mapping: NetworkMapping, result: crossbar.Result) -> None:
        """Add to the summary what is particular about a case's layers."""
        summary, shapes = self._summary, case.program.network
        summary.programs += 1
        for layer in case.convolutions:
            counts = result.layers[layer.name].counts
            stored = mapping.layers[layer.name].weights
            kernel = layer.weight.shape[2:]
            kinds = {
                "fully connected": layer.fully_connected,
                "1x1": kernel == (1, 1) and not layer.fully_connected,
                "padded": any(layer.padding),
                "stride 2": 2 in layer.stride,
                "several images": case.program.batch > 1,
                "weights all zero": not layer.weight.any(),
                "no cells": not stored,
                "more than 70 % zeros": np.mean(layer.weight == 0) > 0.7,
                "of dynamic units": self._config.engine.crossbar.dynamic,
                "of blocks with more rows than an OU": any(
                    len(block.rows) > self._config.engine.crossbar.ou_rows
                    for block in mapping.layers[layer.name].blocks
                ),
                "steps skipped": counts.ou_skipped > 0,
                "all steps skipped": counts.ou_skipped > 0 and not counts.ou_steps,
                "device effects": case.program.settings.effects is not None,
                "equal to the integer network": self._config.engine.crossbar.adc_is_ideal
                and case.program.settings.effects is None,
                "behind other layers": layer.inputs[0] != shapes.input,
            }
            summary.kinds.update(name for name, holds in kinds.items() if holds)
            summary.mappings[mapping.mapping] += 1
            summary.layers += 1
            summary.ou_steps += counts.ou_steps
            summary.ou_skipped += counts.ou_skipped


def _cpu_seconds() -> float:
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


def run(
    seed: int, layers: int, configs: int, bar: ProgressBar, formation: str | None = None
) -> Summary:
    """Random layers on random configurations, at least `layers` in all.

    Parameters
    ----------
    configs : configurations, each of which is compiled
    formation : `ou_formation` of all of them; by default half of them have either
    """
    summary = Summary()
    chosen = covering_configs(seed, configs, formation)
    possible = possible_pairs(seed)
    met = set().union(*(pairs(config) for config in chosen)) & possible
    summary.pairs, summary.possible_pairs = len(met), len(possible | met)
    task = bar.add_task("layers", total=layers)
    for number, config in enumerate(chosen):
        bar.update(task, description=f"configuration {number + 1} of {configs}")
        rng = np.random.default_rng([seed, 7, number])
        bench = CrossbarTileBench(config, summary)
        goal = layers * (number + 1) // configs
        while summary.layers < goal:
            case = random_case(rng, config)
            difference = bench.run(case)
            if difference is not None:
                summary.differences.append(f"{config.canonical()}: {case}: {difference}")
                bar.console.print(summary.differences[-1], highlight=False)
            bar.update(task, completed=summary.layers)
        bench.close()
        summary.configurations += 1
    summary.cpu_seconds = round(_cpu_seconds(), 1)
    return summary


@click.command(cls=Command)
@click.option(
    "--count",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    help="Layers through crossbars, at least.",
)
@click.option(
    "--configs", type=click.IntRange(1), default=CONFIGS, show_default=True, help="Configurations."
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Of all that is random."
)
@click.option(
    "--formation", type=click.Choice(OU_FORMATIONS), help="Of all configurations, not half of them."
)
@click.option("--json", "json_file", type=JSON_FILE, metavar="FILE", help="Write the summary here.")
def command(
    count: int, configs: int, seed: int, formation: str | None, json_file: Path | None
) -> None:
    """Compare random layers on the crossbar tile's RTL with the golden crossbar.

    Exit status: 0 good, 1 anything differs, 2 the input is bad.

    \b
    Example:
      python -m steelyard_sim.runs.tile --count 10 --configs 1
    """
    with ProgressBar(console=Console(stderr=True)) as bar:
        summary = run(seed, count, configs, bar, formation)
    _show(summary, seed)
    if json_file is not None:
        write_json(json_file, {"seed": seed, **vars(summary)}, "Summary")
    sys.exit(int(bool(summary.differences)))


def _show(summary: Summary, seed: int) -> None:
    rows = {
        "layers": f"{summary.layers} in {summary.programs} programs, seed {seed}",
        "configurations": f"{summary.configurations}; {summary.pairs} of "
        f"{summary.possible_pairs} pairs of field values",
        "mappings": ", ".join(f"{name} {n}" for name, n in summary.mappings.most_common()),
        "layers that are": ", ".join(f"{name} {n}" for name, n in summary.kinds.most_common()),
        "compared": f"{summary.elements} elements; counts of {summary.ou_steps} OU steps and "
        f"{summary.ou_skipped} skipped ones",
        "clock cycles": f"{summary.cycles} of {summary.predicted_cycles} predicted as the bound, "
        f"without skips {summary.busy_cycles} of {summary.busy_predicted_cycles}",
        "CPU seconds": f"{summary.cpu_seconds:.0f}",
        "differences": str(len(summary.differences) or "none"),
    }
    for name, text in rows.items():
        click.echo(f"{name:16}{text}")


if __name__ == "__main__":
    command()
