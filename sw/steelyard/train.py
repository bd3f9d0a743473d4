"""Training of the zoo's networks, by which the bundled weights were made.

``steelyard train`` repeats it from the full training set.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from steelyard import data as dataset
from steelyard import zoo
from steelyard.errors import UserError
from steelyard.files import replacing
from steelyard.reading import MALFORMED, first_line
from steelyard.state import read_state

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
    model: str = "fashion",
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> TrainResult:
    """A network trained on all images of ``data`` by one-cycle stochastic gradient descent.

    Parameters
    ----------
    data
        The whole data set; the test images only measure.
    epochs
        Passes over the training images, about one CPU minute each for ``fashion`` and ten for
        ``vgg_small``.
    seed
        Of the initial weights, the order of the images and their augmentation.
    batch
        Images a step.
    model
        ``fashion`` or ``vgg_small``.
    checkpoint
        File that is written after every epoch. If it is there already, training goes on behind
        the epoch that it holds, to the same weights as without a break.
    on_epoch
        Called after every epoch with what it gave.

    Raises
    ------
    UserError
        If ``epochs`` or ``batch`` is not positive, the network is not one of these, or the
        checkpoint is of another training.
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
    if model not in zoo.TRAINABLE:
        raise UserError(
            f"Network {model!r} cannot be trained here; choose one of {', '.join(zoo.TRAINABLE)}."
        )
    net = zoo.build(model, seed=seed)
    _lay_out(net, torch.channels_last)  # convolutions run a fifth faster
    images = torch.from_numpy(zoo.to_input(data.train_images))
    labels = torch.from_numpy(data.train_labels.astype(np.int64))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        net.parameters(), lr=PEAK_RATE, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    steps = len(images) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_RATE, total_steps=epochs * steps, pct_start=0.25, cycle_momentum=False
    )
    history: list[Epoch] = []
    state = _State(
        (model, epochs, seed, batch, len(images)), net, optimizer, schedule, generator, history
    )
    if checkpoint is not None and checkpoint.is_file():
        state.read(checkpoint)
    for number in range(len(history) + 1, epochs + 1):
        started = time.process_time()
        net.train()
        total = 0.0
        order = torch.randperm(len(images), generator=generator)
        for step in range(steps):
            chosen = order[step * batch : (step + 1) * batch]
            x = augment(images[chosen], generator).contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(net(x), labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        reached = accuracy(net, data.test_images, data.test_labels)
        history.append(Epoch(number, epochs, total / steps, reached, time.process_time() - started))
        if checkpoint is not None:
            state.write(checkpoint)
        if on_epoch is not None:
            on_epoch(history[-1])
    _lay_out(net, torch.contiguous_format)
    return TrainResult(net.eval(), history[-1].accuracy, tuple(history), seed)


@dataclass(frozen=True)
class _State:
    """All that training goes on from, and the settings that must be the same."""

    settings: tuple[str, int, int, int, int]
    net: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator
    history: list[Epoch]

    def write(self, path: Path) -> None:
        import torch

        with replacing(path) as temporary:
            torch.save(
                {
                    "settings": list(self.settings),
                    "net": self.net.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "schedule": self.schedule.state_dict(),
                    "generator": self.generator.get_state(),
                    "history": [asdict(epoch) for epoch in self.history],
                },
                temporary,
            )

    def read(self, path: Path) -> None:
        try:
            stored = read_state(path)
            settings = stored["settings"]
        except (OSError, *MALFORMED) as error:
            raise UserError(
                f"{path} cannot be read as a checkpoint ({first_line(error)}); delete it to begin "
                "anew."
            ) from error
        if settings != list(self.settings):
            raise UserError(
                f"{path} is the checkpoint of a training with (network, epochs, seed, batch, "
                f"images) = {tuple(settings)}, not {self.settings}; name another file "
                "or give the same settings."
            )
        self.net.load_state_dict(stored["net"])
        self.optimizer.load_state_dict(stored["optimizer"])
        self.schedule.load_state_dict(stored["schedule"])
        self.generator.set_state(stored["generator"])
        self.history.extend(Epoch(**epoch) for epoch in stored["history"])


def _lay_out(net: nn.Module, layout: torch.memory_format) -> None:
    for parameter in net.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)
