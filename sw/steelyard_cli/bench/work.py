"""What the benchmark does in its worker processes: one network, one batch, sparse or dense."""

import time
from dataclasses import dataclass

import numpy as np

from steelyard import driver
from steelyard.compile import compile as compile_program
from steelyard.compile import compile_with_memories
from steelyard.compile.cycles import predict_program
from steelyard.contract import AcceleratorConfig
from steelyard.network import Conv, Network, golden
from steelyard.program import Program

from . import networks as bench_networks

__all__ = ["Job", "Layer", "Result", "build", "model", "simulate"]

BUILDERS = {
    "reference": bench_networks.reference,
    "vgg16 32": lambda k: bench_networks.vgg16(32, k),
    "vgg16 224": lambda k: bench_networks.vgg16(224, k),
    "resnet18 224": bench_networks.resnet18,
    "resnet8": bench_networks.resnet8,
}
SEED = 1


@dataclass(frozen=True)
class Job:
    """One run.

    Members
    -------
    network : name in BUILDERS
    layer : the only layer to run, or empty for the whole network
    k : weights kept of each group; None is dense
    """

    network: str
    config: AcceleratorConfig
    batch: int = 1
    k: int | None = None
    layer: str = ""
    every_layer: bool = False
    """Whether every layer is compared with the golden model, not the network's output alone."""


@dataclass(frozen=True)
class Layer:
    """What a layer takes.

    Members
    -------
    cycles : measured, or by the model where nothing is
    predicted_cycles : by the model
    ideal_cycles : multiplications by nonzero weights over multipliers
    array_cycles : of a dense array of the same lanes and columns that never waits
    """

    name: str
    kind: str
    k: int | None
    nnz: int
    cycles: int
    predicted_cycles: int
    ideal_cycles: int
    array_cycles: int


@dataclass(frozen=True)
class Result:
    """What a job gave; `total_cycles` is the accelerator's own count from start to done."""

    layers: tuple[Layer, ...]
    total_cycles: int
    equal: bool | None = None
    simulated_cycles: int = 0
    seconds: float = 0.0


def build(config: AcceleratorConfig) -> None:
    """Puts the simulation of a configuration into the cache."""
    from steelyard_sim import build_library

    build_library(config)


def _network(job: Job) -> Network:
    network = BUILDERS[job.network](job.k)
    return bench_networks.single(network, job.layer) if job.layer else network


def model(job: Job) -> Result:
    """Cycles by the cycle model; memories are as large as the network needs."""
    program = compile_with_memories(
        _network(job), job.config, batch=job.batch, k="auto" if job.k else "dense"
    )
    cycles = [entry.predicted_cycles for entry in program.layers]
    return Result(_layers(program, cycles), predict_program(program))


def simulate(job: Job) -> Result:
    """Cycles of the gateware, started once for all layers, and whether its output was right."""
    network = _network(job)
    program = compile_program(network, job.config, batch=job.batch, k="auto" if job.k else "dense")
    images = bench_networks.codes(network, job.batch, SEED)
    expected = golden.run(network, images, threads=1)
    with driver.open("sim") as device:
        device.load(program)
        started = time.process_time()
        device.write_input(images)
        device.run_layers(0, len(network.layers))
        seconds = time.process_time() - started
        total = device.cycles or 0
        cycles = [each.cycles for each in device.counters()]
        equal = bool(np.array_equal(device.read_output(), expected))
        if job.every_layer:
            equal = equal and driver.check_layers(program, images, device) is None
    return Result(_layers(program, cycles), total, equal, total, seconds)


def _layers(program: Program, cycles: list[int]) -> tuple[Layer, ...]:
    rows = []
    config, network = program.config, program.network
    for layer, entry, counted in zip(network.layers, program.layers, cycles, strict=True):
        array = 0
        if isinstance(layer, Conv):
            channels, rows_out, columns_out = network.tensor(layer.output).shape
            tiles = -(-rows_out * columns_out * program.batch // config.engine.lanes)
            array = tiles * -(-channels // config.engine.columns) * layer.weight[0].size
        rows.append(
            Layer(
                name=entry.name,
                kind=entry.kind,
                k=entry.k,
                nnz=entry.nnz,
                cycles=counted,
                predicted_cycles=entry.predicted_cycles,
                ideal_cycles=entry.ideal_cycles,
                array_cycles=array,
            )
        )
    return tuple(rows)
