"""Table of what a board's line carries, and how fast that makes the board."""

from rich.table import Table

from steelyard.driver import Throughput, Traffic

from .console import table

__all__ = ["speed_table"]

MICRO = 1e6


def speed_table(moved: Traffic, speed: Throughput | None) -> Table:
    """Traffic of an inference of one batch and the board's speed."""
    rows: list[tuple[object, ...]] = [
        ("bytes sent", round(moved.bytes_sent / moved.batches)),
        ("bytes received", round(moved.bytes_received / moved.batches)),
        ("frames sent again, in all", moved.repeated),
        ("processor time of the driver, us", round(moved.cpu_seconds / moved.batches * MICRO)),
    ]
    if speed is not None:
        at = f"at {speed.baud / MICRO:.3g} Mbaud"
        rows += [
            (f"transfer {at}, us", round(speed.transfer_seconds * MICRO)),
            (f"computation at {speed.clock_hz / MICRO:g} MHz, us",
             round(speed.compute_seconds * MICRO)),
            ("predicted images/s, one batch after the other",
             f"{speed.sequential_images_per_second:.1f}"),
            ("predicted images/s, the next batch sent meanwhile",
             f"{speed.pipelined_images_per_second:.1f}"),
        ]  # fmt: skip
    images = "image" if moved.images == moved.batches else "batch"
    return table(f"Link, for one {images}", ("", "value"), rows)
