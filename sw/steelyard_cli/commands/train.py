"""``steelyard train``."""

from pathlib import Path

import click

from ..options import FOLDER, OUTPUT_FILE
from ..threads import one_thread
from ..view.console import note, percent, progress, show

__all__ = ["command"]


@click.command("train")
@click.option("--data", type=FOLDER, metavar="DIR", help="Folder of Fashion-MNIST's gzip files.")
@click.option("--epochs", type=click.IntRange(1), default=12, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("-o", "--output", type=OUTPUT_FILE, required=True, metavar="WEIGHTS.npz")
def command(data: Path | None, epochs: int, seed: int, output: Path) -> None:
    """Train the bundled network on Fashion-MNIST, about a CPU minute an epoch.

    Without --data the files are looked for on this machine, else fetched.

    \b
    Example:
      steelyard train --epochs 12 -o weights.npz
      steelyard prune fashion --weights weights.npz -o pruned.onnx
    """
    import torch  # noqa: F401 - a missing torch is to be told before data is fetched

    from steelyard import data as dataset
    from steelyard import zoo
    from steelyard.train import Epoch
    from steelyard.train import train as train_network

    one_thread()
    found = dataset.find(data)
    note(found.source)
    with progress("training", epochs) as update:

        def report(epoch: Epoch) -> None:
            text = (
                f"epoch {epoch.number}/{epoch.of}: loss {epoch.loss:.4f}, "
                f"test accuracy {percent(epoch.accuracy)}, {epoch.seconds:.0f} CPU-s"
            )
            note(text)
            update(epoch.number, epoch.of, "")

        result = train_network(found, epochs=epochs, seed=seed, on_epoch=report)
    zoo.save(result.model, output, accuracy=result.accuracy, seed=seed, epochs=epochs)
    show(f"{output}: test accuracy {percent(result.accuracy)}")
