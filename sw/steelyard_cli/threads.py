"""Threads of torch."""

import os

__all__ = ["one_thread"]


def one_thread() -> None:
    """Holds torch to one thread unless the environment asks for more.

    Layers of this size gain nothing from a second one, and on a loaded machine lose; processes
    that run side by side share the processors.
    """
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1") or "1"))
