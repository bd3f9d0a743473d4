"""What the documents say of kept figures: tables and sentences, each with where its figures are.

A cell or sentence holds fields as of ``str.format``; ``test_figures.py`` fills them in from
docs/figures and looks for the outcome in the page.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table whose rows are named by their first cell.

    Members
    -------
    page : file of the table
    heading : its first line
    sources : names of the kept files
    rows : cells of each row from the second on, as made of the results; None for one that holds no
        figure of these
    """

    page: str
    heading: str
    sources: tuple[str, ...]
    rows: Callable[..., Mapping[str, tuple[str | None, ...]]]


@dataclass(frozen=True)
class Sentence:
    """A piece of text that holds figures; the page's line breaks do not matter."""

    page: str
    source: str
    text: Callable[[Result], str]


ARRAY = {
    "16x16x16 -> 32, 3x3, start to done": "reference 8x4",
    "the same": "reference 16x4",
    "VGG16 at 32x32, batch 1": "vgg16_32 batch 1",
    "VGG16 at 32x32, batch 8": "vgg16_32 batch 8",
    "VGG16 at 32x32, other shape": "vgg16_32 8x32",
    "ResNet-8, batch 1, start to done": "resnet8",
    "ResNet-8, other shape": "resnet8 8x32",
    "VGG16 at 224x224": "vgg16_224",
    "ResNet-18 at 224x224": "resnet18_224",
    "ResNet-18 at 224x224, other shape": "resnet18_224 8x32",
}
"""Cases of the benchmark by their rows of docs/results.md."""


def case(result: Result, name: str) -> Mapping[str, Any]:
    """A case of the benchmark."""
    entries = (each for file in result.values() for each in file)
    found: Mapping[str, Any] = next(each for each in entries if each["name"] == name)
    return found


def percent(share: float, digits: int = 1) -> str:
    """A share as documents write it."""
    return f"{100 * share:.{digits}f} %"


def _array(result: Result) -> dict[str, tuple[str | None, ...]]:
    rows: dict[str, tuple[str | None, ...]] = {}
    for label, name in ARRAY.items():
        found = case(result, name)
        size = f"{found['lanes']} x {found['columns']}"
        if label == next(iter(ARRAY)):
            size = f"{found['lanes']} lanes x {found['columns']} columns"
        rows[label] = (
            size, f"{found['cycles']:,}", f"{found['dense_cycles']:,}",
            percent(found["occupancy"]), f"{found['speedup']:.2f}", None,
        )  # fmt: skip
    return rows


def _demo(result: Result) -> dict[str, tuple[str | None, ...]]:
    report = result["report"]
    kinds = ("float_dense", "int8_dense", "int8_sparse")
    accuracies = [percent(report[f"accuracy_{kind}"], 2) for kind in kinds]
    equal = "all equal" if report["bit_exact"] else "not equal"
    return {
        "weights removed outside the first layer": (percent(report["sparsity"]),),
        f"accuracy on {report['accuracy_images']:,} test images: float dense, int8 dense, "
        "int8 sparse": (", ".join(accuracies),),
        "images compared with the golden model in every layer": (
            f"{report['images_checked']}, {equal}",
        ),
        "whole network against the same array run dense, measured cycles": (
            f"{report['speedup']:.2f} x",
        ),
        "pruned convolutions alone": (f"{report['speedup_pruned_conv']:.2f} x",),
    }


def _curve(result: Result) -> dict[str, tuple[str | None, ...]]:
    """Rows of the ways and shares, each with the mean of the seeds and their losses."""
    report = result["pruning-curve"]
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in report["rows"]:
        found.setdefault(f"{row['way']}, {100 * row['target']:g} %", []).append(row)
    rows: dict[str, tuple[str | None, ...]] = {}
    for label, own in found.items():
        mean = sum(row["accuracy"] for row in own) / len(own)
        each = ", ".join(f"{row['loss']:.2f}" for row in own)
        rows[label] = (percent(mean, 2), f"{100 * (report['accuracy'] - mean):.2f}", each)
    return rows


def _summary(demo: Result, bench: Result, crossbars: Result) -> dict[str, tuple[str | None, ...]]:
    facts = _demo(demo)
    removed, accuracies, equal, whole, _ = (cells[0] for cells in facts.values())
    rows: dict[str, tuple[str | None, ...]] = {
        "demo network, weights removed": (removed, "`make demo`"),
        "its accuracy: float dense, int8 dense, int8 sparse": (accuracies, "`make demo`"),
        "its images equal to the golden model in every layer": (equal, "`make demo`"),
        "its cycles over those of the same array run dense": (f"{whole} fewer", "`make demo`"),
    }
    for label, name in (
        ("VGG16 at 32x32, batch 8, 75 % pruned: over dense, occupancy", "vgg16_32 batch 8"),
        ("VGG16 at 224x224: the same", "vgg16_224"),
        ("ResNet-18 at 224x224: the same", "resnet18_224"),
        ("ResNet-8 at 32x32, batch 1, start to done: the same", "resnet8"),
    ):
        found = case(bench, name)
        cell = f"{found['speedup']:.2f} x, {percent(found['occupancy'])}"
        rows[label] = (cell, "`make bench`")
    rows["ULX3S-12F, 24 products a cycle, routed"] = (None, "`make bitstream BOARD=ulx3s_12f`")
    rows["iCEBreaker, 16 products a cycle, routed"] = (None, "`make bitstream BOARD=icebreaker`")
    methods = {row["method"]: row for row in crossbars["report"]["methods"]}
    for label, name in (
        ("crossbars, patterns of kernels: energy, speed over dense", "pattern"),
        ("crossbars, operation-unit rows: energy, speed over dense", "ou_row"),
    ):
        ratios = [methods[name][f"{key}_ratio"]["isaac32"] for key in ("energy", "speed")]
        rows[label] = (", ".join(f"{each:.2f} x" for each in ratios), "`make demo-crossbar`")
    return rows


RESULTS = "docs/results.md"
TABLES = (
    Table(RESULTS, "| case | array | cycles | dense |", ("bench",), _array),
    Table(RESULTS, "| | |", ("demo",), _demo),
    Table(RESULTS, "| way, weights removed |", ("pruning-curve",), _curve),
    Table("README.md", "| what | result |", ("demo", "bench", "demo-crossbar"), _summary),
)


def _on_board(text: str) -> Callable[[Result], str]:
    return lambda result: text.format(**case(result, "vgg16_32 ulx3s_85f"))


SENTENCES = (
    Sentence(
        RESULTS,
        "bench",
        _on_board(
            "makes {gops_per_multiplier:.2f} dense-equivalent GOPS a multiplier (`make bench`, "
            "case `vgg16_32 ulx3s_85f`)"
        ),
    ),
    Sentence(
        "docs/notes/bitstreams.md",
        "bench",
        _on_board("makes {gops_per_multiplier:.2f} dense-equivalent GOPS a multiplier at 75 MHz"),
    ),
    Sentence(
        RESULTS,
        "demo",
        lambda result: f"{percent(result['report']['accuracy_float_dense'], 2)} float accuracy",
    ),
)
