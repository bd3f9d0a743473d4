"""Float torch networks as ONNX."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UserError
from steelyard.files import replacing
from steelyard.quantize.images import checked_images

if TYPE_CHECKING:
    from torch import nn

OPSET = 17


def export_onnx(
    model: nn.Module, sample_input: NDArray[np.float32], path: str | os.PathLike[str]
) -> None:
    """Write a torch module as float ONNX: evaluation mode, batch norm folded, dynamic batch axis.

    Parameters
    ----------
    model : any module of one input and one output; its mode is left as it was
    sample_input : float32 (n, channels, height, width) or (n, features), n at least 1
    path : file to write

    Raises
    ------
    UserError
        If a parameter is NaN or infinite, naming it, or the module cannot be exported.
    """
    import torch

    for name, values in model.state_dict().items():
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise UserError(
                f"Weight {name!r} holds NaN or infinite values, allowed are finite ones; "
                "train or load the weights again."
            )
    sample = torch.from_numpy(np.ascontiguousarray(checked_images(sample_input)[:1]))
    mode = {name: module.training for name, module in model.named_modules()}
    with replacing(path) as written:
        model.eval()
        try:
            # The newer exporter needs onnxscript, so the older one's announcement is no news.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                # Constants that the exporter leaves are folded before quantization.
                warnings.filterwarnings("ignore", "Constant folding", UserWarning)
                torch.onnx.export(
                    model,
                    (sample,),
                    str(written),
                    dynamo=False,
                    opset_version=OPSET,
                    input_names=["input"],
                    output_names=["output"],
                    dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
                )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"Model {type(model).__name__} cannot be exported for an input of shape "
                f"{tuple(sample.shape)} ({reason}); give images of the shape that it takes."
            ) from None
        finally:
            for name, module in model.named_modules():
                module.training = mode[name]
