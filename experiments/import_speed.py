"""Processor time and memory of what reads a network: check, compile; docs/notes/import-speed.md.

ResNet-50 in full width on 224x224 images, float and quantized, with random dense weights, and the
structures of known networks that tests run. Each line is a process of its own, the start of Python
and all imports in it. The exit status is 1 if anything is over its limit.
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from residual_graphs import resnet50

STRUCTURE_SECONDS = 3.0
"""Of the check of a structure."""
RESNET_SECONDS = 30.0
"""Of all lines of ResNet-50 together."""
MEMORY_MIB = 2048
REFUSED = 2
"""Exit status of a check that lists obstacles, which has to come as soon."""
LAUNCHER = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(code)
"""
"""Small, because a process's most memory counts what its parent held when it was started."""


@dataclass(frozen=True)
class Spent:
    """What a process took.

    Members
    -------
    seconds : of processor time
    wall : seconds by the clock
    mebibytes : most memory that it held
    refused : whether it listed obstacles
    """

    seconds: float
    wall: float
    mebibytes: float
    refused: bool


def spent(*arguments: str) -> Spent:
    """What ``steelyard`` takes for a command line.

    Raises
    ------
    ClickException
        If the command fails.
    """
    start = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-c", LAUNCHER, sys.executable, "-m", "steelyard_cli", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    wall = time.monotonic() - start
    if run.returncode not in (0, REFUSED):
        raise click.ClickException(f"steelyard {' '.join(arguments)} failed: {run.stderr[-2000:]}")
    seconds, kibibytes = run.stdout.split()[-2:]
    return Spent(float(seconds), wall, int(kibibytes) / 1024, run.returncode == REFUSED)


def shown(title: str, arguments: tuple[str, ...]) -> Spent:
    """The same, printed as a line of the table."""
    each = spent(*arguments)
    click.echo(
        f"{title:18} {arguments[0]:12} {each.seconds:7.2f} {each.wall:8.2f} "
        f"{each.mebibytes:8.0f}{'  obstacles' * each.refused}"
    )
    return each


def structures(folder: Path) -> list[tuple[str, str]]:
    """Name and float file of every structure that tests know."""
    import torch

    from structures import STRUCTURES

    found = []
    for name, structure in STRUCTURES.items():
        path = folder / f"{name}.onnx"
        images = torch.from_numpy(structure.images(1))
        torch.onnx.export(structure.model(), (images,), str(path), dynamo=False, opset_version=17)
        found.append((name, str(path)))
    return found


@click.command(help=__doc__)
@click.option("--size", type=int, default=224, show_default=True, help="Pixels of a side.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the weights.")
@click.option("--structures", "others", is_flag=True,
              help="Also check the structures of tests/support (needs torch).")  # fmt: skip
@click.option("--allowance", type=click.FloatRange(1), default=1.0, show_default=True,
              help="Times the processor time, where cores have other work.")  # fmt: skip
def main(size: int, seed: int, others: bool, allowance: float) -> None:
    """Print a line for each network and command."""
    resnet_seconds, structure_seconds = RESNET_SECONDS * allowance, STRUCTURE_SECONDS * allowance
    total, slowest, most = 0.0, 0.0, 0.0
    click.echo(f"seed {seed}\nnetwork            command        CPU-s   wall s      MiB")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in ("int8", "float"):
            model = resnet50(size, quantized=kind == "int8", seed=seed)
            (folder / f"{kind}.onnx").write_bytes(model.SerializeToString())
        int8, out = str(folder / "int8.onnx"), str(folder / "net.syp")
        for title, arguments in (
            ("resnet50 int8", ("check", int8)),
            ("resnet50 float", ("check", str(folder / "float.onnx"))),
            ("resnet50 int8", ("compile", int8, "-o", out)),
        ):
            each = shown(title, arguments)
            total, most = total + each.seconds, max(most, each.mebibytes)
        for title, path in structures(folder) if others else ():
            each = shown(title, ("check", path))
            slowest, most = max(slowest, each.seconds), max(most, each.mebibytes)
    click.echo(
        f"resnet50: {total:.1f} CPU-s together, allowed are {resnet_seconds:g}; slowest structure "
        f"{slowest:.1f}, allowed are {structure_seconds:g}; most {most:.0f} MiB of {MEMORY_MIB}"
    )
    sys.exit(total > resnet_seconds or slowest > structure_seconds or most > MEMORY_MIB)


if __name__ == "__main__":
    main()
