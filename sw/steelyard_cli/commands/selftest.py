"""``steelyard selftest``."""

from dataclasses import asdict
from pathlib import Path

from steelyard.contract.tile import load_config
from steelyard.driver import SelfTest

from ..devices import board_configs, opened
from ..errors import BadResult
from ..view.console import progress, show, table
from ..view.files import write_json

__all__ = ["run_selftest"]


def run_selftest(name: str, config_file: Path | None, quick: bool, json_file: Path | None) -> None:
    """``steelyard selftest``.

    Raises
    ------
    BadResult
        If something is wrong with the device.
    """
    configs = [load_config(config_file)] if config_file else board_configs(name)
    with opened(name) as device, progress("testing", 1) as update:
        result = device.selftest(configs, quick=quick, progress=update)
    if json_file:
        write_json(json_file, _document(name, quick, result))
    show(
        table(
            f"Device {name!r}: {result.config.outline}",
            ("part", "tested", "good", "seconds"),
            [(s.name, s.tested, not s.fault, f"{s.seconds:.2f}") for s in result.steps],
            left=2,
        )
    )
    faults = [f"{step.name}: {step.fault}" for step in result.steps if step.fault]
    if faults:
        raise BadResult(f"Device {name!r} is faulty: {'; '.join(faults)}.")


def _document(name: str, quick: bool, result: SelfTest) -> dict[str, object]:
    return {
        "device": name,
        "quick": quick,
        "passed": result.passed,
        "seconds": result.seconds,
        "config_sha256": result.config.hash().hex(),
        **asdict(result),
    }
