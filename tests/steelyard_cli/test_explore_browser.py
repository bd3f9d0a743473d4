"""The page of an exploration in a real browser: what is drawn, and what a mouse does there."""

import io
import json
import math
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import matplotlib.image
import numpy as np
import pytest

import browser
from steelyard_cli import main

pytestmark = pytest.mark.skipif(
    browser.program() is None and "CI" not in os.environ,
    reason="no browser here; 'make apt-chromium' installs one",
)

FRONT, BEST, GROUND = (204, 68, 0), (0, 136, 0), (255, 255, 255)
"""Colors of the page's style."""


@pytest.fixture(scope="module")
def page(work, tmp_path_factory):
    """Path of a page, with a point of another K, which has no commands."""
    folder = tmp_path_factory.mktemp("found")
    explore = ["explore", work.int8_onnx, "--board", "ulx3s_12f", "--k", 1, "--count", 60]
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, [*explore, "--seed", 3, "-o", folder])))
    assert not ended.value.code
    return folder / "explore.html"


@pytest.fixture
def opened(page, tmp_path):
    """A browser with that page, and what the page has in its data."""
    with browser.browser(tmp_path / "profile") as shown:
        shown.open(page.as_uri())
        yield shown, json.loads(shown.ask("document.getElementById('data').textContent"))


WORDS = "document.getElementById('words').textContent"
CENTRES = """JSON.stringify([...document.querySelectorAll(%r)].map((each) => {
  const box = each.getBoundingClientRect();
  return [box.left + box.width / 2, box.top + box.height / 2];
}))"""
ON_TOP = "document.elementFromPoint(%f, %f).closest('[data-number]').dataset.number"


def centres(shown, what):
    """Where the middles of elements lie in the window."""
    return json.loads(shown.ask(CENTRES % what))


def color(picture, place):
    x, y = place
    return tuple(picture[round(y), round(x)])


def test_the_plot_is_drawn(opened):
    shown, data = opened
    shown.ask("document.querySelectorAll('circle').forEach((each) => each.setAttribute('r', 2))")
    file = io.BytesIO(shown.picture())
    picture = np.round(matplotlib.image.imread(file)[..., :3] * 255).astype(int)
    circles = centres(shown, "circle")
    assert len(circles) == len(data["front"]) > 3
    drawn = [color(picture, place) for place in circles]
    assert drawn.count(BEST) == 1
    assert set(drawn) == {FRONT, BEST}
    # The dots, away from circles and lines: the ground is not white there.
    scale = shown.ask("document.querySelector('svg').getBoundingClientRect().width / 960")
    left, top = shown.ask("[...Object.values(document.querySelector('svg')"
                          ".getBoundingClientRect().toJSON())].slice(0, 2)")  # fmt: skip
    dots = [(left + scale * x, top + scale * y) for x, y in data["places"][0]]
    assert all(color(picture, place) != GROUND for place in dots)
    # Circles lie upon the dots of their points.
    assert all(min(math.dist(place, dot) for dot in dots) < 1 for place in circles)
    # Every axis has its ticks and titles, inside of the plot.
    texts = centres(shown, "svg text")
    assert len(texts) > 8
    assert all(left < x < left + 960 * scale and top < y < top + 480 * scale for x, y in texts)
    assert shown.faults == []


def test_pointing_shows_a_configuration(opened):
    shown, data = opened
    seen = set()
    for x, y in centres(shown, "circle"):
        shown.point(x, y)
        # Circles may lie upon each other.
        number = int(shown.ask(ON_TOP % (x, y)))
        assert shown.ask(WORDS) == data["front"][number]
        seen.add(number)
    assert len(seen) > 3
    left, top, width = shown.ask(
        "((box) => [box.left, box.top, box.width])"
        "(document.querySelector('svg').getBoundingClientRect())"
    )
    under = 0
    for place in data["places"][0]:
        x, y = (start + width / 960 * at for start, at in zip((left, top), place, strict=True))
        if shown.ask(f"document.elementFromPoint({x}, {y}).tagName") == "circle":
            continue
        shown.point(x, y)
        # A mouse is in whole pixels.
        there = [
            words
            for words, other in zip(data["points"], data["places"][0], strict=True)
            if math.dist(place, other) < 3
        ]
        assert shown.ask(WORDS) in there
        under += 1
    assert under > 5
    assert shown.faults == []


@pytest.mark.parametrize("granted", [True, False], ids=["clipboard", "no clipboard"])
def test_a_click_copies_the_commands(opened, granted):
    shown, data = opened
    if granted:
        shown.grant("clipboardSanitizedWrite")
    rows = [n for n, commands in enumerate(data["commands"]) if commands]
    without = next(n for n, commands in enumerate(data["commands"]) if not commands)
    for number in (rows[0], rows[-1]):
        shown.ask(f"document.querySelector('tr[data-number=\"{number}\"]').scrollIntoView()")
        shown.click(*centres(shown, f"tr[data-number='{number}']")[0])
        assert shown.ask(WORDS) == f"Copied: {data['commands'][number]}"
        # The clipboard is written when it suits the browser.
        end = time.monotonic() + 10
        while (pasted := shown.pasted()) != data["commands"][number] and time.monotonic() < end:
            time.sleep(0.02)
        assert pasted == data["commands"][number]
    shown.ask(f"document.querySelector('tr[data-number=\"{without}\"]').scrollIntoView()")
    shown.click(*centres(shown, f"tr[data-number='{without}']")[0])
    assert shown.ask(WORDS).startswith("Prune the network to this first: ")
    assert shown.pasted() == data["commands"][rows[-1]]
    assert shown.faults == []


ASK_FOR = (
    "new Promise((done) => { const i = new Image(); i.onload = i.onerror = done; i.src = %r })"
)


def test_no_request_leaves_the_page(opened, page, tmp_path):
    shown, _ = opened
    for place in centres(shown, "circle"):
        shown.point(*place)
        shown.click(*place)
    # The page itself alone.
    assert shown.requests == [page.as_uri()]
    assert shown.faults == []
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *words):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            elsewhere = f"http://127.0.0.1:{server.server_port}"
            # Not even a script that was smuggled in can; on another page it does.
            shown.ask(ASK_FOR % f"{elsewhere}/page")
            assert any("Content Security Policy" in each for each in shown.faults)
            plain = tmp_path / "plain.html"
            plain.write_text("<p>")
            shown.open(plain.as_uri())
            shown.ask(ASK_FOR % f"{elsewhere}/plain")
        finally:
            server.shutdown()
            thread.join()
    assert asked == ["/plain"]
    assert shown.requests[-1] == f"{elsewhere}/plain"
