"""Benchmark of the software: compiling a VGG16 from the command line, the golden model's speed."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadResult

__all__ = ["compile_vgg16", "golden_demo"]

IMAGES = 10_000
SEED = 1


def compile_vgg16() -> dict[str, Any]:
    """``steelyard compile`` of a pruned VGG16 at 32x32, in a process of its own.

    Members of the result: ``weights``, ``seconds`` (wall), ``peak_megabytes`` (resident).

    Raises
    ------
    BadResult
        If the command fails.
    """
    from steelyard import zoo
    from steelyard.prune import prune
    from steelyard.quantize import quantize

    images = np.random.default_rng(SEED).random((8, 3, 32, 32), dtype=np.float32)
    model = zoo.build("vgg16", seed=SEED, size=32)
    pruned = prune(model, images, 0.75, method="magnitude", work=0).model
    # Activations of random weights fade from layer to layer until a bias outgrows its 32 bits.
    for name, parameter in pruned.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "vgg16.onnx"), Path(folder, "vgg16.syp")
        quantize(pruned, images, source)
        command = [sys.executable, "-m", "steelyard_cli", "compile", str(source), "-o", str(target)]
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        if process.returncode:
            raise BadResult(f"Compiling VGG16 ended with exit status {process.returncode}.")
    return {
        "weights": sum(each.numel() for each in pruned.parameters() if each.dim() > 1),
        "seconds": seconds,
        "peak_megabytes": usage.ru_maxrss / 1024,
    }


def golden_demo() -> dict[str, Any]:
    """The demo network, int8 and dense, on 10,000 images by the golden model.

    Members of the result: ``images``, ``seconds`` (wall).
    """
    from steelyard import importer, zoo
    from steelyard.network import golden
    from steelyard.quantize import quantize

    sample = zoo.sample()
    network = importer.load(quantize(zoo.load("fashion"), sample.calibration_input))
    codes = network.tensor(network.input).quantize(sample.test_input)
    codes = np.resize(codes, (IMAGES, *codes.shape[1:]))
    started = time.perf_counter()
    golden.run(network, codes)
    return {
        "images": IMAGES,
        "seconds": time.perf_counter() - started,
    }
