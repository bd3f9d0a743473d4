"""``steelyard generate``."""

from pathlib import Path

import click

from steelyard.contract import AcceleratorConfig

from ..options import FILE, OUTPUT_FOLDER
from ..view.console import activity, show
from ..view.output import write_json, write_text

__all__ = ["command"]


@click.command("generate")
@click.option("--config", type=FILE, required=True, metavar="FILE.toml")
@click.option("-o", "--output", type=OUTPUT_FOLDER, required=True, metavar="DIR")
def command(config: Path, output: Path) -> None:
    """Write the Verilog of a configured accelerator.

    FILE.toml has a table [engine] that says its kind, and tables [load], [memory], [vector],
    [output] and [link]; fields left out take their defaults. The crossbar of a crossbar tile is the
    table [engine.crossbar]. DIR receives steelyard.sv, config.toml (all fields) and
    accelerator.json (top module, ports, configuration and its hash).

    \b
    Example:
      steelyard generate --config accelerator.toml -o build/verilog
    """
    accelerator: AcceleratorConfig = AcceleratorConfig.from_toml(config)
    from steelyard_hw.verilog import LEAST_RESET_CYCLES, TOP, convert, ports

    with activity("generating Verilog") as log:
        log(accelerator.outline)
        text = convert(accelerator)
    write_text(output / "steelyard.sv", text)
    accelerator.to_toml(output / "config.toml")
    digest = accelerator.hash().hex()
    write_json(
        output / "accelerator.json",
        {
            "top": TOP,
            "verilog": "steelyard.sv",
            "config_sha256": digest,
            "config": accelerator.values(),
            "ports": ports(accelerator),
            "least_reset_cycles": LEAST_RESET_CYCLES,
        },
    )
    show(f"{output}: steelyard.sv, config.toml, accelerator.json ({digest[:16]})")
