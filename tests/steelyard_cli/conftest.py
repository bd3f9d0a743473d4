"""A small network as every command meets it, and the command line as a function."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from steelyard import quantize
from steelyard.compile import compile as compile_program
from steelyard.contract import configure
from steelyard.importer import load
from steelyard_cli import main

TINY = configure(
    "array",
    lanes=4,
    columns=2,
    group=16,
    requantizers=4,
    activation_words=512,
    weight_words=1024,
    parameter_words=64,
    partial_sum_channels=16,
    max_layers=16,
)


@dataclass(frozen=True)
class Outcome:
    """What a call of the command line gave."""

    status: int
    out: str
    err: str

    def refused(self, *words: str) -> None:
        """Assert one sentence on stderr that holds all `words`, and exit status 2."""
        assert self.status == 2, self.err
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        for word in words:
            assert word in lines[0]


Call = Callable[..., Outcome]


@pytest.fixture
def steelyard(capsys: pytest.CaptureFixture[str]) -> Call:
    """Function that runs the command line in this process."""

    def call(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as caught:
            main([str(each) for each in arguments])
        captured = capsys.readouterr()
        return Outcome(int(caught.value.code or 0), captured.out, captured.err)

    return call


def small_model() -> nn.Module:
    """Two convolutions, a pool and a classifier for 1x8x8 inputs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 8, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * 4 * 4, 5),
        ).eval()


@dataclass(frozen=True)
class Work:
    """Files that the commands start from; tests must not change them."""

    images: Path
    float_onnx: Path
    int8_onnx: Path
    config: Path
    program: Path


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("work")
    files = Work(
        folder / "images.npy",
        folder / "float.onnx",
        folder / "int8.onnx",
        folder / "tiny.toml",
        folder / "net.syp",
    )
    images = np.random.default_rng(0).random((20, 1, 8, 8), np.float32)
    np.save(files.images, images)
    model = small_model()
    quantize.export_onnx(model, images, files.float_onnx)
    quantize.quantize(model, images, files.int8_onnx)
    TINY.to_toml(files.config)
    compile_program(load(files.int8_onnx), TINY, batch=3).save(files.program)
    return files
