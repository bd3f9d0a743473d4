"""Clamps that onnxruntime's quantizer took away, put back; quantizers that nothing needs, gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.quantize.edit import Edit

if TYPE_CHECKING:
    import onnx

CLAMPS = ("Relu", "Clip")


def restore_clamps(reference: onnx.ModelProto, quantized: onnx.ModelProto) -> None:
    """Put every Relu and Clip back in front of the QuantizeLinear that stands for it now.

    The quantizer drops them and trusts the range of the codes to clamp. That holds for a Relu whose
    output was positive on some calibration image; not for one that was always 0, nor for a Clip
    whose bounds lie on one side of 0 or were not reached. In front of a QuantizeLinear they cost
    nothing: the accelerator clamps as it requantizes.

    Parameters
    ----------
    reference : float graph, every node with a name of its own
    quantized : graph that the quantizer made of it; changed in place
    """
    import onnx

    edit = Edit(quantized)
    known = {node.name for node in edit.nodes}
    makers = {name: node for node in reference.graph.node for name in node.output}
    for clamp in reference.graph.node:
        if clamp.op_type not in CLAMPS or clamp.name in known:
            continue
        # A clamp before this one is back in place already, since nodes come in their order.
        maker_name = makers[clamp.input[0]].name
        maker = next(node for node in edit.nodes if node.name == maker_name)
        index = list(makers[clamp.input[0]].output).index(clamp.input[0])
        result = maker.output[index]
        maker.output[index] = clamp.input[0]
        again = onnx.NodeProto()
        again.CopyFrom(clamp)
        again.output[0] = result
        for item in reference.graph.initializer:
            if item.name in clamp.input[1:] and edit.constant(item.name) is None:
                edit.keep_constant(item)
        edit.replace(maker, maker, again)
    edit.finish()


def remove_inner(reference: onnx.ModelProto, quantized: onnx.ModelProto) -> None:
    """Take away the quantizers inside of functions, and between sums and their slopes.

    A function of one value is one table however many operators it has, and a layer scales its sums
    by their sign: both are rounded once. Quantizers in between would only round more often.

    Parameters
    ----------
    reference : float graph
    quantized : graph that the quantizer made of it; changed in place
    """
    inner = Edit(reference).functions().inner
    edit = Edit(quantized)
    codes, real = {}, {}
    for node in edit.nodes:
        if node.op_type == "QuantizeLinear" and node.input[0] in inner:
            codes[node.output[0]] = node.input[0]
        elif node.op_type == "DequantizeLinear" and node.input[0] in codes:
            real[node.output[0]] = codes[node.input[0]]
    kept = [
        node for node in edit.nodes if node.output[0] not in codes and node.output[0] not in real
    ]
    for node in kept:
        node.input[:] = [real.get(name, name) for name in node.input]
    edit.nodes = kept
    edit.refresh()
    edit.finish()
