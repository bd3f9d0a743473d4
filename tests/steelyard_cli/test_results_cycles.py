"""Cycles in docs/results.md, against the cycle model, which is equal to the gateware."""

from pathlib import Path

import pytest

from steelyard_cli.bench import bench
from steelyard_cli.bench import work as bench_work

RESULTS = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
CASES = {
    "16x16x16 -> 32, 3x3, start to done": "reference 8x4",
    "the same": "reference 16x4",
    "VGG16 at 32x32, batch 1": "vgg16_32 batch 1",
    "VGG16 at 32x32, batch 8": "vgg16_32 batch 8",
    "VGG16 at 224x224": "vgg16_224",
    "ResNet-18 at 224x224": "resnet18_224",
}


@pytest.mark.parametrize("title", CASES)
def test_results_have_the_cycles_of_the_model(title):
    (case,) = [one for one in bench.CASES if one.name == CASES[title]]
    sparse, dense = (bench_work.model(case.job(k)) for k in (bench.K, None))
    entry = bench._entry(case, sparse, dense)
    (row,) = [line for line in RESULTS.splitlines() if line.startswith(f"| {title} | ")]
    lanes, columns = entry["lanes"], entry["columns"]
    assert [cell.strip() for cell in row.strip("|").split("|")][2:6] == [
        f"{entry['cycles']:,}",
        f"{entry['dense_cycles']:,}",
        f"{100 * entry['occupancy']:.1f} %",
        f"{entry['speedup']:.2f}",
    ]
    assert f"| {lanes} x {columns} |" in row or f"| {lanes} lanes x {columns} columns |" in row
