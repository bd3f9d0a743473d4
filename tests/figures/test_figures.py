"""Figures of the documents are those that the commands beside them measured, kept in docs/figures.

What the cycle model can compute in seconds is computed again, so that a change of the schedule
shows here before anybody measures.
"""

import re
from pathlib import Path

import pytest

from steelyard_cli.bench import bench
from steelyard_cli.bench import work as bench_work

from . import record, shown
from .record import FIGURES, ROOT, SOURCES, read
from .shown import SENTENCES, TABLES, Sentence, Table

KEPT = sorted(path.stem for path in FIGURES.glob("*.json"))


def rows(table: Table) -> dict[str, list[str]]:
    """Cells of a table's rows as the page has them."""
    lines = (ROOT / table.page).read_text(encoding="utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(table.heading))
    found = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        label, *cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        found[label] = cells
    return found


def name(each: Table | Sentence) -> str:
    return f"{each.page}, {each.source if isinstance(each, Sentence) else each.sources}"


@pytest.mark.parametrize("table", TABLES, ids=name)
def test_a_table_holds_what_was_measured(table):
    results = [read(source)["result"] for source in table.sources]
    found, expected = rows(table), table.rows(*results)
    assert list(found) == list(expected)
    for label, cells in expected.items():
        assert len(found[label]) == len(cells), label
        for cell, figure in zip(found[label], cells, strict=True):
            assert figure is None or cell == figure, f"{label}: {cell} in place of {figure}"


@pytest.mark.parametrize("sentence", SENTENCES, ids=name)
def test_a_sentence_says_what_was_measured(sentence):
    page = " ".join((ROOT / sentence.page).read_text(encoding="utf-8").split())
    text = sentence.text(read(sentence.source)["result"])
    assert text in page


@pytest.mark.parametrize("kept", KEPT)
def test_a_kept_file_says_its_command_and_commit(kept):
    document = read(kept)
    assert {"command", "commit", "result"} <= set(document)
    assert re.fullmatch(r"[0-9a-f]{7,40}", document["commit"])
    if kept in SOURCES:
        assert document["command"] == SOURCES[kept].command
        assert set(document["result"]) == {Path(path).stem for path in SOURCES[kept].writes}


def test_every_kept_file_is_compared_with_a_page():
    # Those of the crossbars have tests of their own.
    here = {each.source for each in SENTENCES}.union(*(each.sources for each in TABLES))
    crossbars = {"crossbar-curves", "crossbar-curves-residual", "crossbar-pruning"}
    assert here <= set(KEPT) <= here | crossbars


@pytest.mark.parametrize(
    ("board", "note"), [("ulx3s_12f", "bitstreams"), ("icebreaker", "small-boards")]
)
def test_readme_says_the_clock_that_its_note_and_the_results_say(board, note):
    row = next(cells for cells in rows(TABLES[-1]).values() if board in cells[-1])
    clock = row[0].removesuffix(" MHz")
    assert clock in (ROOT / "docs" / "notes" / f"{note}.md").read_text(encoding="utf-8")
    lines = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    assert any(f"| {clock} MHz (" in line and board in line for line in lines)


@pytest.mark.parametrize(
    "case",
    [each for each in bench.CASES if each.name in record.CASES],
    ids=lambda each: each.name,
)
@pytest.mark.parametrize("k", [bench.K, None], ids=["sparse", "dense"])
def test_the_cycle_model_still_gives_the_cycles_that_are_kept(case, k):
    entry = shown.case(read("bench")["result"], case.name)
    layers = bench_work.model(case.job(k)).layers
    conv = sum(layer.predicted_cycles for layer in layers if layer.kind == "conv")
    assert conv == entry["predicted_dense_cycles" if k is None else "predicted_cycles"]
    assert case.source == "model" or (entry["model_exact"] and entry["bit_exact"])


def test_figures_are_kept_with_the_commit_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "FIGURES", tmp_path)
    monkeypatch.setattr(record, "ROOT", tmp_path)
    source = record.Source(("make demo", "make x"), ("a/b.json", "a/c.json"))
    monkeypatch.setattr(record, "SOURCES", {"x": source})
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.json").write_text("[1]")
    (tmp_path / "a" / "c.json").write_text("{}")
    record.keep("x", "f" * 40)
    expected = {"command": "make demo && make x", "commit": "f" * 40, "result": {"b": [1], "c": {}}}
    assert read("x") == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "x.json"]
