"""Tables of crossbars in docs/, against the kept results of the commands beside them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
NOTE = (ROOT / "docs" / "notes" / "crossbar-pruning.md").read_text(encoding="utf-8")
KIB = 8192


def kept(name: str) -> Any:
    """Result of a command, kept with command and commit."""
    document = json.loads((ROOT / "docs" / "figures" / f"{name}.json").read_text(encoding="utf-8"))
    assert re.fullmatch("[0-9a-f]{40}", document["commit"])
    assert document["command"]
    (result,) = document["result"].values()
    return result


def table(text: str, title: str) -> list[list[str]]:
    """Rows of the table whose first line begins with `title`, without those of its head."""
    lines = text[text.index(f"| {title} |") :].splitlines()
    rows = [line for line in lines[: lines.index("")] if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def percent(share: float, digits: int) -> str:
    """A share in percent."""
    return f"{100 * share:.{digits}f} %"


def times(*values: float) -> list[str]:
    """Ratios as tables show them."""
    return [f"{value:.2f}" for value in values]


def test_the_table_of_the_demo_network_is_the_demos():
    report = kept("demo-crossbar")
    expected = []
    for row in report["methods"]:
        reached = row["accuracy_by_adc_bits"]
        lost = f"{100 * (reached['8'] - reached['4']):.1f}"
        expected.append([percent(row["accuracy"], 1), lost, *demo_costs(row)])
        if "same_weights_ou_row" in row:
            expected.append(["", "", *demo_costs(row["same_weights_ou_row"])])
    assert [row[1:] for row in table(RESULTS, "the demo network")] == expected
    assert f"of {report['accuracy_images']:,} test images" in RESULTS
    assert f"the first {report['converter_images']:,}" in " ".join(RESULTS.split())


def demo_costs(row: dict[str, Any]) -> list[str]:
    """Cells of costs."""
    ratios = [row[f"{key}_ratio"]["isaac32"] for key in ("area", "energy", "speed")]
    index = f"{row['index_bits'] / KIB:.1f} KiB"
    return [*times(row["memory_compression"]), str(row["crossbars"]), *times(*ratios), index]


def small_rows() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Networks of VGG-small in the order of the tables, each with its costs in one mapping."""
    rows = {row["method"]: row for row in kept("crossbar-pruning")["methods"]}
    order = []
    for name in ("dense", "pattern0", "mixed0", "alike0"):
        order.append((rows[name], rows[name]))
        if name != "dense":
            order.append((rows[name], rows[name]["same_weights_ou_row"]))
    return order


def test_the_table_of_vgg_small_in_results_is_the_experiments():
    expected = []
    for row, cost in small_rows():
        ratios = cost["ratios"]["yu2020"]
        own = [percent(row["accuracy"], 2), *times(row["compression"])] if cost is row else ["", ""]
        saved = times(*(ratios[key] for key in ("crossbar_area", "area", "energy", "speed")))
        costs = [*times(cost["memory_compression"]), str(cost["crossbars"]), *saved]
        expected.append([*own, *costs])
    assert [row[1:] for row in table(RESULTS, "VGG-small")] == expected


def test_the_table_of_vgg_small_in_the_note_is_the_experiments():
    expected = []
    for row, cost in small_rows():
        ratios = cost["ratios"]["yu2020"]
        removed = percent(1 - row["nonzero"] / row["weights"], 1)
        own = [percent(row["accuracy"], 2), removed, *times(row["compression"])]
        saved = times(*(ratios[key] for key in ("crossbar_area", "area", "energy", "speed")))
        index = f"{cost['index_bits'] / KIB:.1f} KiB"
        costs = [*times(cost["memory_compression"]), str(cost["crossbars"]), *saved, index]
        expected.append([*own, *costs])
    assert [row[1:] for row in table(NOTE, "network, seed 0")] == expected


def test_what_mixed_does_to_columns_is_told():
    columns = next(row["columns"] for row, _ in small_rows() if "columns" in row)
    for page in (RESULTS, NOTE):
        text = " ".join(page.split())
        for key in ("all", "removed", "in strips of 1"):
            assert f"{columns[key]:,}" in text
    assert "kept" not in columns


CURVES = {
    "crossbar-curves": "## Curves of VGG-small",
    "crossbar-curves-residual": "## Curves of a residual network",
}
"""Kept curves, and the part of the note that has them."""


def part(heading: str) -> str:
    """The note from one heading to the next."""
    begin = NOTE.index(f"{heading}\n")
    return NOTE[begin : NOTE.index("\n## ", begin)]


@pytest.mark.parametrize("name", CURVES)
def test_the_curves_in_the_note_are_the_experiments(name):
    text, expected = part(CURVES[name]), []
    line = next(each for each in text.splitlines() if each.startswith("| method | density"))
    heads = [cell.strip() for cell in line.strip("|").split("|")]
    assert heads[:5] == ["method", "density", "seeds", "accuracy", "removed"]
    assert {"compression", "crossbar area", "whole area", "energy", "energy, stop"} < set(heads)
    for row in kept(name)["table"]:
        seeds = len(row["seeds"])
        spread = f" ({row['least']:.2f} to {row['most']:.2f})" if seeds > 1 else ""
        own = [row["method"], f"{row['density']:g}", str(seeds), f"{row['accuracy']:.2f} %{spread}"]
        gains = [f"{row[key]:.{0 if key == 'crossbars' else 2}f}" for key in heads[5:]]
        expected.append([*own, f"{row['removed']:.1f} %", *gains])
    assert table(text, "method | density") == expected


@pytest.mark.parametrize("name", CURVES)
def test_what_methods_gain_at_equal_accuracy_is_the_experiments(name):
    others: dict[str, dict[tuple[str, str], list[str]]] = {}
    for row in kept(name)["equal_accuracy"]:
        value, error = row["found"]["value"], row["found"]["error"]
        cell = "-" if value is None else f"{value:.2f}"
        cells = others.setdefault(row["over"], {}).setdefault((row["gain"], row["method"]), [])
        cells.append(cell if error is None else f"{cell} ± {error:.2f}")
    assert {"dense", "pattern"} <= set(others)
    for other, rows in others.items():
        expected = [[*key, *cells] for key, cells in rows.items()]
        assert table(part(CURVES[name]), f"over {other}") == expected
