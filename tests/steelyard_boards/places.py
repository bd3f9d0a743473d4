"""Asks nextpnr whether its devices have the places that columns get: ``python places.py``.

Not collected by pytest: ``make bitstream-ci`` installs nextpnr and then asks this.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from steelyard_boards.flow.floorplan import GRIDS, floorplan
from steelyard_boards.flow.tools import require_tool

DEVICES = {"LFE5U-85F": "--85k"}


def check(name: str) -> None:
    """Exit with a sentence if cells in all places of a device do not come to lie there.

    nextpnr refuses a place that it does not know, and two cells in one.
    """
    grid = GRIDS[name]
    cells = {}
    for column in range(len(grid.blocks) * len(grid.rows)):
        own = f"array.column_{column}"
        for number in range(4):
            cells[f"{own}.multipliers.multiplier_{number}.multiplier"] = {"type": "MULT18X18D"}
            cells[f"{own}.window.0.{number}"] = {"type": "DP16KD"}
    places = floorplan(grid, cells)
    for cell, place in places.items():
        cells[cell] |= {
            "attributes": {"BEL": place, "keep": "1"},
            "parameters": {}, "port_directions": {}, "connections": {},
        }  # fmt: skip
    top = {"attributes": {"top": "1"}, "ports": {}, "cells": cells, "netnames": {}}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "top.json").write_text(json.dumps({"modules": {"top": top}}))
        command = [*require_tool("NEXTPNR_ECP5", "nextpnr-ecp5"), DEVICES[name], "--package",
                   "CABGA381", "--json", "top.json", "--no-route", "--write", "placed.json",
                   "--log", "nextpnr.log"]  # fmt: skip
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"nextpnr refuses the places of {name}: {done.stderr[-500:]}")
        placed = json.loads(Path(folder, "placed.json").read_text())["modules"]["top"]["cells"]
    found = {cell: each["attributes"]["NEXTPNR_BEL"] for cell, each in placed.items()}
    if len(places) != len(cells) or found != places:
        sys.exit(f"Columns of {name} do not lie where they were put, or not all have places")
    print(f"{name}: {len(places)} places")


if __name__ == "__main__":
    for device in GRIDS:
        check(device)
