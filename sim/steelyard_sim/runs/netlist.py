"""Demo network on the synthesized netlist and on the RTL in lockstep, all results compared.

``python -m steelyard_sim.runs.netlist`` synthesizes the accelerator as a board's flow does,
and runs the unmodified driver on both simulations at once: every word that leaves the host port and
the clock cycle in which it does must be the same, and all layers those of the golden model.
"""

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from steelyard import driver
from steelyard.compile import compile
from steelyard.contract import AcceleratorConfig, configure
from steelyard.contract.registers import Space
from steelyard.driver.boards import find_board
from steelyard.driver.port import HostPort
from steelyard.errors import UserError
from steelyard.network import Network
from steelyard.program import Program
from steelyard.progress import Log

from ..build.library import build_library
from ..build.netlist import (
    FAMILIES,
    Family,
    accelerator_netlist,
    build_netlist,
    cell_counts,
    flip_bit,
)
from ..lockstep import Difference, Lockstep
from ..simulation import Simulation, SimulationTransport
from .command import JSON_FILE, Command, write_json

__all__ = ["CONFIG", "Result", "compare", "cut", "demo_program"]

CONFIG = configure(
    "array",
    lanes=4,
    columns=4,
    requantizers=1,
    activation_words=8192,
    weight_words=4096,
    parameter_words=512,
    partial_sum_channels=64,
    max_layers=16,
)
"""Small array with memories for the whole demo network."""
COMPACT_BOARD = "icebreaker"
COMPACT_CHANGES = {"activation_words": 8192, "vector_bits": 8}
"""What the demo network's first layers need beyond the board: memory, and a unit that pools."""
SPARSITY = 0.75
TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was compared, and what differed first.

    Members
    -------
    cells : number of the netlist's cells of every type
    layers : names of the layers
    images : images compared
    cycles : clock cycles of both simulations
    words_in, words_out : words that went to and came from the accelerator
    run_cycles : cycles of an image without transfers
    compared_bytes : bytes of layer planes and of the activation memory among those words
    seconds : processor time of both simulations, golden model and driver
    difference : None if all was equal
    """

    cells: dict[str, int]
    layers: list[str]
    images: int
    cycles: int
    words_in: int
    words_out: int
    run_cycles: int
    compared_bytes: int
    seconds: float
    difference: str | None


def demo_program(config: AcceleratorConfig, layers: int | None, log: Log) -> Program:
    """Pruned demo network or its first layers, compiled for single images.

    Parameters
    ----------
    layers : number of layers; as many as the configuration takes if None

    Raises
    ------
    UserError
        If it does not even take the first layer, or not `layers`.
    """
    from steelyard import zoo
    from steelyard.importer import load
    from steelyard.prune import prune
    from steelyard.quantize import quantize

    log("Pruning and quantizing the demo network")
    calibration = zoo.sample().calibration_input
    network = load(quantize(prune(zoo.load(), calibration, SPARSITY).model, calibration))
    if layers is not None:
        return compile(cut(network, layers), config)
    for count in range(len(network.layers), 1, -1):
        try:
            return compile(cut(network, count), config)
        except UserError:
            continue
    return compile(cut(network, 1), config)


def cut(network: Network, layers: int) -> Network:
    """First layers of a network, whose output is that of the last of them.

    Raises
    ------
    UserError
        If it has not that many.
    """
    if not 1 <= layers <= len(network.layers):
        raise UserError(
            f"Network {network.name!r} has {len(network.layers)} layers, and {layers} were asked "
            "for; choose a number in that range."
        )
    first = network.layers[:layers]
    names = {network.input, *(each.output for each in first)}
    tensors = {name: tensor for name, tensor in network.tensors.items() if name in names}
    return Network(network.name, network.input, (first[-1].output,), tensors, first)


def compare(
    program: Program,
    x: NDArray[np.int8],
    netlist: str,
    family: Family,
    *,
    seed: int = 1,
    log: Log | None = None,
) -> Result:
    """Run a program on both simulations, layer by layer and as a whole.

    Parameters
    ----------
    program : compiled for the netlist's configuration, batch 1
    x : images, int8 (images, channels, height, width)
    netlist : of :func:`.netlist.accelerator_netlist`, or an altered one
    seed : of what has no initial value in the netlist, not 0, and of the words in its memories

    Raises
    ------
    UserError, BuildFailed
        If a simulation cannot be built.
    """
    config = program.config
    rtl = build_library(config, log=log)
    what = f"accelerator ({config.outline})"
    library = build_netlist(netlist, family, what, log=log)
    start = time.process_time()
    with Lockstep(Simulation(rtl), Simulation(library, seed=seed)) as both:
        run = _Run(program, both, seed)
        difference = None
        try:
            run.all(x, log)
        except (Difference, driver.DeviceTimeout, driver.WrongDevice) as error:
            difference = f"{run.place}: {error}"
        return Result(
            cells=cell_counts(netlist),
            layers=[layer.name for layer in program.network.layers],
            images=len(x),
            cycles=both.reference_cycles,
            words_in=both.words_in,
            words_out=both.words_out,
            run_cycles=run.cycles,
            compared_bytes=run.compared,
            seconds=round(time.process_time() - start, 2),
            difference=difference,
        )


class _Run:
    """Driver on both simulations.

    Members
    -------
    place : what is being done, for messages
    cycles : of the last whole run
    compared : bytes of planes and memory that were read and equal
    """

    def __init__(self, program: Program, both: Lockstep, seed: int) -> None:
        transport = SimulationTransport(both)
        self._program = program
        self._port = HostPort(transport, TIMEOUT_SECONDS)
        self._device = driver.ArrayDevice(
            "netlist", lambda *_: transport, config=program.config, timeout=TIMEOUT_SECONDS
        )
        self._rng = np.random.default_rng(seed)
        self.place = "Start"
        self.cycles = self.compared = 0

    def all(self, x: NDArray[np.int8], log: Log | None) -> None:
        """Everything for all images."""
        self.place = "Loading"
        self._device.load(self._program)
        if not self._device.verify():
            raise Difference("What was loaded is not what is read back, from both")
        self._fill()
        for number, image in enumerate(x):
            if log is not None:
                log(f"Comparing image {number + 1} of {len(x)}")
            self._layers(number, image[np.newaxis])
            self._whole(number, image[np.newaxis])

    def _fill(self) -> None:
        """Random bytes in the whole activation memory: the simulations begin with different ones,
        and lanes past the last pixel keep what they find."""
        config = self._program.config
        words = config.memory.activation_words * config.activation_item_words
        filling = self._rng.integers(0, 1 << 32, words, np.uint32)
        self._port.write(Space.ACTIVATIONS, 0, filling)

    def _layers(self, number: int, x: NDArray[np.int8]) -> None:
        network = self._program.network
        expected = self._program.golden(x)
        self.place = f"Input of image {number}"
        self._device.write_input(x)
        for index, layer in enumerate(network.layers):
            self.place = f"Layer {layer.name!r}, image {number}"
            self._device.run_layers(index, 1)
            self._device.counters()
            if not self._program.layers[index].stored:
                continue
            actual = self._device.read_tensor(index)
            different = np.argwhere(actual != expected[layer.output])
            if len(different):
                where = tuple(map(int, different[0]))
                raise Difference(
                    f"Both give {actual[where]} at {where}, the golden model "
                    f"{expected[layer.output][where]}"
                )
            self.compared += actual.size

    def _whole(self, number: int, x: NDArray[np.int8]) -> None:
        config = self._program.config
        self.place = f"All layers, image {number}"
        self._device.write_input(x)
        self._device.run_layers(0, len(self._program.network.layers))
        self._device.counters()
        self.cycles = self._device.cycles or 0
        words = config.memory.activation_words * config.activation_item_words
        self.compared += self._port.read(Space.ACTIVATIONS, 0, words).nbytes


@click.command(cls=Command)
@click.option("--family", type=click.Choice(sorted(FAMILIES)), default="ice40", show_default=True)
@click.option("--board", metavar="NAME", help="Take the configuration of this board.")
@click.option("--compact", is_flag=True, help="Take iCEBreaker's, with memories for the network.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Take the configuration of this file.",
)
@click.option("--layers", type=int, help="First layers only; otherwise all that fit.")
@click.option("--images", type=click.IntRange(1), default=2, show_default=True)
@click.option(
    "--seed",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Of what has no initial value.",
)
@click.option("--flip", type=int, metavar="SEED", help="Invert a bit of some lookup table.")
@click.option("--json", "json_file", type=JSON_FILE, metavar="FILE", help="Write the result here.")
def command(
    family: str,
    board: str | None,
    compact: bool,
    config_file: Path | None,
    layers: int | None,
    images: int,
    seed: int,
    flip: int | None,
    json_file: Path | None,
) -> None:
    """Compare the demo network on the synthesized netlist with the same on the RTL.

    Exit status: 0 good, 1 anything differs, 2 the input is bad.

    \b
    Example:
      python -m steelyard_sim.runs.netlist --compact --layers 5 --images 1
    """
    config = _config(board, compact, config_file)
    result = _case(config, FAMILIES[family], layers, images, seed, flip)
    _show(result, config)
    if json_file is not None:
        document = {"config": config.values(), "family": family, **asdict(result)}
        write_json(json_file, document, "Result")
    sys.exit(int(result.difference is not None))


def _config(board: str | None, compact: bool, file: Path | None) -> AcceleratorConfig:
    if compact + (board is not None) + (file is not None) > 1:
        raise UserError(
            "--board, --compact and --config each choose the configuration; give one of them."
        )
    if compact:
        return find_board(COMPACT_BOARD).default.with_(**COMPACT_CHANGES)
    if board is not None:
        return find_board(board).default
    return CONFIG if file is None else AcceleratorConfig.from_toml(file)


def _case(
    config: AcceleratorConfig,
    family: Family,
    layers: int | None,
    images: int,
    seed: int,
    flip: int | None,
) -> Result:
    from steelyard import zoo

    def log(text: str) -> None:
        click.echo(text, err=True)

    program = demo_program(config, layers, log)
    test = zoo.sample().test_input[:images]
    x = program.network.tensor(program.network.input).quantize(test)
    netlist = accelerator_netlist(config, family, log)
    if flip is not None:
        netlist = flip_bit(netlist, flip)
    return compare(program, x, netlist, family, seed=seed, log=log)


def _show(result: Result, config: AcceleratorConfig) -> None:
    rate = result.cycles / result.seconds if result.seconds else 0.0
    rows = {
        "accelerator": config.outline,
        "cells": ", ".join(f"{count} {name}" for name, count in result.cells.items()),
        "layers": f"{len(result.layers)}: {', '.join(result.layers)}",
        "images": f"{result.images}, {result.run_cycles} cycles each",
        "clock cycles": f"{result.cycles} in {result.seconds} s, {rate:.0f} a second",
        "words in, out": f"{result.words_in}, {result.words_out}",
        "bytes compared": f"{result.compared_bytes} of planes and activation memory",
        "difference": result.difference or "none",
    }
    for name, text in rows.items():
        click.echo(f"{name:14}  {text}")


if __name__ == "__main__":
    command()
