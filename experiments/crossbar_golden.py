"""CPU time of the golden crossbar model on a dense VGG8 of 32x32 images.

    OMP_NUM_THREADS=1 PYTHONPATH=sw python experiments/crossbar_golden.py [FIELD=VALUE ...]

Random weights, ReLU activations of a real network's spread; fields are those of CrossbarConfig,
and `method`, `images`.
"""

import sys
import time

import numpy as np

from steelyard.engines.crossbar import MAPPINGS, Counts, CrossbarConfig, map_network, run
from steelyard.network import NetworkBuilder, golden

PLAN = (128, 128, "P", 256, 256, "P", 512, 512, "P", "FC1024", "FC10")


def vgg8(seed=0):
    """Dense VGG8 with random int8 weights; sums come out at 40 codes of deviation."""
    rng = np.random.default_rng(seed)
    builder = NetworkBuilder("vgg8", (3, 32, 32), scale=1 / 64)
    for number, item in enumerate(PLAN):
        name = f"t{number}"
        if item == "P":
            builder.max_pool(2, name=name, stride=2)
            continue
        channels, height, width = builder.last.shape
        full = isinstance(item, str)
        outputs = int(item[2:]) if full else item
        kernel = (height, width) if full else (3, 3)
        weight = np.clip(np.rint(rng.normal(0, 30, (outputs, channels, *kernel))), -127, 127)
        deviation = 30 * 40 * np.sqrt(weight[0].size)
        builder.conv(
            weight.astype(np.int8), name=name, zero_point=-128, padding=0 if full else 1,
            multiplier=int(60 / deviation * 2**30), shift=30, fully_connected=full,
        )  # fmt: skip
    return builder.network()


def main():
    given = dict(argument.split("=") for argument in sys.argv[1:])
    mapping, images = given.pop("method", "traditional"), int(given.pop("images", "1"))
    assert mapping in MAPPINGS
    config = CrossbarConfig(
        **{name: int(value) if value.isdigit() else value for name, value in given.items()}
    )
    network = vgg8()
    x = np.random.default_rng(1).normal(0, 40, (images, 3, 32, 32)).round().clip(-128, 127)
    begin = time.process_time()
    mapped = map_network(network, config, mapping)
    ready = time.process_time()
    seconds = {}

    def finished(done, total, name):
        seconds[name] = time.process_time() - ready - sum(seconds.values())

    result = run(network, mapped, x.astype(np.int8), progress=finished)
    end = time.process_time()
    exact = golden.run(network, x.astype(np.int8), threads=1, trace=True)
    counts = sum((work.counts for work in result.layers.values()), start=Counts())
    print(config)
    print(f"mapping {ready - begin:.2f} CPU-s, run {end - ready:.2f} CPU-s, {images} images")
    print(" ".join(f"{name} {value:.2f}" for name, value in seconds.items()))
    print(counts)
    print(
        f"ideal ADC: {config.adc_is_ideal}; equal to the integer network: "
        f"{all(np.array_equal(exact[name], value) for name, value in result.tensors.items())}"
    )
    spread = {name: round(float(value.std()), 1) for name, value in exact.items()}
    print("deviation of the tensors, codes:", spread)


if __name__ == "__main__":
    main()
