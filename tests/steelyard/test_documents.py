"""What docs/ and docstrings say of formats and imports, against the code."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.contract.descriptor import FIELDS
from steelyard.contract.frames import (
    HEAD_FIELDS,
    LINK_VERSION,
    OPENED_FIELDS,
    WINDOW,
    Reply,
    Request,
)
from steelyard.contract.limits import MAX_CONV_STRIDE, MAX_KERNEL, MAX_PADDED_KERNEL
from steelyard.contract.registers import (
    COUNTERS,
    MAGIC,
    REGISTERS,
    UNIT_COUNTERS,
    VERSION,
    Command,
    Register,
    Space,
    Status,
    command_word,
)
from steelyard.engines.crossbar import MAPPINGS, CrossbarConfig
from steelyard.network.random import random_network

DOCS = Path(__file__).parents[2] / "docs"
ARRAY = configure("array", lanes=4, columns=4, requantizers=4)
TILE = configure("crossbar", lanes=4, requantizers=4, crossbar=CrossbarConfig(rows=64, columns=64))
NETWORK_SEED = 4


def section(page: str, number: int) -> str:
    """Text of a numbered section of a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.split(r"^## ", text, flags=re.MULTILINE)[number]


def rows(text: str) -> dict[str, str]:
    """First cell and the rest of each row of all tables."""
    found = re.findall(r"^\| ([^|]*?) *\| (.*) \|$", text, re.MULTILINE)
    return {first: rest for first, rest in found if not set(first) <= {"-", ":"}}


def test_the_table_of_the_descriptor_has_every_field_in_its_place():
    table = rows(section("architecture.md", 6))
    for name, field in FIELDS.items():
        cell = table[str(field.word)]
        shown = next(part for part in re.split("[;,]", cell) if re.search(rf"`?\b{name}\b", part))
        high = field.low + field.width - 1
        place = f"[{high}:{field.low}]" if field.width > 1 else f"[{field.low}]"
        assert place in shown or field.width == 32, name
        assert ("signed" in shown or "int8" in shown) is field.signed, name
        assert (f"{name} - {field.offset}" in shown) is bool(field.offset), name
    used = {field.word for field in FIELDS.values()}
    assert {int(word) for word in table if word.isdecimal()} == used


def numbered(text: str) -> dict[str, int]:
    """Names of the rows that begin with a number and a name, with their numbers."""
    named = (re.match(r"(\d+) `?(\w+)`?$", first) for first in rows(text))
    return {found[2]: int(found[1]) for found in named if found}


def table(text: str, heading: str) -> str:
    """The table of a text whose first column has a heading."""
    return next(part for part in text.split("\n\n") if part.startswith(f"| {heading} |"))


def test_the_tables_of_the_host_port_are_those_of_the_contract():
    text = section("architecture.md", 7)
    for command in Command:
        assert f"| {command.name} | `0x{command_word(command):08X}" in text
    for heading, members in (("space", Space), ("register", Register)):
        assert numbered(table(text, heading)) == {each.name.lower(): each for each in members}
    assert f"`{MAGIC:#010x}`" in text.replace("0x594C5453", "0x594c5453")
    assert f"| 1 version | {VERSION}:" in text
    bits = dict(re.findall(r"bit (\d) (\w+)", rows(text)["10 status"]))
    assert bits == {str(bit.bit_length() - 1): bit.name.lower() for bit in Status}
    assert list(numbered(table(text, "counter"))) == list(COUNTERS)
    assert max(Register) + 1 == REGISTERS


def test_the_list_of_the_units_counters_is_that_of_the_contract():
    text = section("crossbar.md", 5)
    listed = text[text.index("Space 6 of the host port") :].split(", and a zero")[0]
    assert re.findall(r"`(\w+)`", listed) == list(UNIT_COUNTERS)
    assert len(UNIT_COUNTERS) + 1 == len(COUNTERS) == 8


def test_the_tables_of_the_link_are_those_of_the_contract():
    text = section("link.md", 3)
    low = 0
    for name, bits in HEAD_FIELDS.items():
        assert f"{name} `[{low + bits - 1}:{low}]`" in rows(text)["0"]
        low += bits
    shown = {
        name: int(number) for number, name in re.findall(r"^\| (\d+) ([A-Z_]+) \|", text, re.M)
    }
    assert shown == {kind.name: kind for kind in (*Request, *Reply)}
    opened = " ".join(text[text.index("The words of OPENED") :].split())
    for place, what in (("7:0", f"version of the link ({LINK_VERSION})"), ("19:8", "most words")):
        assert f"`[{place}]` {what}" in opened
    assert OPENED_FIELDS == {"version": 8, "payload_words": 12, "answer_words": 12}
    buffers = section("link.md", 4)
    assert WINDOW == 2 and "There are two buffers for frames" in buffers


@pytest.mark.parametrize("config", [ARRAY, TILE], ids=["array", "tile"])
def test_the_table_of_the_program_file_has_every_entry(config, tmp_path):
    program = compile(random_network(NETWORK_SEED), config.with_(weight_words=1 << 16))
    program.save(tmp_path / "net.syp")
    with zipfile.ZipFile(tmp_path / "net.syp") as archive:
        manifest = json.loads(archive.read("manifest.json"))
        arrays = {name.removesuffix(".npy") for name in archive.namelist()} - {"manifest.json"}
    text = section("architecture.md", 8)
    shown = [name for first in rows(text) for name in re.findall(r"`(\w+)`", first)]
    assert sorted(shown) == sorted(manifest)
    for name in arrays:
        part = re.sub(r"^network/layer\d+", "", name)
        assert f"`{part}`" in text or f"`network/layerN{part}`" in text, name


def test_the_table_of_mappings_has_every_method():
    assert set(MAPPINGS) <= {first.strip("`") for first in rows(section("crossbar.md", 3))}


def test_readme_promises_the_kernels_that_the_check_allows():
    text = " ".join((DOCS.parent / "README.md").read_text(encoding="utf-8").split())
    padded, bare = (f"{side}x{side}" for side in (MAX_PADDED_KERNEL, MAX_KERNEL))
    promise = f"strides 1 to {MAX_CONV_STRIDE}; kernels up to {bare}, those over {padded} padded by"
    assert promise in text
    assert configure("array").load.padded_kernel == MAX_PADDED_KERNEL


def test_the_page_of_operators_has_each_that_is_imported():
    import steelyard.importer  # noqa: F401 - operators register themselves
    from steelyard.importer.registry import OPERATORS

    tables = [rows(section("operators.md", number)) for number in (1, 2)]
    cells = [cell for table in tables for cell in table if cell != "coordinates"]
    named = [name for cell in cells for name in re.findall(r"`([A-Z]\w+)`", cell)]
    assert sorted(named) == sorted(OPERATORS)
    text = section("operators.md", 1)
    assert f"strides from 1 to {MAX_CONV_STRIDE}" in text
    assert f"of kernels up to {MAX_PADDED_KERNEL}x{MAX_PADDED_KERNEL}" in text


def test_the_layer_table_of_the_tile_says_what_its_docstring_says():
    network = random_network(NETWORK_SEED)
    array, tile = (
        compile(network, config.with_(weight_words=1 << 16)).layers for config in (ARRAY, TILE)
    )
    weighty = [layer.kind in ("conv", "fc") for layer in network.layers]
    assert any(weighty) and not all(weighty)
    assert [entry.k is not None for entry in array] == weighty
    assert all(entry.k is None for entry in tile)
    for entries in (array, tile):
        for entry, has in zip(entries, weighty, strict=True):
            assert (entry.ideal_cycles > 0) is has
            assert entry.ideal_cycles < entry.predicted_cycles


LIGHT = {
    "steelyard": set(),
    "steelyard.contract.accelerator": set(),
    "steelyard.network": {"numpy"},
    "steelyard.network.golden": {"numpy", "threadpoolctl"},
    "steelyard.engines.crossbar": {"numpy", "threadpoolctl"},
    "steelyard.compile": {"numpy"},
    "steelyard.program": {"numpy"},
    "steelyard.driver": {"cobs", "numpy", "threadpoolctl"},
}
"""Packages that the light core takes, as `steelyard/__init__.py` says."""


@pytest.mark.parametrize("module", LIGHT)
def test_the_light_core_imports_what_it_says(module):
    code = (
        "import importlib, sys\n"
        f"importlib.import_module({module!r})\n"
        "print(*{n.split('.')[0] for n, m in sys.modules.items()"
        " if 'site-packages' in (getattr(m, '__file__', None) or '')})\n"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    found = {name for name in result.stdout.split() if not name.startswith(("_", "sitecustom"))}
    assert found - {"steelyard", "cython_runtime"} == LIGHT[module]
