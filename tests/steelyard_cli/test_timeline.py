"""Picture of a timeline: what its bars span, what it says, and that it reads well."""

import copy
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from matplotlib.colors import to_hex

from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.network.random import random_network
from steelyard.report import timeline_document
from steelyard_cli.view.timeline_picture import (
    BETWEEN,
    MOVED,
    SHARES,
    timeline_figure,
    timeline_picture,
)

MEMORIES = {"activation_words": 1 << 16, "weight_words": 1 << 16, "parameter_words": 1 << 12}
NETWORK = random_network(1, layers=4)
TIMELINE = timeline_document(compile(NETWORK, configure("array", **MEMORIES)))
TILE = timeline_document(compile(NETWORK, configure("crossbar", **MEMORIES)))
COLORS = {color: name for name, (_, color) in {**SHARES, "between": BETWEEN, **MOVED}.items()}


def bars(axes):
    """Name of the colour, row, left and right end of each bar."""
    found = []
    for patch in axes.patches:
        name = COLORS.get(to_hex(patch.get_facecolor()))
        if name:
            left = patch.get_x()
            row = round(patch.get_y())
            found.append((name, row, left, left + patch.get_width()))
    return found


@pytest.mark.parametrize("timeline", [TIMELINE, TILE], ids=["array", "tile"])
def test_bars_span_the_run_without_gaps_and_with_the_shares_of_the_document(timeline):
    run, own = timeline_figure(timeline).axes
    now = 0.0
    lengths = {}
    for name, row, left, right in sorted(bars(run), key=lambda bar: bar[2:]):
        assert left == pytest.approx(now)
        now = right
        lengths[row, name] = lengths.get((row, name), 0) + right - left
    assert now == pytest.approx(timeline["cycles"])
    shares = {(row, name): right - left for name, row, left, right in bars(own)}
    for row, layer in enumerate(timeline["layers"]):
        opening = timeline["opening"] * (row == 0)
        assert lengths[row, "between"] == pytest.approx(layer["between"] + opening)
        for name, cycles in layer["shares"].items():
            assert lengths.get((row, name), 0) == pytest.approx(cycles)
            assert shares.get((row, name), 0) == pytest.approx(100 * cycles / layer["cycles"])
        for name in MOVED:
            assert shares[row, name] == pytest.approx(100 * layer[name] / layer["cycles"])


def test_the_caption_says_what_is_known():
    caption = timeline_picture(TIMELINE).caption
    assert "cycles of one batch from START on, predicted: a bar" in caption
    assert "when in the layer each of these cycles was is not told" in caption
    assert "--run" not in caption and "along with another" not in caption
    tile = timeline_picture(TILE).caption
    assert "from START on, predicted at most: a bar" in tile
    assert "is known only of a run (--run)" in tile
    measured = timeline_picture({**TIMELINE, "measured": True}).caption
    assert "from START on, measured: a bar" in measured


def test_layers_without_cycles_have_no_row_and_long_names_lose_their_beginning():
    timeline = copy.deepcopy(TIMELINE)
    first, second = timeline["layers"][:2]
    first["name"] = "model/features/" * 4 + "block/conv_a"
    timeline["layers"].insert(1, {**second, "name": "joined", "cycles": 0, "between": 0})
    run, _ = timeline_figure(timeline).axes
    names = [label.get_text() for label in run.get_yticklabels()]
    assert len(names) == len(TIMELINE["layers"])
    assert names[0] == "…" + first["name"][-31:] and "joined" not in names
    assert "computed along with another" in timeline_picture(timeline).caption


def test_the_picture_is_the_same_text_each_time_and_wellformed():
    picture = timeline_picture(TIMELINE)
    assert picture == timeline_picture(copy.deepcopy(TIMELINE))
    texts = [each.text for each in ElementTree.fromstring(picture.svg).iter() if each.text]
    for label, _ in (SHARES["engine"], SHARES["vector"], SHARES["wait_load"], BETWEEN):
        assert label in texts
    assert SHARES["unknown"][0] not in texts


def test_names_and_numbers_of_fifty_layers_do_not_overlap():
    timeline = copy.deepcopy(TIMELINE)
    layer = timeline["layers"][0]
    step = layer["cycles"] + layer["between"]
    start = timeline["opening"]
    timeline["layers"] = [
        {**layer, "name": f"block{n}/conv", "start": start + n * step} for n in range(50)
    ]
    timeline["cycles"] = start + 50 * step
    figure = timeline_figure(timeline)
    figure.canvas.draw()
    run, own = figure.axes
    for texts in (run.get_yticklabels(), run.texts):
        boxes = [text.get_window_extent() for text in texts]
        assert len(boxes) == 50
        assert all(above.y0 >= below.y1 - 0.5 for above, below in pairwise(boxes))
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
    numbers = {label.get_text() for label in own.get_xticklabels(which="both")}
    assert numbers >= {"0", "100"}
    assert run.xaxis.get_tick_params()["labeltop"] is True


def test_the_cycles_of_a_layer_that_is_all_of_the_run_stand_in_its_bar():
    timeline = copy.deepcopy(TIMELINE)
    layer = {**timeline["layers"][0], "cycles": 123_456_789, "shares": dict.fromkeys(SHARES, 0)}
    layer["shares"]["engine"] = layer["cycles"]
    timeline |= {"layers": [layer], "cycles": layer["start"] + layer["cycles"] + layer["between"]}
    figure = timeline_figure(timeline)
    figure.canvas.draw()
    run, _ = figure.axes
    (text,) = run.texts
    (name,) = run.get_yticklabels()
    assert text.get_text() == "123,456,789"
    assert name.get_window_extent().x1 < run.bbox.x0 < text.get_window_extent().x0
    assert text.get_window_extent().x1 < run.bbox.x1
