"""Pages name files that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    ROOT / "examples" / "README.md",
    ROOT / "changes" / "README.md",
]
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
NAMED = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|md|toml|json|cpp|svg))`")
GONE = "docs/notes/layout.md"
"""Says what was where before."""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_of_a_page_lead_somewhere(page):
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    missing = [each for each in targets if ":" not in each and not (page.parent / each).exists()]
    assert not missing


@pytest.mark.parametrize("page", [each for each in PAGES if name(each) != GONE], ids=name)
def test_files_that_a_page_names_are_there(page):
    files = [str(path.relative_to(ROOT)) for path in _files()]
    for named in NAMED.findall(page.read_text(encoding="utf-8")):
        made = named.startswith(("build/", "work/")) or "NAME" in named
        assert made or any(f"/{file}".endswith(f"/{named}") for file in files), named


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_prose_of_a_page_has_100_columns(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    long = [
        line for line in text.splitlines() if len(line) > 100 and not line.startswith(("|", "    "))
    ]
    assert not long


def _files() -> list[Path]:
    folders = ("sw", "hw", "sim", "boards", "tests", "docs", "examples", "experiments")
    return [path for folder in folders for path in (ROOT / folder).rglob("*.*")]
