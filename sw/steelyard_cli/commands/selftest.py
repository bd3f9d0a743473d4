"""``steelyard selftest``."""

from dataclasses import asdict
from pathlib import Path

import click

from steelyard.contract import AcceleratorConfig
from steelyard.driver import SelfTest

from ..errors import BadResult
from ..inputs.devices import board_configs, opened
from ..options import DEVICE_HELP, FILE, json_option
from ..view.console import progress, show, table
from ..view.output import write_json

__all__ = ["command"]


@click.command("selftest")
@click.option("--device", required=True, help=DEVICE_HELP)
@click.option(
    "--config", type=FILE, metavar="FILE.toml",
    help="Configuration of the accelerator, if it is no board's default one.",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="Test the memories in some places only.")
@json_option
def command(device: str, config: Path | None, quick: bool, json_file: Path | None) -> None:
    """Test a device: identity, memories and a small network.

    Compares the configuration's hash, writes and reads every word of every memory with two
    patterns, and compares a small built-in network with the golden model. What was loaded before is
    overwritten. Exit status 1 if something is wrong.

    \b
    Examples:
      steelyard selftest --device /dev/ttyUSB0
      steelyard selftest --device virtual:ulx3s_85f --quick
      steelyard selftest --device sim --config accelerator.toml
    """
    configs = [AcceleratorConfig.from_toml(config)] if config else board_configs(device)
    with opened(device) as found, progress("testing", 1) as update:
        result = found.selftest(configs, quick=quick, progress=update)
    if json_file:
        write_json(json_file, _document(device, quick, result))
    show(
        table(
            f"Device {device!r}: {result.config.outline}",
            ("part", "tested", "good", "seconds"),
            [(s.name, s.tested, not s.fault, f"{s.seconds:.2f}") for s in result.steps],
            left=2,
        )
    )
    faults = [f"{step.name}: {step.fault}" for step in result.steps if step.fault]
    if faults:
        raise BadResult(f"Device {device!r} is faulty: {'; '.join(faults)}.")


def _document(name: str, quick: bool, result: SelfTest) -> dict[str, object]:
    return {
        "device": name,
        "quick": quick,
        "passed": result.passed,
        "seconds": result.seconds,
        "config_sha256": result.config.hash().hex(),
        **asdict(result),
    }
