"""Training of the demo network, by which the bundled weights were made.

``python -m steelyard.train --help`` repeats it from the full training set.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from steelyard import data as dataset
from steelyard import zoo
from steelyard.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

MAX_SHIFT = 2
PEAK_RATE = 0.2


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training images gave: mean loss, test accuracy, CPU seconds."""

    number: int
    of: int
    loss: float
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class TrainResult:
    """A trained network in evaluation mode and the accuracy that it reaches."""

    model: nn.Module
    accuracy: float
    epochs: tuple[Epoch, ...]
    seed: int


def accuracy(model: nn.Module, images: np.ndarray, labels: np.ndarray, batch: int = 500) -> float:
    """Share of uint8 ``images`` (n, 28, 28) that ``model`` gives their label, 0 to 1."""
    import torch

    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(images), batch):
            x = torch.from_numpy(zoo.to_input(images[start : start + batch]))
            found = model(x).argmax(1).numpy()
            right += int((found == labels[start : start + batch]).sum())
    return right / len(images)


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Images (n, 1, h, w) each shifted by up to 2 pixels and mirrored at random.

    The border that a shift uncovers is 0, the background of the data set.
    """
    import torch
    from torch.nn import functional

    count, _, height, width = images.shape
    padded = functional.pad(images, (MAX_SHIFT,) * 4)
    shift = torch.randint(0, 2 * MAX_SHIFT + 1, (2, count, 1), generator=generator)
    mirror = torch.rand(count, 1, generator=generator) < 0.5
    rows = shift[0] + torch.arange(height)
    columns = torch.arange(width).expand(count, width)
    columns = shift[1] + torch.where(mirror, width - 1 - columns, columns)
    which = torch.arange(count)[:, None, None]
    return padded[which, 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def train(
    data: dataset.FashionMnist,
    *,
    epochs: int = 12,
    seed: int = 0,
    batch: int = 128,
    progress: Callable[[Epoch], None] | None = None,
) -> TrainResult:
    """The demo network trained on all images of ``data`` by one-cycle stochastic gradient descent.

    Parameters
    ----------
    data
        The whole data set; the test images only measure.
    epochs
        Passes over the training images, about one CPU minute each.
    seed
        Of the initial weights, the order of the images and their augmentation.
    batch
        Images a step.
    progress
        Called after every epoch.

    Raises
    ------
    UserError
        If ``epochs`` or ``batch`` is not positive.
    """
    import torch
    from torch.nn import functional

    if epochs < 1:
        raise UserError(f"epochs must be at least 1, not {epochs}; give a positive number.")
    if not 1 <= batch <= len(data.train_images):
        raise UserError(
            f"batch must be from 1 to the {len(data.train_images)} training images, not {batch}; "
            "128 is a good choice."
        )
    model = zoo.build("fashion", seed=seed)
    _lay_out(model, torch.channels_last)  # convolutions run a fifth faster
    images = torch.from_numpy(zoo.to_input(data.train_images))
    labels = torch.from_numpy(data.train_labels.astype(np.int64))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=PEAK_RATE, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    steps = len(images) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_RATE, total_steps=epochs * steps, pct_start=0.25, cycle_momentum=False
    )
    history: list[Epoch] = []
    for number in range(1, epochs + 1):
        started = time.process_time()
        model.train()
        total = 0.0
        order = torch.randperm(len(images), generator=generator)
        for step in range(steps):
            chosen = order[step * batch : (step + 1) * batch]
            x = augment(images[chosen], generator).contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(model(x), labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        reached = accuracy(model, data.test_images, data.test_labels)
        history.append(Epoch(number, epochs, total / steps, reached, time.process_time() - started))
        if progress is not None:
            progress(history[-1])
    _lay_out(model, torch.contiguous_format)
    return TrainResult(model.eval(), history[-1].accuracy, tuple(history), seed)


def _lay_out(model: nn.Module, layout: torch.memory_format) -> None:
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)


def main(arguments: list[str] | None = None) -> None:
    """Entry of ``python -m steelyard.train``."""
    import torch

    parser = argparse.ArgumentParser(
        prog="python -m steelyard.train", description="Train the demo network on Fashion-MNIST."
    )
    parser.add_argument("output", type=Path, help="npz file of the weights to write")
    parser.add_argument("--data", type=Path, help="folder of the four gzip IDX files")
    parser.add_argument("--sample", type=Path, help="npz file of the bundled images to write too")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    def show(epoch: Epoch) -> None:
        print(
            f"epoch {epoch.number}/{epoch.of}: loss {epoch.loss:.4f}, "
            f"test accuracy {100 * epoch.accuracy:.2f} %, {epoch.seconds:.0f} CPU-s",
            flush=True,
        )

    torch.set_num_threads(1)
    try:
        data = dataset.find(options.data)
        print(data.source, flush=True)
        if options.sample is not None:
            zoo.save_sample(data, options.sample)
        result = train(data, epochs=options.epochs, seed=options.seed, progress=show)
        zoo.save(
            result.model,
            options.output,
            accuracy=result.accuracy,
            seed=result.seed,
            epochs=options.epochs,
        )
    except UserError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
