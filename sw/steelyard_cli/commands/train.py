"""``steelyard train``."""

from pathlib import Path

import click

from steelyard.zoo import TRAINABLE

from ..options import FOLDER, OUTPUT_FILE
from ..threads import one_thread
from ..view.console import note, percent, progress, show

__all__ = ["command"]


@click.command("train")
@click.option("--data", type=FOLDER, metavar="DIR", help="Folder of Fashion-MNIST's gzip files.")
@click.option("--model", type=click.Choice(TRAINABLE), default="fashion", show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=12, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--checkpoint",
    type=OUTPUT_FILE,
    metavar="FILE",
    help="Write this file after every epoch, and go on from it if it is there.",
)
@click.option("--half", is_flag=True, help="Round the weights to half precision: half the file.")
@click.option(
    "--sample", type=OUTPUT_FILE, metavar="IMAGES.npz", help="Write the first 1000 images too."
)
@click.option("-o", "--output", type=OUTPUT_FILE, required=True, metavar="WEIGHTS.npz")
def command(
    data: Path | None,
    model: str,
    epochs: int,
    seed: int,
    checkpoint: Path | None,
    half: bool,
    sample: Path | None,
    output: Path,
) -> None:
    """Train a bundled network on Fashion-MNIST.

    An epoch takes about a CPU minute, of vgg_small ten. Without --data the files are looked for on
    this machine, else fetched.

    \b
    Example:
      steelyard train --epochs 12 -o weights.npz
      steelyard prune fashion --weights weights.npz -o pruned.onnx
    """
    import torch  # noqa: F401 - a missing torch is to be told before data is fetched

    from steelyard import data as dataset
    from steelyard import zoo
    from steelyard.train import Epoch, accuracy
    from steelyard.train import train as train_network

    one_thread()
    found = dataset.find(data)
    note(found.source)
    if sample is not None:
        zoo.save_sample(found, sample)
    with progress("training", epochs) as update:

        def report(epoch: Epoch) -> None:
            text = (
                f"epoch {epoch.number}/{epoch.of}: loss {epoch.loss:.4f}, "
                f"test accuracy {percent(epoch.accuracy)}, {epoch.seconds:.0f} CPU-s"
            )
            note(text)
            update(epoch.number, epoch.of, "")

        result = train_network(
            found, epochs=epochs, seed=seed, model=model, checkpoint=checkpoint, on_epoch=report
        )
    reached, precision = result.accuracy, ""
    if half:
        zoo.halve(result.model)
        reached = accuracy(result.model, found.test_images, found.test_labels)
        precision = " in half precision"
    zoo.save(result.model, output, accuracy=reached, seed=seed, epochs=epochs)
    show(f"{output}: test accuracy {percent(reached)}{precision}")
