"""Figures of docs/notes/quantization.md: calibration methods, and agreement with onnxruntime.

    PYTHONPATH=sw python experiments/quantization_agreement.py [WEIGHTS.npz]

Takes the bundled weights of the demo network, or a file that zoo.save wrote.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper

from steelyard import importer, quantize, zoo
from steelyard.network import golden

LEVELS = onnxruntime.GraphOptimizationLevel


def session(content, level=LEVELS.ORT_DISABLE_ALL, precise=False):
    """Session of one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = level
    options.add_session_config_entry("session.x64quantprecision", str(int(precise)))
    return onnxruntime.InferenceSession(content, options)


def scores(network, x):
    """Output of the golden model in real units."""
    codes = golden.run(network, network.tensor(network.input).quantize(x), threads=1)
    return network.tensor(network.output).dequantize(codes)[:, :, 0, 0]


def compare(title, found, exact, labels):
    """One row: top-1, classes equal to the float network's, signal to noise of the scores."""
    noise = np.mean((found - exact) ** 2)
    print(
        f"{title:28s} top-1 {np.mean(found.argmax(1) == labels):.4f}  "
        f"same class {np.mean(found.argmax(1) == exact.argmax(1)):.4f}  "
        f"SNR {10 * np.log10(np.mean(exact**2) / noise):.2f} dB"
    )


def agreement(content, network, x):
    """Every tensor against onnxruntime without optimization: end to end, and each layer alone."""
    model = onnx.load_model_from_string(content)
    names = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    names[next(reversed(names))] = network.output
    del model.graph.output[:]
    for name in names:
        model.graph.output.append(helper.make_empty_tensor_value_info(name))
    codes = session(model.SerializeToString()).run(list(names), {"input": x})
    traced = golden.run(network, network.tensor("input").quantize(x), trace=True, threads=1)
    pairs = zip(names.values(), codes, strict=True)
    truth = {n: c.reshape(traced[n].shape) for n, c in pairs if n in traced}
    sums = np.zeros(3)
    for layer in network.layers:
        wanted = truth[layer.output].astype(np.int16)
        whole = np.abs(traced[layer.output] - wanted)
        alone = np.abs(golden.layer(network, layer, *(truth[n] for n in layer.inputs)) - wanted)
        sums += whole.size, np.count_nonzero(whole), np.count_nonzero(alone)
        print(
            f"{layer.output:28s} {whole.size:9d}  end to end {np.mean(whole == 0):.5%} "
            f"(max {whole.max()})  alone {np.mean(alone == 0):.5%} (max {alone.max()})"
        )
    print(f"all: end to end {1 - sums[1] / sums[0]:.5%}, alone {1 - sums[2] / sums[0]:.5%}")


def main():
    """Print all figures."""
    torch.set_num_threads(1)
    model = zoo.load("fashion", Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    sample = zoo.sample()
    x, labels = sample.test_input, sample.test_labels
    with torch.no_grad():
        exact = model(torch.from_numpy(x)).numpy()
    compare("float", exact + 1e-9, exact, labels)
    for method in quantize.RANGES:
        content = quantize.quantize(model, sample.calibration_input[:500], ranges=method)
        compare(method, scores(importer.load(content), x), exact, labels)
    content = quantize.quantize(model, sample.calibration_input[:500])
    for title, level, precise in (
        ("onnxruntime unoptimized", LEVELS.ORT_DISABLE_ALL, False),
        ("onnxruntime default", LEVELS.ORT_ENABLE_ALL, False),
        ("onnxruntime x64quantprecision", LEVELS.ORT_ENABLE_ALL, True),
    ):
        compare(title, session(content, level, precise).run(None, {"input": x})[0], exact, labels)
    agreement(content, importer.load(content), x)


if __name__ == "__main__":
    main()
