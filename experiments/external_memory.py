"""A bundled network with its weights in an external SDRAM, on the RTL with controller and chip.

    python experiments/external_memory.py --images 200     # VGG-small, pruned to 75 %
    python experiments/external_memory.py --images 1 --parameter-words 512
    python experiments/external_memory.py --model fashion --lanes 4 --columns 4 --weight-words 1024

The array is the ulx3s_85f's with external memory; the chip is a W9825G6KH-6 at the clock of the
accelerator or, with two slots as the board has it, at twice that. Prints for each layer what was
moved and what that cost, and frames a second at the board's clock; JSON beside it with --json.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from steelyard import driver, zoo
from steelyard.check.estimate import assess
from steelyard.compile import compile
from steelyard.importer import load
from steelyard.prune import prune
from steelyard.quantize import quantize
from steelyard_boards import board

BOARD = board("ulx3s_85f")
CLOCK_HZ = BOARD.clock_of(BOARD.external)


def network(name, sparsity):
    """A bundled network, pruned without labels and quantized."""
    calibration = zoo.sample().calibration_input
    model = zoo.load(name)
    model = prune(model, calibration, sparsity).model if sparsity else model
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{name}.onnx")
        quantize(model, calibration, path)
        return load(path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=("vgg_small", "fashion"), default="vgg_small")
    parser.add_argument("--lanes", type=int, default=16)
    parser.add_argument("--columns", type=int, default=16)
    parser.add_argument("--sparsity", type=float, default=0.75)
    parser.add_argument("--weight-words", type=int, default=4096)
    parser.add_argument("--parameter-words", type=int, default=2048)
    parser.add_argument("--requantizers", type=int, default=4)
    parser.add_argument("--slots", type=int, default=2, help="clocks of the memory in a cycle")
    parser.add_argument("--images", type=int, default=1, help="run on the RTL")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    config = BOARD.external.with_(
        lanes=arguments.lanes,
        columns=arguments.columns,
        requantizers=arguments.requantizers,
        weight_words=arguments.weight_words,
        parameter_words=arguments.parameter_words,
        external_slots=arguments.slots,
    )
    net = network(arguments.model, arguments.sparsity)
    cost, problems = assess(net, config)
    assert cost is not None and not problems, problems
    program = compile(net, config)
    sample = zoo.sample()
    x = net.tensor(net.input).quantize(sample.test_input[: arguments.images])
    with driver.open("sim", config=config) as device:
        wrong = driver.check(program, x, device) or driver.check_layers(program, x[:1], device)
        assert wrong is None, wrong
        device.infer(x[:1])
        cycles, counters = device.cycles, device.counters()
    # Those of the RTL, which are the golden model's.
    classes = program.golden(x)[net.output].reshape(len(x), -1).argmax(1)
    accuracy = float(np.mean(classes == sample.test_labels[: len(x)]))
    print(f"{'layer':28} {'moved words':>11} {'waiting':>9} {'cycles':>9}  bound by")
    for layer, counted in zip(cost.layers, counters, strict=True):
        print(
            f"{layer.name[-28:]:28} {layer.moved_words:11,} {layer.waiting_cycles:9,} "
            f"{counted.cycles:9,}  {layer.bound}"
        )
    rate = CLOCK_HZ / cycles
    report = {
        "cycles": cycles,
        "estimated": cost.cycles,
        "roofline_cycles": cost.roofline_cycles,
        "share_of_roofline": cost.roofline_cycles / cycles,
        "moved_bytes": 4 * cost.moved_words,
        "frames_per_second": rate,
        "clock_hz": CLOCK_HZ,
        "images": len(x),
        "accuracy": accuracy,
    }
    print(
        f"the outputs of {len(x)} images, {accuracy:.1%} of them right, and all layers of the "
        f"first equal the golden model's; {cycles:,} cycles "
        f"({cost.cycles:,} estimated), {report['share_of_roofline']:.1%} of the roofline of "
        f"{4 * cost.moved_words:,} bytes and {cost.roofline_cycles:,} cycles; {rate:.0f} frames a "
        f"second at {CLOCK_HZ / 1e6:g} MHz, without the link"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
