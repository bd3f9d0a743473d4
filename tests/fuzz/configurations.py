"""Fuzz of configuration files: odd TOML, odd values and tables, for commands that read one."""

import io
import random
import sys
import tempfile
from pathlib import Path

import numpy as np
from harness import Case, main

from steelyard import quantize
from steelyard.contract import configure
from steelyard_hw import verilog

COUNT = 500
VALUES = (
    "0", "1", "-1", "4", "16", "17", "65535", "9223372036854775807", "1" + "0" * 30,
    "0x" + "f" * 5000, "9" * 5000, "1.5", "nan", "inf", "-0.0", "1e400", "true", "''", "'x'",
    '"\\u0000"', '"a\\nb"', "[]", "[1]", "{}", "{ a = 1 }", "1979-05-27", "07:32:00",
    "9999-99-99", '"""\nlong\n"""', "'ideal'", "'16'", "[" * 500 + "]" * 500, "[" * 500,
    "{a=" * 300 + "1" + "}" * 300,
)  # fmt: skip
FIELDS = ("lanes", "colour", "a.b.c", "'odd key'", '""', "crossbar", "engine", "kind", "ü")
WHOLE = (
    "", "\0", "[" * 500, "[[engine]]\nlanes = 4\n", "[engine]\n[engine]\n", "engine = 1\n",
    "[engine.lanes]\n", "a." * 400 + "b = 1\n", "[" + "a." * 400 + "b]\n", "#" * 100_000,
    "[engine]\nlanes = 4\nlanes = 4\n", "\ufeff[engine]\n", "[engine]\r\nlanes = 4\r",
    "x" * 100_000,
)  # fmt: skip


def text(engine: str) -> list[str]:
    """Lines of a configuration that is right."""
    with tempfile.TemporaryDirectory() as folder:
        configure(engine).to_toml(Path(folder) / "config.toml")
        return (Path(folder) / "config.toml").read_text().splitlines()


def network() -> bytes:
    """A small quantized network."""
    from torch import nn

    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    return quantize.quantize(model.eval(), np.zeros((2, 1, 8, 8), np.float32) + 0.5)


def images() -> bytes:
    """Inputs of the network."""
    buffer = io.BytesIO()
    np.save(buffer, np.random.default_rng(0).random((9, 1, 8, 8), np.float32))
    return buffer.getvalue()


MODEL = (
    b"from torch import nn\n"
    b"model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))\n"
)
NETWORK, IMAGES = network(), images()
COMMANDS = {
    "compile": ("compile", "net.onnx", "-o", "net.syp"),
    "tile": ("compile", "net.onnx", "-o", "net.syp", "--engine", "crossbar"),
    "crossbar": ("crossbar", "net.onnx", "-o", "out", "--input", "x.npy"),
    "generate": ("generate", "-o", "out"),
    "prune": ("prune", "net.py", "--engine", "crossbar", "--calibration", "x.npy", "-o", "p.onnx"),
}


def mutate(lines: list[str], draw: random.Random) -> bytes:
    """A changed configuration file."""
    change = draw.random()
    if change < 0.15:
        return draw.choice(WHOLE).encode()
    if change < 0.25:
        raw = bytearray("\n".join(lines).encode())
        for _ in range(draw.choice((1, 5, 50))):
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        return bytes(raw)
    for _ in range(draw.choice((1, 1, 2))):
        fields = [n for n, line in enumerate(lines) if " = " in line]
        place = draw.choice(fields) if draw.random() < 0.9 else draw.randrange(len(lines))
        field = lines[place].partition(" = ")[0]
        if change < 0.5:
            lines[place] = f"{field} = {1 << draw.randrange(12)}"
        elif change < 0.75:
            lines[place] = f"{field} = {draw.choice(VALUES)}"
        elif change < 0.85:
            del lines[place]
        else:
            lines.insert(place, f"{draw.choice(FIELDS)} = {draw.choice(VALUES)}")
    return ("\n".join(lines) + "\n").encode()


def make(seed: int, number: int) -> Case:
    """Case of a seed and a number."""
    draw = random.Random(f"{seed} {number}")
    name = draw.choice([*COMMANDS])
    tile = draw.random() < 0.1 if name in ("compile", "generate") else draw.random() < 0.9
    content = mutate(text("crossbar" if tile else "array"), draw)
    files = {"c.toml": content, "net.onnx": NETWORK, "x.npy": IMAGES, "net.py": MODEL}
    return Case(name, files, (*COMMANDS[name], "--config", "c.toml"))


if __name__ == "__main__":
    # Reading is what is tried here, not Yosys, which takes seconds and 4 GiB of addresses.
    verilog.convert = lambda config: f"{config.engine.lanes}"
    imports = ["steelyard_cli.commands.compile", "steelyard_cli.commands.crossbar"]
    sys.exit(main(make, COUNT, __doc__, imports))
