"""Estimated clocks of the ECP5 against what was placed and routed."""

import itertools
import json
import math
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from steelyard.contract import AcceleratorConfig, configure
from steelyard_boards import BOARDS, board
from steelyard_boards.families.ecp5 import ECP5
from steelyard_boards.families.ecp5_clock import NS, SPEED, terms

ROOT = Path(__file__).parents[2]
ECP5_BOARDS = [each.name for each in BOARDS.values() if each.device.family is ECP5]


def lines(name):
    text = (ROOT / "experiments" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def routed(held_out):
    """Of each configuration that was routed: device, configuration and its clocks."""
    rows = {(row["board"], row["hash"]): row for row in lines("estimators.json")}
    found: dict = {}
    for line in lines("clocks.json"):
        place = line["board"], line["hash"]
        # What the router finds no way for has no clock.
        if rows[place]["held_out"] == held_out and line["fmax_mhz"]:
            found.setdefault(place, []).append(line["fmax_mhz"])
    return [
        (board(name).device, AcceleratorConfig.from_dict(rows[name, key]["config"]), clocks)
        for (name, key), clocks in found.items()
    ]


def test_no_placement_is_in_the_file_twice():
    every = [(line["board"], line["hash"], line["seed"]) for line in lines("clocks.json")]
    assert len(every) == len(set(every))


def test_the_law_of_the_clock_follows_from_what_was_routed():
    made = routed(held_out=False)
    assert len(made) >= 10
    every = [terms(config, device.family.demand(config).luts) for device, config, _ in made]
    amounts = np.array([[*own.values()] for own in every])
    assert NS.keys() == every[0].keys()
    periods = np.array([1e3 / statistics.median(clocks) for *_, clocks in made])
    slow = np.array([device.speed_grade for device, *_ in made]) == 6

    def missed(*law):
        shares = np.where(slow, SPEED[6], law[-1])
        return float(((shares * (amounts @ law[:-1]) / periods - 1) ** 2).sum())

    # No law beside it is nearer, but for what rounding makes of it.
    law = (*NS.values(), SPEED[8])
    steps = (0.05, 0.05, 0.0005, 0.005)
    for signs in itertools.product((-1, 0, 1), repeat=len(law)):
        beside = [own + sign * step for own, sign, step in zip(law, signs, steps, strict=True)]
        # Nothing makes a path shorter.
        assert min(beside) < 0 or missed(*law) <= missed(*beside) * (1 + 1e-4)


def test_estimates_are_as_near_to_what_was_routed_as_the_documents_say():
    notes = (ROOT / "docs" / "notes" / "explore.md").read_text(encoding="utf-8")
    nine = {}
    for name, held_out in (("fitted", False), ("held out", True)):
        made = routed(held_out)
        errors = sorted(
            abs(device.fmax_of(config) / clock - 1)
            for device, config, clocks in made
            for clock in clocks
        )
        nine[name] = errors[math.ceil(0.9 * len(errors)) - 1]
        told = (statistics.median(errors), nine[name], errors[-1])
        shares = " | ".join(f"{100 * each:.1f} %" for each in told)
        assert f"| {name} | {len(made)} | {len(errors)} | {shares} |" in notes
    assert nine["held out"] <= ECP5.fmax_error < nine["held out"] + 0.01


def test_clocks_are_estimated_where_the_law_holds():
    large = board("ulx3s_85f")
    own = large.device.fmax_of(large.default)
    assert own < board("ecpix5").device.fmax_of(large.default)
    assert own <= large.device.fmax_of(large.default.with_(columns=4))
    for device, config in (
        (large.device, large.external),
        (large.device, configure("crossbar")),
        (board("tang_primer_20k").device, board("tang_primer_20k").default),
        (replace(large.device, speed_grade=0), large.default),
    ):
        assert device.fmax_of(config) is None


@pytest.mark.parametrize("name", ECP5_BOARDS)
def test_speed_grades_are_those_of_the_platforms(name):
    assert board(name).device.speed_grade == int(board(name).platform().speed)
