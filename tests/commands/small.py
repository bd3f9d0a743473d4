"""Runs the small forms of the documented commands; ``make commands``.

``python tests/commands/small.py --only TEXT`` runs those that hold the text.
"""

import gzip
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("commands.toml")
FOLDER = ROOT / "build" / "commands"
SECONDS = 1800
"""Limit of one command."""
STRICT = [sys.executable, "-X", "dev", "-W", "error", "-m", "steelyard_cli"]
RAW = ("Traceback", "Warning", "WARNING")
"""What no command may print on stderr."""
NET = """
import torch
from torch import nn


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 3, padding=1),
        nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4 * 4, 5),
    )


model = small()
"""
ARRAY = """[engine]
lanes = 4
columns = 2
partial_sum_channels = 16

[output]
requantizers = 4

[memory]
activation_words = 512
weight_words = 1024
parameter_words = 64
max_layers = 16
"""
CROSSBAR = "[crossbar]\nrows = 64\ncolumns = 64\n"


def entries() -> list[dict[str, Any]]:
    """The list's entries."""
    listed: list[dict[str, Any]] = tomllib.loads(LIST.read_text())["small"]
    return listed


def prepare(folder: Path) -> None:
    """The files of a user who follows the documents."""
    import torch

    from steelyard.quantize import export_onnx

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, text in (("net.py", NET), ("mynets.py", NET), ("array.toml", ARRAY)):
        (folder / name).write_text(text)
    (folder / "crossbar.toml").write_text(CROSSBAR)
    random = np.random.default_rng(0)
    np.save(folder / "images.npy", random.random((9, 1, 8, 8), np.float32))
    np.save(folder / "labels.npy", np.arange(9) % 5)
    np.save(folder / "codes.npy", random.integers(-128, 128, (9, 1, 8, 8)).astype(np.int8))
    names: dict[str, Any] = {}
    exec(NET, names)
    torch.save(names["model"].state_dict(), folder / "net.pt")
    classifier = torch.nn.Sequential(names["model"], torch.nn.Softmax(1))
    export_onnx(classifier, np.load(folder / "images.npy"), folder / "float.onnx")
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    from tflite_models import mobilenet

    (folder / "net.tflite").write_bytes(mobilenet(seed=5, size=16)[1])
    np.save(folder / "nhwc.npy", random.random((3, 16, 16, 3), np.float32))
    prepare_data(folder / "data")


def prepare_data(folder: Path) -> None:
    """A data set of random images, as many as the sample of a training takes."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for part in ("train", "t10k"):
        shape = b"".join(n.to_bytes(4, "big") for n in (1000, 28, 28))
        pixels = random.integers(0, 256, 1000 * 28 * 28, np.uint8).tobytes()
        labels = bytes(n % 10 for n in range(1000))
        for kind, content in (
            ("images-idx3", b"\0\0\x08\x03" + shape + pixels),
            ("labels-idx1", b"\0\0\x08\x01" + shape[:4] + labels),
        ):
            packed = gzip.compress(content, 1)
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(packed)


def execute(entry: dict[str, Any]) -> str:
    """Run an entry; what is wrong, or nothing."""
    command = entry["run"]
    mine = command.startswith("steelyard ")
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = command
    if mine:
        script = " ".join(["exec", *STRICT, command.removeprefix("steelyard ")])
    with subprocess.Popen(
        ["bash", "-c", script],
        cwd=FOLDER if mine else ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            # The command's own workers too, which would go on without it.
            os.killpg(process.pid, signal.SIGKILL)
            return f"no end after {SECONDS} s"
    if process.returncode != entry.get("bad", 0):
        return f"exit status {process.returncode}\n{out[-2000:]}\n{err[-4000:]}"
    raw = [line for line in err.splitlines() if any(word in line for word in RAW)]
    return "\n".join(raw) if mine else ""


@click.command()
@click.option("--only", default="", metavar="TEXT", help="Run those that hold this text.")
def main(only: str) -> None:
    """Run the small forms of the documented commands, in two parts beside each other.

    Exit status: 0 good, 1 a command failed, 2 the input is bad.
    """
    chosen = [each for each in entries() if "run" in each and only in each["run"]]
    prepare(FOLDER)
    failed: list[str] = []
    start = time.monotonic()

    def work(part: list[dict[str, Any]]) -> None:
        for entry in part:
            began = time.monotonic()
            wrong = execute(entry)
            print(f"{time.monotonic() - began:5.0f} s  {entry['run']}", flush=True)
            if wrong:
                failed.append(entry["run"])
                print(wrong, flush=True)

    mine = [each for each in chosen if each["run"].startswith("steelyard ")]
    threads = [
        threading.Thread(target=work, args=(part,))
        for part in (mine, [each for each in chosen if each not in mine])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{len(chosen)} commands, {len(failed)} failed, {time.monotonic() - start:.0f} s")
    for command in failed:
        print(f"failed: {command}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
