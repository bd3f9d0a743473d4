"""``steelyard bench``: cycles of known networks on the gateware and by the cycle model."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steelyard.contract import AcceleratorConfig, configure
from steelyard.driver import DeviceTimeout
from steelyard.errors import UserError
from steelyard_boards import board
from steelyard_sim.build.toolchain import BuildFailed

from ..errors import BadResult
from ..view.console import note, percent, progress, show, table
from ..view.output import beside, write_json
from . import work as bench_work
from .software import compile_vgg16, golden_demo
from .work import Job, Result

__all__ = ["CASES", "TARGETS", "Case", "Target", "judge", "run_bench"]

K = 4
SPARSITY = 0.75
WORKERS = 2

SMALL = {"activation_words": 2048, "weight_words": 2048, "parameter_words": 32}
ARRAY_8X4 = configure("array", lanes=8, columns=4, requantizers=8, partial_sum_channels=32, **SMALL)
ARRAY_16X4 = configure(
    "array", lanes=16, columns=4, requantizers=16, partial_sum_channels=32, **SMALL
)
ARRAY_16X16 = configure(
    "array",
    lanes=16,
    columns=16,
    requantizers=8,
    activation_words=212_992,
    weight_words=919_552,
    parameter_words=6144,
)
"""Holds VGG16 at 32x32 dense, and the first layer of VGG16 at 224x224; an ECP5-85F has the
multipliers for eight requantizers beside it, two lanes sharing one."""
ARRAY_8X32 = ARRAY_16X16.with_(lanes=8, columns=32, activation_words=1 << 19, weight_words=1 << 19)
"""As many multipliers: fewer lanes are wasted on small maps, and more columns on few channels."""
BOARD = board("ulx3s_85f")
ARRAY_BOARD = BOARD.default.with_(
    activation_words=212_992, weight_words=919_552, parameter_words=6144, partial_sum_channels=512
)
"""The board's array with memories that hold VGG16."""


@dataclass(frozen=True)
class Case:
    """Network, or one layer of it, run 75 % sparse and dense.

    Members
    -------
    source : ``rtl`` or ``model``
    quick : whether it belongs to the cheap ones
    per_layer : whether every convolution gets an entry of its own
    every_layer : whether every layer is compared with the golden model
    start_to_done : whether cycles count from start to done, else those of the convolutions
    on_board : whether the array is the board's, at its clock and on its multipliers
    """

    name: str
    network: str
    config: AcceleratorConfig
    source: str
    batch: int = 1
    layer: str = ""
    quick: bool = False
    per_layer: bool = False
    every_layer: bool = False
    start_to_done: bool = False
    on_board: bool = False

    def job(self, k: int | None) -> Job:
        """Run of the case with K weights of each group, or dense."""
        return Job(
            self.network, self.config, self.batch, k, self.layer, self.every_layer and k is not None
        )


def _reference(name: str, config: AcceleratorConfig) -> Case:
    return Case(name, "reference", config, "rtl", quick=True, every_layer=True, start_to_done=True)


def _single(network: str, layer: str) -> Case:
    short = network.replace(" ", "_")
    return Case(f"{short} {layer} rtl", network, ARRAY_16X16, "rtl", layer=layer)


CASES = (
    _reference("reference 8x4", ARRAY_8X4),
    _reference("reference 16x4", ARRAY_16X4),
    Case("vgg16_32 batch 8", "vgg16 32", ARRAY_16X16, "rtl", batch=8, per_layer=True),
    Case("vgg16_32 ulx3s_85f", "vgg16 32", ARRAY_BOARD, "rtl", batch=8, on_board=True),
    Case("vgg16_32 batch 1", "vgg16 32", ARRAY_16X16, "rtl", per_layer=True, every_layer=True),
    Case("vgg16_32 8x32", "vgg16 32", ARRAY_8X32, "rtl"),
    Case("resnet8", "resnet8", ARRAY_16X16, "rtl", every_layer=True, start_to_done=True),
    Case("resnet8 8x32", "resnet8", ARRAY_8X32, "rtl", start_to_done=True),
    Case("vgg16_224", "vgg16 224", ARRAY_16X16, "model", quick=True, per_layer=True),
    Case("resnet18_224", "resnet18 224", ARRAY_16X16, "model", quick=True, per_layer=True),
    Case("resnet18_224 8x32", "resnet18 224", ARRAY_8X32, "model", quick=True),
    _single("vgg16 224", "conv1_1"),
    _single("vgg16 224", "conv4_1"),
    _single("vgg16 224", "conv5_1"),
    _single("resnet18 224", "conv1"),
    _single("resnet18 224", "layer2.0.conv1"),
    _single("resnet18 224", "layer3.0.shortcut"),
    _single("resnet18 224", "layer4.1.conv1"),
)


SOFTWARE = {"compile vgg16": compile_vgg16, "golden demo network": golden_demo}


@dataclass(frozen=True)
class Target:
    """What a figure of a case must reach: `most` or `least`, or true."""

    case: str
    key: str
    most: float | None = None
    least: float | None = None

    def met(self, figure: Any) -> bool:
        """Whether a figure does."""
        if figure is None:
            return False
        if self.most is not None:
            return bool(figure <= self.most)
        return bool(figure >= self.least) if self.least is not None else figure is True

    @property
    def text(self) -> str:
        """Target in words."""
        if self.most is not None:
            return f"at most {self.most:,}"
        return f"at least {self.least:,}" if self.least is not None else "yes"


# The reference layer's follow from the best dense and sparse accelerators that are open to all, the
# occupancies from the arithmetic of docs/architecture.md: small maps waste lanes. Those of ResNet-8
# only keep what has been reached: 22,000 cycles and 2.6 are aimed at.
TARGETS = (
    Target("reference 8x4", "dense_cycles", most=38_053),
    Target("reference 8x4", "cycles", most=10_200),
    Target("reference 16x4", "cycles", most=5_300),
    Target("vgg16_32 batch 1", "occupancy", least=0.75),
    Target("vgg16_32 batch 1", "speedup", least=3.6),
    Target("vgg16_32 batch 8", "occupancy", least=0.95),
    Target("vgg16_32 batch 8", "speedup", least=3.6),
    Target("vgg16_32 8x32", "occupancy", least=0.88),
    Target("vgg16_224", "occupancy", least=0.97),
    Target("vgg16_224", "speedup", least=3.8),
    Target("vgg16_224", "dense_efficiency", least=0.99),
    Target("resnet18_224", "occupancy", least=0.9),
    Target("resnet18_224 8x32", "occupancy", least=0.94),
    Target("resnet8", "cycles", most=22_000),
    Target("resnet8", "speedup", least=2.6),
    Target("vgg16_32 batch 8", "simulation_cycles_per_second", least=150_000),
    Target("vgg16_32 ulx3s_85f", "gops_per_multiplier", least=0.91),
    *(Target(case.name, "bit_exact") for case in CASES if case.source == "rtl"),
    *(Target(case.name, "model_exact") for case in CASES if case.source == "rtl"),
    Target("compile vgg16", "seconds", most=15),
    Target("compile vgg16", "peak_megabytes", most=2048),
    Target("golden demo network", "seconds", most=20),
)


def run_bench(output: Path, quick: bool, case: str | None = None) -> None:
    """``steelyard bench``: all cases, the cheap ones, or the one of this name.

    Raises
    ------
    UserError
        If no case has the name.
    BadResult
        If a target is missed, or the simulation fails.
    """
    # Processes side by side make better use of few processors than threads inside each.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cases = [one for one in CASES if one.name == case or (case is None and one.quick >= quick)]
    if not cases:
        raise UserError(
            f"No case is named {case!r}; choose one of {', '.join(one.name for one in CASES)}."
        )
    try:
        with _workers() as pool:
            results = _run(pool, cases)
    except (BuildFailed, DeviceTimeout) as error:
        raise BadResult(f"The simulation failed: {error}") from error
    except BrokenProcessPool as error:
        raise BadResult("A worker was killed; is there memory enough?") from error
    entries = [
        entry for one in cases for entry in _entries(one, *(results[one, k] for k in (K, None)))
    ]
    software = [] if quick or case else _software()
    verdicts = judge([*entries, *software])
    write_json(output, entries)
    other = beside(output, output.with_name("software.json"))
    if software and other:
        write_json(other, software)
    _show(entries, verdicts, output)
    missed = [
        f"{target.case}: {target.key}" for target, figure in verdicts if not target.met(figure)
    ]
    if missed:
        raise BadResult(f"Missed {len(missed)} of {len(verdicts)} targets ({'; '.join(missed)}).")


@contextmanager
def _workers() -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _run(pool: ProcessPoolExecutor, cases: list[Case]) -> dict[tuple[Case, int | None], Result]:
    configs = {case.config: None for case in cases if case.source == "rtl"}
    with progress("building simulations", len(configs)) as update:
        built = [pool.submit(bench_work.build, config) for config in configs]
        for done, array in enumerate(as_completed(built), start=1):
            array.result()
            update(done, len(configs), "arrays")
    jobs: dict[Future[Result], tuple[Case, int | None]] = {}
    # The longest first, so that no worker is left alone at the end.
    for case in sorted(cases, key=_work, reverse=True):
        for k in (None, K):
            work = bench_work.simulate if case.source == "rtl" else bench_work.model
            jobs[pool.submit(work, case.job(k))] = case, k
    results: dict[tuple[Case, int | None], Result] = {}
    with progress("measuring", len(jobs)) as update:
        for done, job in enumerate(as_completed(jobs), start=1):
            case, k = jobs[job]
            results[case, k] = job.result()
            weights = f"K = {k}" if k else "dense"
            note(
                f"{case.name}, {weights}: {_conv_cycles(results[case, k]):,} cycles ({case.source})"
            )
            update(done, len(jobs), case.name)
    return results


def _work(case: Case) -> int:
    return case.batch * (case.source == "rtl") * (1 if case.layer else 5)


def _conv_cycles(result: Result) -> int:
    return sum(layer.cycles for layer in result.layers if layer.kind == "conv")


def _entries(case: Case, sparse: Result, dense: Result) -> Iterator[dict[str, Any]]:
    """The case's entry and those of its convolutions."""
    yield _entry(case, sparse, dense)
    if not case.per_layer:
        return
    for mine, other in zip(sparse.layers, dense.layers, strict=True):
        if mine.kind == "conv":
            part = replace(case, name=f"{case.name} {mine.name}", layer=mine.name)
            yield _entry(
                part,
                Result((mine,), mine.cycles, sparse.equal),
                Result((other,), other.cycles, dense.equal),
            )


def _entry(case: Case, sparse: Result, dense: Result) -> dict[str, Any]:
    layers = [layer for layer in sparse.layers if layer.kind == "conv"]
    dense_layers = [layer for layer in dense.layers if layer.kind == "conv"]
    cycles, dense_cycles = _conv_cycles(sparse), _conv_cycles(dense)
    if case.start_to_done:
        cycles, dense_cycles = sparse.total_cycles, dense.total_cycles
    ideal = sum(layer.ideal_cycles for layer in layers)
    weights = sum(layer.nnz for layer in dense_layers)
    entry: dict[str, Any] = {
        "name": case.name,
        "lanes": case.config.engine.lanes,
        "columns": case.config.engine.columns,
        "sparsity": 1 - sum(layer.nnz for layer in layers) / weights,
        "batch": case.batch,
        "cycles": cycles,
        "dense_cycles": dense_cycles,
        "ideal_cycles": ideal,
        "occupancy": ideal / cycles,
        "speedup": dense_cycles / cycles,
        "source": case.source,
        "k": [layer.k for layer in layers] if len(layers) > 1 else layers[0].k,
        "predicted_cycles": sum(layer.predicted_cycles for layer in layers),
        "predicted_dense_cycles": sum(layer.predicted_cycles for layer in dense_layers),
        "dense_efficiency": sum(layer.array_cycles for layer in dense_layers) / dense_cycles,
        "other_layers_cycles": sum(e.cycles for e in sparse.layers if e.kind != "conv"),
        "total_cycles": sparse.total_cycles,
        "total_dense_cycles": dense.total_cycles,
    }
    if case.on_board:
        # Operations that a dense array had to carry out, over the whole network's time.
        operations = (
            2 * case.config.engine.macs_per_cycle * sum(e.ideal_cycles for e in dense_layers)
        )
        multipliers = BOARD.device.family.demand(case.config).multipliers
        rate = BOARD.clock_hz / sparse.total_cycles
        entry["gops_per_multiplier"] = operations * rate / multipliers / 1e9
    if case.source == "rtl":
        entry["bit_exact"] = bool(sparse.equal and dense.equal)
        entry["model_exact"] = all(
            layer.cycles == layer.predicted_cycles for layer in (*layers, *dense_layers)
        )
        seconds = sparse.seconds + dense.seconds
        if seconds:
            simulated = sparse.simulated_cycles + dense.simulated_cycles
            entry["simulation_cycles_per_second"] = simulated / seconds
    return entry


def _software() -> list[dict[str, Any]]:
    """Figures of the software, measured one after the other with nothing beside them."""
    results = []
    with progress("measuring the software", len(SOFTWARE)) as update:
        for done, (name, measure) in enumerate(SOFTWARE.items(), start=1):
            results.append({"name": name, **measure()})
            update(done, len(SOFTWARE), name)
    return results


def judge(entries: list[dict[str, Any]]) -> list[tuple[Target, Any]]:
    """Every target of the entries' cases with the figure reached."""
    by_name = {entry["name"]: entry for entry in entries}
    return [
        (target, by_name[target.case].get(target.key))
        for target in TARGETS
        if target.case in by_name
    ]


def _show(entries: list[dict[str, Any]], verdicts: list[tuple[Target, Any]], output: Path) -> None:
    names = {case.name for case in CASES}
    show(
        table(
            f"{output}: convolutions, 75 % sparse and dense",
            ("case", "array", "batch", "cycles", "dense", "ideal", "occup.", "speedup", "from"),
            [
                (
                    entry["name"],
                    f"{entry['lanes']}x{entry['columns']}",
                    entry["batch"],
                    entry["cycles"],
                    entry["dense_cycles"],
                    entry["ideal_cycles"],
                    percent(entry["occupancy"]),
                    f"{entry['speedup']:.2f}",
                    entry["source"],
                )
                for entry in entries
                if entry["name"] in names
            ],
        ),
        table(
            "Targets",
            ("name", "figure", "target", "met?"),
            [
                (f"{target.case}: {target.key}", _figure(figure), target.text, target.met(figure))
                for target, figure in verdicts
            ],
        ),
    )


def _figure(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) and value < 100 else value
