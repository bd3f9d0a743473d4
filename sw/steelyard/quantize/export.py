"""Float torch networks as ONNX, proved by running the file."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import UserError
from steelyard.files import replacing
from steelyard.quantize.images import finite_images
from steelyard.quantize.outputs import named_outputs, plain_outputs
from steelyard.quantize.sessions import Session, quiet, reason_of

if TYPE_CHECKING:
    import onnx
    from torch import nn

OPSET = 17
PROVED = 8
"""Images on which the file must give the network's scores."""
DOUBTED = 256
"""The same where the exporter warns that it took a decision of the code as fixed."""
AGREEMENT = 1e-3
"""Greatest difference allowed, over the largest score."""


def export_onnx(model: nn.Module, sample_input: ArrayLike, path: str | os.PathLike[str]) -> None:
    """Write a torch module as float ONNX: evaluation mode, batch norm folded, dynamic batch axis.

    The file is run by onnxruntime and must give the module's scores. A module whose forward fixes
    the batch while it is traced is written for batches of one image. Its outputs are called as
    :func:`~steelyard.quantize.outputs.named_outputs` says.

    Parameters
    ----------
    model : any module of one input tensor, whose output is a tensor or a tuple, list or dictionary
        of tensors; its mode is left as it was
    sample_input : floating-point array of images, batch first, at least one
    path : file to write

    Raises
    ------
    UserError
        If a parameter is NaN or infinite, naming it, or the module cannot be exported or gives
        other scores than its file.
    """
    import torch

    # Masks and the like may hold infinite values on purpose.
    state: dict[str, torch.Tensor] = dict(model.named_parameters())
    state |= {name: values for name, values in model.named_buffers() if ".running_" in f".{name}"}
    for name, values in state.items():
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise UserError(
                f"Weight {name!r} holds NaN or infinite values, allowed are finite ones; "
                "train or load the weights again."
            )
    images = np.array(finite_images(sample_input)[:DOUBTED])
    modes = {module: module.training for module in model.modules()}
    with replacing(path) as written:
        model.eval()
        try:
            proved = _proved(model, images, written)
        finally:
            for module, training in modes.items():
                module.training = training
        written.write_bytes(proved.SerializeToString())


def _proved(model: nn.Module, images: NDArray[np.float32], path: Path) -> onnx.ModelProto:
    """Graph that gives the module's scores, of batches if it can; `path` is written over.

    Raises
    ------
    UserError
        If the module does not run or cannot be exported, or gives other scores than any graph.
    """
    expected = _scores(model, images[:PROVED])
    names = list(expected)
    graph, doubted = _exported(model, images[:1], names, path, dynamic=True)
    if doubted:
        expected = _scores(model, images)
    images = images[: DOUBTED if doubted else PROVED]
    if _worst(graph, images, expected, len(images)) <= AGREEMENT and not _computes_sizes(graph):
        return graph
    # With a batch of one the exporter computes what depends on sizes, such as a padding.
    graph, _ = _exported(model, images[:1], names, path, dynamic=False)
    opened = _with_open_batch(graph)
    if _worst(opened, images, expected, len(images)) <= AGREEMENT:
        return opened
    worst = _worst(graph, images, expected, 1)
    if worst <= AGREEMENT:
        return graph
    what = f"differ by {worst:.2g} of the largest" if np.isfinite(worst) else "do not come out"
    raise UserError(
        f"Model {type(model).__name__} computes something else in its ONNX file than in torch: "
        f"the scores {what}; write its forward without autocast, and without Python's if, for and "
        "float() on values of tensors, which an export fixes."
    )


def _exported(
    model: nn.Module, image: NDArray[np.float32], names: list[str], path: Path, dynamic: bool
) -> tuple[onnx.ModelProto, bool]:
    """Graph, and whether values of tensors went into Python code that the graph lacks."""
    import onnx
    import torch

    axes = {name: {0: "batch"} for name in ("input", *names)} if dynamic else None
    # The newer exporter needs onnxscript, so the older one's announcement is no news. Whether what
    # it remarks on matters, the proof tells.
    # What cannot be exported torch writes to the process's standard output, as a whole graph.
    log = patch.object(torch._C, "_jit_onnx_log", lambda *_: None, create=True)
    with quiet(), log, plain_outputs(model), warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        try:
            torch.onnx.export(
                model,
                (torch.from_numpy(image.copy()),),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=["input"],
                output_names=names,
                dynamic_axes=axes,
            )
        except Exception as error:  # Tracing runs code that is not ours.
            raise _not_exported(model, image, error) from None
    doubted = any(issubclass(each.category, torch.jit.TracerWarning) for each in remarks)
    return onnx.load(path), doubted


def _computes_sizes(model: onnx.ModelProto) -> bool:
    """Whether a node other than a reshape takes what is computed from the shape of a value."""
    sizes: set[str] = set()
    known = {item.name for item in model.graph.initializer} | {""}
    for node in model.graph.node:
        if node.op_type == "Shape":
            sizes.update(node.output)
        elif node.op_type == "Constant":
            known.update(node.output)
        elif sizes.intersection(node.input):
            if sizes.union(known).issuperset(node.input):
                sizes.update(node.output)
            elif node.op_type != "Reshape":
                return True
    return False


def _with_open_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    opened = type(model)()
    opened.CopyFrom(model)
    del opened.graph.value_info[:]
    for item in (*opened.graph.input, *opened.graph.output):
        item.type.tensor_type.shape.dim[0].dim_param = "batch"
    return opened


def _scores(model: nn.Module, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """What the module gives for each image alone, by the outputs' names."""
    import torch

    try:
        with torch.no_grad():
            rows = [
                {
                    name: output.float().numpy()
                    for name, output in named_outputs(
                        model(torch.from_numpy(image[None].copy())), type(model).__name__
                    ).items()
                }
                for image in images
            ]
            return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    except UserError:
        raise
    except Exception as error:  # As above.
        raise _not_exported(model, images, error) from None


def _worst(
    model: onnx.ModelProto,
    images: NDArray[np.float32],
    expected: dict[str, NDArray[np.float32]],
    batch: int,
) -> float:
    """Greatest difference of an output over its largest score; infinite without scores."""
    try:
        session = Session(model, list(expected))
        runs = [
            session.run({"input": images[start : start + batch]})
            for start in range(0, len(images), batch)
        ]
        found = [np.concatenate(parts) for parts in zip(*runs, strict=True)]
    except (UserError, ValueError):
        return np.inf
    return max(map(_gap, found, expected.values()))


def _gap(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    if found.shape != expected.shape:
        return np.inf
    gap = float(np.abs(found.astype(np.float64) - expected).max(initial=0.0))
    worst = gap / max(float(np.abs(expected).max(initial=0.0)), 1e-30)
    return worst if np.isfinite(worst) else np.inf


def _not_exported(model: nn.Module, images: NDArray[np.float32], error: Exception) -> UserError:
    from torch.onnx.errors import OnnxExporterError

    label = f"Model {type(model).__name__} cannot be exported"
    if isinstance(error, OnnxExporterError):
        reason = reason_of(error).split(". ")[0]
        return UserError(f"{label} ({reason}); replace the operator in the network.")
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UserError(
        f"{label} for an input of shape {(1, *images.shape[1:])} ({reason}); give images of the "
        "shape that it takes, or correct its code."
    )
