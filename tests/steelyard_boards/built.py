"""Checks a folder that ``steelyard bitstream`` filled: ``python built.py DIR``.

Not collected by pytest: ``make bitstream-ci`` builds a small board's bitstream with the real tools
and then asks this.
"""

import json
import sys
from pathlib import Path

from steelyard.contract import AcceleratorConfig
from steelyard_boards import board

LEAST_BYTES = 50_000
"""An empty device's bitstream is smaller, or no device at all."""


def check(folder: Path) -> None:
    """Exit with a sentence if something is missing or does not agree."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    bitstream = Path(summary["bitstream"])
    built = board(bitstream.stem)
    config = AcceleratorConfig.from_toml(folder / "config.toml")
    needs = built.device.family.demand(config)
    facts = {
        "the bitstream is one": bitstream.stat().st_size > LEAST_BYTES,
        "the clock is met": summary["fmax_mhz"] >= summary["clock_mhz"] == built.clock_hz / 1e6,
        "multipliers are as expected": summary["dsp"] == needs.multipliers,
        "block RAMs are as expected": summary["bram"] == needs.block_rams,
        "LUTs are about as expected": abs(summary["lut"] / needs.luts - 1) < 0.15,
        "registers were used": summary["ff"] > 1000,
        "the logic of a MAC is stated": summary["lut_per_mac"]
        == round(summary["lut"] / config.engine.macs_per_cycle, 1),
    }
    wrong = [fact for fact, holds in facts.items() if not holds]
    if wrong:
        sys.exit(f"In {str(folder)!r} it is not true that {'; '.join(wrong)}: {summary}")
    print(f"{bitstream}: {summary['lut']} LUT, {summary['fmax_mhz']} MHz")


if __name__ == "__main__":
    check(Path(sys.argv[1]))
