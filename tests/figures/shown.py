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
    source : name of the kept file
    rows : cells of each row from the second on, as made of the result; None for one that holds no
        figure of ours
    """

    page: str
    heading: str
    source: str
    rows: Callable[[Result], Mapping[str, tuple[str | None, ...]]]


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
    "VGG16 at 224x224": "vgg16_224",
    "ResNet-18 at 224x224": "resnet18_224",
}
"""Cases of the benchmark by their rows of README."""


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


TABLES = (
    Table("README.md", "| case | array | cycles | dense |", "bench", _array),
    Table("README.md", "| | |", "demo", _demo),
)


def _on_board(text: str) -> Callable[[Result], str]:
    return lambda result: text.format(**case(result, "vgg16_32 ulx3s_85f"))


SENTENCES = (
    Sentence(
        "README.md",
        "bench",
        _on_board(
            "makes {gops_per_multiplier:.2f} dense-equivalent GOPS a multiplier (`make bench`, "
            "case `vgg16_32 ulx3s_85f`)"
        ),
    ),
    Sentence(
        "docs/notes/bitstreams.md",
        "bench",
        _on_board("makes {gops_per_multiplier:.2f} dense-equivalent GOPS a multiplier at 80 MHz"),
    ),
    Sentence(
        "README.md",
        "demo",
        lambda result: f"{percent(result['report']['accuracy_float_dense'], 2)} float accuracy",
    ),
)
