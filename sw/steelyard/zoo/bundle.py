"""Networks by name, the bundled weights and the bundled sample of Fashion-MNIST."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from steelyard.errors import UserError
from steelyard.files import replacing
from steelyard.npy import read_npz

if TYPE_CHECKING:
    from torch import nn

    from steelyard.data import FashionMnist

NAMES = ("fashion", "vgg16", "resnet18", "vgg_small")
TRAINABLE = ("fashion", "vgg_small")
"""Networks for the images that the package knows how to find."""
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
WEIGHTS = {name: Path(__file__).with_name(f"{name}.npz") for name in TRAINABLE}
SAMPLE = Path(__file__).with_name("sample.npz")
INFO_KEYS = ("accuracy", "seed", "epochs")


@dataclass(frozen=True)
class WeightsInfo:
    """How the bundled weights were made: float test accuracy (0 to 1), seed and epochs."""

    accuracy: float
    seed: int
    epochs: int


@dataclass(frozen=True)
class Sample:
    """Fashion-MNIST images that come with the package.

    Attributes
    ----------
    calibration
        uint8 (1000, 28, 28), the first 1,000 training images.
    calibration_labels
        uint8 (1000,), 0 to 9; only training with labels may look at them.
    test
        uint8 (1000, 28, 28), the first 1,000 test images.
    test_labels
        uint8 (1000,).
    """

    calibration: np.ndarray
    calibration_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray

    @property
    def calibration_input(self) -> np.ndarray:
        """Calibration images in the network's input units, float32 (1000, 1, 28, 28)."""
        return to_input(self.calibration)

    @property
    def test_input(self) -> np.ndarray:
        """Test images in the network's input units, float32 (1000, 1, 28, 28)."""
        return to_input(self.test)


def to_input(images: np.ndarray) -> np.ndarray:
    """uint8 images (n, h, w) as float32 network inputs (n, 1, h, w), pixels divided by 255."""
    return images[:, np.newaxis].astype(np.float32) / np.float32(255)


def build(
    name: str, *, seed: int = 0, size: int | None = None, classes: int | None = None
) -> nn.Module:
    """A network of the zoo in evaluation mode, with seeded random weights.

    Parameters
    ----------
    name
        ``fashion`` or ``vgg_small`` (1x28x28 inputs, 10 classes), ``vgg16`` or ``resnet18``
        (3 channels).
    seed
        Of the initial weights; torch's global generator is left as it was.
    size
        Height and width of the input of ``vgg16`` (a multiple of 32) and ``resnet18``
        (at least 8), 224 unless told.
    classes
        Outputs of ``vgg16`` and ``resnet18``, 1000 unless told.

    Raises
    ------
    UserError
        If the name is unknown, or the size or the classes do not suit it.
    """
    if name not in NAMES:
        raise UserError(f"The zoo has no network {name!r}; choose one of {', '.join(NAMES)}.")
    if name in TRAINABLE and not (size in (None, 28) and classes in (None, 10)):
        raise UserError(
            f"The network {name!r} is made for 28x28 inputs and 10 classes; leave size and "
            "classes out."
        )
    pixels = 224 if size is None else size
    outputs = 1000 if classes is None else classes
    if name == "vgg16" and (pixels < 32 or pixels % 32):
        raise UserError(f"The size of 'vgg16' must be a multiple of 32, not {pixels}.")
    if name == "resnet18" and pixels < 8:
        raise UserError(f"The size of 'resnet18' must be at least 8, not {pixels}.")
    if outputs < 1:
        raise UserError(f"The classes of {name!r} must be at least 1, not {outputs}.")

    import torch

    from steelyard.zoo import models

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "fashion":
            return models.fashion().eval()
        if name == "vgg_small":
            return models.vgg_small().eval()
        if name == "vgg16":
            return models.vgg16(pixels, outputs).eval()
        return models.resnet18(pixels, outputs).eval()


def load(name: str = "fashion", weights: Path | None = None) -> nn.Module:
    """A network with its bundled weights, or those of the file ``weights``, in evaluation mode.

    Raises
    ------
    UserError
        If there are no weights for the network, or the file does not fit it.
    """
    if name not in TRAINABLE:
        raise UserError(
            f"Only {' and '.join(map(repr, TRAINABLE))} come with weights, not {name!r}; use "
            "zoo.build for its shape."
        )
    import torch

    model = build(name)
    path = WEIGHTS[name] if weights is None else weights
    arrays = _read(path)
    state = {
        key: torch.from_numpy(value.astype(np.float32))
        for key, value in arrays.items()
        if key not in INFO_KEYS
    }
    expected = {k: v.shape for k, v in model.state_dict().items() if not k.endswith("_tracked")}
    if {key: value.shape for key, value in state.items()} != expected:
        raise UserError(
            f"{path} does not hold the weights of {name!r}; make them with "
            f"'steelyard train --model {name} -o WEIGHTS.npz'."
        )
    model.load_state_dict(state, strict=False)
    return model.eval()


def halve(model: nn.Module) -> None:
    """Rounds the weights of all layers to what half precision holds, in place."""
    import torch

    with torch.no_grad():
        for value in model.parameters():
            if value.dim() > 1:
                value.copy_(value.half().float())


def save(model: nn.Module, path: Path, *, accuracy: float, seed: int, epochs: int) -> None:
    """Writes the weights of ``model`` and how they were made, in an order that never varies.

    Weights that half precision holds, as after :func:`halve`, are written so.
    """
    arrays = {
        key: _shortest(value.detach().cpu().contiguous().numpy())
        for key, value in model.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    arrays["accuracy"] = np.array(accuracy, np.float64)
    arrays["seed"] = np.array(seed, np.int64)
    arrays["epochs"] = np.array(epochs, np.int64)
    write_arrays(path, arrays)


def _shortest(values: np.ndarray) -> np.ndarray:
    if values.ndim < 2:
        return values
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return half if np.array_equal(half.astype(values.dtype), values) else values


def info(name: str = "fashion") -> WeightsInfo:
    """How the bundled weights of a network were made."""
    arrays = _read(WEIGHTS[name])
    return WeightsInfo(float(arrays["accuracy"]), int(arrays["seed"]), int(arrays["epochs"]))


def sample() -> Sample:
    """The bundled images and labels."""
    arrays = _read(SAMPLE)
    return Sample(
        arrays["calibration"], arrays["calibration_labels"], arrays["test"], arrays["test_labels"]
    )


def save_sample(data: FashionMnist, path: Path) -> None:
    """Writes the first 1,000 training and test images of ``data`` with their labels."""
    write_arrays(
        path,
        {
            "calibration": data.train_images[:1000],
            "calibration_labels": data.train_labels[:1000],
            "test": data.test_images[:1000],
            "test_labels": data.test_labels[:1000],
        },
    )


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an npz file whose bytes depend on the arrays alone, and moves it into place."""
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
    ):
        for name, value in arrays.items():
            content = io.BytesIO()
            np.save(content, np.asarray(value, order="C"), allow_pickle=False)
            # numpy's own writer stores the present time; zip's epoch keeps the bytes the same.
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content.getvalue())


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_npz(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as an npz file ({error}); give a file that zoo.save wrote."
        ) from error
