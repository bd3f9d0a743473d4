"""``steelyard explore`` and ``compile --auto``: what they write, and that its commands work."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from py_mini_racer import MiniRacer

from interrupts import interruptible
from small_tools import NEXTPNR, PACK, alive, install
from steelyard.contract import AcceleratorConfig
from steelyard.program import Program
from steelyard_boards import Device, board
from steelyard_boards.families.ecp5 import ECP5
from steelyard_cli.view.explore_tables import error_words

BOARD = "icebreaker"
DRAW = ("--count", 60, "--seed", 3)


@pytest.fixture
def explored(steelyard, work, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = steelyard("explore", work.int8_onnx, "--board", "ulx3s_12f", *DRAW, "-o", "found")
    assert result.status == 0, result.err
    return result


def document(folder: str = "found") -> dict:
    return json.loads(Path(folder, "explore.json").read_text())


class Page(HTMLParser):
    """Elements with their attributes, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] == "script":
            self.scripts[-1] += data


def test_the_table_and_the_document_say_the_same(explored):
    found = document()
    assert found["network"] == "int8" and found["objectives"] == ["fps", "lut"]
    (own,) = found["boards"]
    assert own["evaluated"] == own["to_evaluate"] == 60 and own["stopped"] is None
    assert own["configurations"] > 1000
    assert len(own["points"]) == found["found"] > 5
    assert all(len(row) == len(own["names"]) for row in own["points"])
    best = found["front"][found["best"]]
    assert f"{best['cycles']:,}" in explored.out
    assert f"{best['frames_per_second']:,.1f} images a second on board ulx3s_12f" in explored.out
    assert "60 of 60 configurations planned" in explored.err
    # Each of the front is one of the points, and no point beats it.
    names = own["names"]
    rows = [dict(zip(names, row, strict=True)) for row in own["points"]]
    for each in found["front"]:
        assert {name: each[name] for name in names} in rows
        assert not any(
            row["luts"] <= each["luts"] and row["cycles"] < each["cycles"] for row in rows
        )
    for row in rows:
        assert row["frames_per_second"] == pytest.approx(80e6 / row["cycles"])


def test_fields_on_the_template_make_the_configurations(explored):
    found = document()
    (own,) = found["boards"]
    template = AcceleratorConfig.from_dict(own["template"])
    for number, each in enumerate(found["front"]):
        fields = {name: each[name] for name in own["names"] if name in template.plain()}
        config = template.with_(**fields)
        assert config.hash().hex() == each["hash"] and config.values() == each["config"]
        name = "best.toml" if number == found["best"] else f"front/{number:03}.toml"
        assert AcceleratorConfig.from_toml(Path("found", name)) == config


def test_the_commands_of_the_front_work(explored, steelyard):
    found = document()
    for each in found["front"]:
        compiling, building = (shlex.split(text) for text in each["commands"])
        assert compiling[0] == building[0] == "steelyard"
        result = steelyard(*compiling[1:])
        assert result.status == 0, result.err
        program = Program.load(compiling[compiling.index("-o") + 1])
        assert program.config.hash().hex() == each["hash"]
        assert f"{each['cycles'] / 80e6 * 1e3:.3g} ms a batch" in result.out
        # What 'bitstream' checks before it builds.
        assert building[1:3] == ["bitstream", "ulx3s_12f"]
        config = AcceleratorConfig.from_toml(building[building.index("--config") + 1])
        board("ulx3s_12f").check(config, program)
    shown = explored.out.splitlines()[-2:]
    assert shown == found["front"][found["best"]]["commands"]


def test_the_same_exploration_gives_the_same_bytes(explored, steelyard, work):
    before = {path.name: path.read_bytes() for path in Path("found").rglob("*") if path.is_file()}
    steelyard(
        "explore", work.int8_onnx, "--board", "ulx3s_12f", *DRAW, "-o", "found", "--workers", 1
    )
    after = {path.name: path.read_bytes() for path in Path("found").rglob("*") if path.is_file()}
    assert before == after and len(before) > 3
    # And so do other processes that know nothing.
    steelyard("explore", work.int8_onnx, "--board", "ulx3s_12f", *DRAW, "-o", "other")
    pages = [Path(name, "explore.json").read_bytes() for name in ("found", "other")]
    assert pages[0].replace(b"found", b"other") == pages[1].replace(b"found", b"other")


def test_the_page_holds_every_point_and_needs_nothing_else(explored):
    text = Path("found/explore.html").read_text()
    found, page = document(), Page(text)
    data = json.loads(page.scripts[0])
    points = found["boards"][0]["points"]
    assert len(data["points"]) == len(points) == len(data["places"][0])
    names = found["boards"][0]["names"]
    for words, row in zip(data["points"], points, strict=True):
        row = dict(zip(names, row, strict=True))
        assert f": {row['cycles']:,} cycles, " in words and f"{row['luts']:,} LUTs" in words
        assert f"{row['lanes']} lanes x {row['columns']} columns" in words
    assert data["commands"] == ["\n".join(each["commands"]) for each in found["front"]]
    circles = [attributes for tag, attributes in page.elements if tag == "circle"]
    assert [int(each["data-number"]) for each in circles] == list(range(len(found["front"])))
    (dots,) = [a["d"] for tag, a in page.elements if tag == "path" and a["class"] == "dots"]
    assert dots.count("M") == len(points)
    # Nothing is loaded from elsewhere, and browsers are told so.
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"link", "img", "iframe", "object", "embed", "image", "use", "base"}
    assert not any({"src", "href", "xlink:href", "action"} & a.keys() for _, a in page.elements)
    assert not re.search(r"https?:|//\w|@import|url\(|fetch\(|XMLHttpRequest|WebSocket", text)
    (policy,) = [a["content"] for tag, a in page.elements if a.get("http-equiv")]
    assert policy.startswith("default-src 'none';")


def test_the_pages_script_shows_and_copies(explored):
    script = Path(__file__).with_name("explore_page.js")
    engine = MiniRacer()
    engine.eval(script.read_text(encoding="utf-8"))
    did, found = json.loads(engine.call("act", Path("found/explore.html").read_text())), document()
    data = json.loads(Page(Path("found/explore.html").read_text()).scripts[0])
    commands = ["\n".join(each["commands"]) for each in found["front"]]
    # The circles and, below, the rows of the table.
    assert did["copied"] == commands * 2
    assert did["clicked"] == [f"Copied: {text}" for text in commands] * 2
    assert did["pointed"] == data["front"] * 2
    # Where several points lie in one place, one of these is shown.
    places = data["places"][0]
    for words, place in zip(did["hovered"], places, strict=True):
        there = [data["points"][n] for n, other in enumerate(places) if other == place]
        assert words in there
    assert did["away"] == "nothing"


def test_points_lie_where_their_figures_say(explored):
    found, page = document(), Page(Path("found/explore.html").read_text())
    front = found["front"]
    circles = [a for tag, a in page.elements if tag == "circle"]
    order = sorted(range(len(front)), key=lambda n: front[n]["luts"])
    across = [float(circles[n]["cx"]) for n in order]
    assert across == sorted(across) and across[0] >= 70 and across[-1] <= 890
    # The front is ordered from the fastest; high up is fast.
    heights = [float(each["cy"]) for each in circles]
    assert heights == sorted(heights) and heights[0] >= 70 and heights[-1] <= 410


def test_bars_show_how_far_luts_may_be_off(explored):
    found, page = document(), Page(Path("found/explore.html").read_text())
    (error,) = {each["luts_error"] for each in found["boards"]}
    assert 0 < error < 0.1
    assert f"LUTs are estimates, {100 * error:.1f} % off at most where measured" in explored.out
    bars = [a["d"] for tag, a in page.elements if tag == "path" and a["class"] == "bar"]
    circles = [a for tag, a in page.elements if tag == "circle"]
    assert len(bars) == len(circles) == len(found["front"]) > 2
    # The axis begins at 0, so that lengths are shares.
    for bar, circle in zip(bars, circles, strict=True):
        low, height, high = map(float, re.fullmatch(r"M(\S+) (\S+)H(\S+)", bar).groups())
        middle = float(circle["cx"])
        assert height == float(circle["cy"])
        assert low == pytest.approx(middle - error * (middle - 70), abs=0.2)
        assert high == pytest.approx(min(middle + error * (middle - 70), 890), abs=0.2)


def test_luts_of_unknown_error_say_so():
    boards = [("a", 0.05), ("b", None), ("c", 0.05)]
    told = {"boards": [{"board": name, "luts_error": e, "fmax_error": None} for name, e in boards]}
    assert error_words(told) == (
        "LUTs of a, c are estimates, 5.0 % off at most where measured; LUTs of b are a fit whose "
        "error was not measured"
    )
    told["boards"] = told["boards"][1:2]
    assert error_words(told) == "LUTs are a fit whose error was not measured"
    told["boards"][0]["fmax_error"] = 0.1
    assert error_words(told).endswith(
        "; clocks are estimates, nine of ten placements within 10.0 %"
    )


def test_what_is_estimated_to_miss_the_clock_is_marked_and_left_out(
    steelyard, work, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    edge = 80 / (1 + ECP5.fmax_error)
    monkeypatch.setattr(
        Device, "fmax_of", lambda _, config: edge + 12.3 - config.engine.macs_per_cycle
    )
    explore = ("explore", work.int8_onnx, "--board", "ulx3s_12f", *DRAW)
    result = steelyard(*explore, "-o", "found")
    assert result.status == 0, result.err
    found = document()
    (told,) = found["boards"]
    rows = [dict(zip(told["names"], row, strict=True)) for row in told["points"]]
    for row in rows:
        assert row["misses_clock"] == (row["lanes"] * row["columns"] > 12)
        assert row["misses_clock"] == (row["fmax_mhz"] * (1 + told["fmax_error"]) < 80)
    missing = sum(row["misses_clock"] for row in found["front"])
    assert 0 < missing < len(found["front"])
    assert f"marked !, {missing} of the front: estimated to miss the board's clock" in result.out
    best = found["front"][found["best"]]
    assert f"; clock estimated at {best['fmax_mhz']} MHz" in result.out
    slow = next(row for row in found["front"] if row["misses_clock"])
    assert f" {slow['fmax_mhz']:.0f} !" in result.out
    page = Path("found/explore.html").read_text()
    assert page.count(" !</td>") == missing
    data = json.loads(Page(page).scripts[0])
    for words, row in zip(data["points"], rows, strict=True):
        assert f", clock estimated at {row['fmax_mhz']:.0f} MHz" in words
        assert words.endswith(", too low for the board's") == row["misses_clock"]

    result = steelyard(*explore, "--meets-clock", "-o", "found")
    assert result.status == 0, result.err
    assert "marked !" not in result.out
    less = document()
    assert not any(row["misses_clock"] for row in less["front"])
    assert less["allowed"] == sum(not row["misses_clock"] for row in rows) < found["allowed"]

    monkeypatch.setattr(Device, "fmax_of", lambda *_: edge - 1)
    result = steelyard(*explore, "--meets-clock", "-o", "found")
    assert result.status == 1
    assert "but none keeps to --meets-clock; leave that out." in result.err


def test_names_of_a_network_do_not_get_into_the_page_as_elements(steelyard, work, tmp_path):
    odd = tmp_path / "a<b>&'c.onnx"
    odd.write_bytes(work.int8_onnx.read_bytes())
    where = ("--board", "ulx3s_12f", "--count", 30, "-o", tmp_path / "f <i>")
    result = steelyard("explore", odd, *where)
    assert result.status == 0, result.err
    page = Page((tmp_path / "f <i>" / "explore.html").read_text())
    assert not {"b", "i"} & {tag for tag, _ in page.elements}
    assert len(page.scripts) == 2
    compiling = json.loads((tmp_path / "f <i>" / "explore.json").read_text())["front"][0]
    assert steelyard(*shlex.split(compiling["commands"][0])[1:]).status == 0


def test_what_was_explored_is_asked_other_things_at_once(explored, steelyard, work):
    again = steelyard(
        "explore", work.int8_onnx, "--board", "ulx3s_12f", *DRAW, "-o", "found",
        "--objective", "lut",
    )  # fmt: skip
    assert again.status == 0, again.err
    assert "60 of 60 configurations planned, 60 of them before" in again.err
    (best,) = document()["front"]
    (own,) = document()["boards"]
    # What the front before had is gone.
    assert [path.name for path in Path("found").rglob("*.toml")] == ["best.toml"]
    assert best["luts"] == min(row[own["names"].index("luts")] for row in own["points"])
    Path("found/record.sqlite").write_text("something else " * 1000)
    broken = steelyard("explore", work.int8_onnx, "--board", "ulx3s_12f", *DRAW, "-o", "found")
    broken.refused("Record 'found/record.sqlite' cannot be opened", "remove it")
    Path("found/record.sqlite").unlink()
    mended = steelyard("explore", work.int8_onnx, "--board", "ulx3s_12f", *DRAW, "-o", "found")
    assert mended.status == 0, mended.err


def test_constraints_and_accuracy_choose(steelyard, work, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("y.npy", np.arange(20) % 5)
    known = ("--images", work.images, "--labels", "y.npy", "--k", 1)
    where = ("--board", "ulx3s_12f", "--count", 120)
    objectives = ("--objective", "accuracy", "--objective", "fps")
    result = steelyard("explore", work.int8_onnx, *where, *known, *objectives, "-o", "found")
    assert result.status == 0, result.err
    assert "accuracy as it is: " in result.err and "accuracy with 1 of each 16" in result.err
    found = document()
    (own,) = found["boards"]
    place = {name: number for number, name in enumerate(own["names"])}
    shares = {row[place["k"]]: row[place["accuracy"]] for row in own["points"]}
    assert set(shares) == {None, 1} and all(0 <= share <= 1 for share in shares.values())
    assert found["front"][0]["accuracy"] == max(shares.values())
    assert {each["k"] for each in found["front"]} == {None, 1}
    assert found["front"][found["best"]]["k"] is None and Path("found/best.toml").exists()
    assert all(bool(each["commands"]) == (each["k"] is None) for each in found["front"])
    assert Path("found/explore.html").read_text().count("<svg") == 2

    few = sorted(row[place["luts"]] for row in own["points"])[10]
    result = steelyard("explore", work.int8_onnx, *where, "--max-lut", few, "-o", "few")
    assert result.status == 0, result.err
    assert all(each["luts"] <= few for each in document("few")["front"])
    result = steelyard("explore", work.int8_onnx, *where, *known, "--min-accuracy", 1, "-o", "none")
    assert result.status == 1
    assert "but none keeps to --min-accuracy; allow less accuracy." in result.err


def test_a_float_network_is_pruned_to_each_k(steelyard, work, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("y.npy", np.arange(20) % 5)
    known = ("--images", work.images, "--labels", "y.npy", "--k", 1)
    pruning = ("--float", work.float_onnx, "--calibration", work.images)
    where = ("--board", "ulx3s_12f", "--count", 120)
    result = steelyard("explore", work.int8_onnx, *where, *known, *pruning, "-o", "found")
    assert result.status == 0, result.err
    assert "accuracy with 1 of each 16 weights, pruned and repaired: " in result.err
    assert "number 0 has the commands that build it" in result.out
    front = document()["front"]
    each = next(row for row in front if row["k"] == 1)
    compiling = shlex.split(each["commands"][0])
    assert compiling[2] == "found/pruned/k1.onnx"
    compiled = steelyard(*compiling[1:])
    assert compiled.status == 0, compiled.err
    assert f"{each['cycles'] / 80e6 * 1e3:.3g} ms a batch" in compiled.out
    again = steelyard("explore", work.int8_onnx, *where, *known, *pruning, "-o", "found")
    assert "1 of 1 networks were pruned before" in again.err


def test_pruning_needs_all_that_it_takes(steelyard, work):
    explore = ("explore", work.int8_onnx, "--board", BOARD)
    source, images = ("--float", work.float_onnx), ("--calibration", work.images)
    steelyard(*explore, "--k", 2, *source).refused("--float was given without --calibration")
    steelyard(*explore, "--k", 2, *images).refused("--calibration was given without --float")
    steelyard(*explore, *source, *images).refused("there is none; give --k N")


def test_what_needs_labels_says_so(steelyard, work):
    explore = ("explore", work.int8_onnx, "--board", BOARD)
    steelyard(*explore, "--min-accuracy", 0.9).refused("--min-accuracy needs inputs with known")
    steelyard(*explore, "--objective", "accuracy").refused("--objective accuracy needs inputs")
    steelyard(*explore, "--images", work.images).refused("--images was given without --labels")


@pytest.mark.parametrize("text", ["0", "soon", "-1s", "3 d"])
def test_a_wrong_time_is_refused(steelyard, work, text):
    steelyard("explore", work.int8_onnx, f"--limit={text}").refused(f"{text!r} is no time", "90s")


def test_a_wrong_board_is_refused_with_the_names(steelyard, work):
    steelyard("explore", work.int8_onnx, "--board", "no").refused("no board 'no'", "ulx3s_85f")


def test_several_boards_and_batches_share_a_front(steelyard, work, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    where = ("--board", "ulx3s_12f", "--board", "ulx3s_45f", "--batch", 1, "--batch", 2)
    result = steelyard("explore", work.int8_onnx, *where, "--count", 60, "-o", "found")
    assert result.status == 0, result.err
    found = document()
    assert [each["board"] for each in found["boards"]] == ["ulx3s_12f", "ulx3s_45f"]
    assert [[d["batch"] for d in each["defaults"]] for each in found["boards"]] == [[1, 2]] * 2
    assert {each["batch"] for each in found["front"]} <= {1, 2}
    for each in found["front"]:
        (own,) = (other for other in found["boards"] if other["board"] == each["board"])
        (default,) = (d for d in own["defaults"] if d["batch"] == each["batch"])
        ratio = each["frames_per_second"] / default["frames_per_second"]
        assert each["times_default"] == pytest.approx(ratio)


def test_an_interrupt_leaves_what_is_known(work, tmp_path):
    batches = [word for batch in range(1, 40) for word in ("--batch", str(batch))]
    command = [sys.executable, "-m", "steelyard_cli", "explore", str(work.int8_onnx)]
    command += ["--board", "ulx3s_12f", *batches, "-o", str(tmp_path / "found")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with interruptible():
        process = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            # What is done after the configurations that the board holds have been counted.
            if re.match(r"exploring ulx3s_12f: \d+ %, [1-9]", line):
                break
        begin = time.monotonic()
        # A terminal interrupts all processes of the command.
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert time.monotonic() - begin < 5
    assert process.returncode == 130, err
    assert "Traceback" not in err and "error: Interrupted." in err
    found = json.loads((tmp_path / "found" / "explore.json").read_text())
    (own,) = found["boards"]
    assert own["stopped"] == "interrupted"
    assert 0 < own["evaluated"] < own["to_evaluate"] and found["best"] is not None


def test_later_stages_build_some_of_the_front(steelyard, work, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    install(tmp_path, monkeypatch.setenv, NEXTPNR_ECP5=PACK + NEXTPNR.replace("57.5", "77.5"))
    stages = ("--to", "placement", "--points", 2, "--seeds", 1, "--workers", 1)
    explore = ("explore", work.int8_onnx, "--board", "ulx3s_12f", *DRAW, "-o", "found", *stages)
    result = steelyard(*explore)
    assert result.status == 0, result.err
    found = document()
    assert found["stage"] == "placement" and found["stopped"] is None
    built = [each["built"] for each in found["front"] if each["built"]]
    assert [each["lut"] for each in built] == [6983, 6983]
    best = found["front"][found["best"]]
    assert best["built"]["fmax_mhz"] == [82.5] and best["built"]["reason"] is None
    assert "2 of the front synthesized, 1 placed" in result.out
    assert "synthesized: 6,983 LUTs where" in result.out and "placed: 82.5 MHz" in result.out
    page = Path("found/explore.html").read_text()
    assert "<th>LUTs synthesized</th>" in page and "<td>82.5</td>" in page
    # Nothing is built again, and the same bytes are written.
    before = Path("found/explore.json").read_bytes()
    again = steelyard(*explore)
    assert "3 of the later stages' jobs were done before" in again.err
    assert Path("found/explore.json").read_bytes() == before


SLEEPING = """
import os, pathlib, sys, time
with open(sys.argv[0] + '.pids', 'a') as file:
    file.write(f'{os.getpid()}\\n')
time.sleep(99)
"""


def test_an_interrupt_of_a_synthesis_leaves_no_tool_behind(work, tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    install(tmp_path, environment.__setitem__, YOSYS=SLEEPING)
    command = [sys.executable, "-m", "steelyard_cli", "explore", str(work.int8_onnx)]
    command += ["--board", "ulx3s_12f", *map(str, DRAW), "-o", str(tmp_path / "found")]
    command += ["--to", "synthesis", "--workers", "2"]
    with interruptible():
        process = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    pids = tmp_path / "yosys.pids"
    with process:
        end = time.monotonic() + 60
        while not pids.exists() or pids.read_text().count("\n") < 2:
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.05)
        begin = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert time.monotonic() - begin < 5
    assert process.returncode == 130, err
    assert "Traceback" not in err and "error: Interrupted." in err
    found = json.loads((tmp_path / "found" / "explore.json").read_text())
    assert found["stopped"] == "interrupted" and found["best"] is not None
    end = time.monotonic() + 5
    while any(alive(int(pid)) for pid in pids.read_text().split()):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_auto_compiles_for_the_best(steelyard, work, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    where = ("--board", BOARD)
    result = steelyard("compile", work.int8_onnx, "-o", "net.syp", *where, "--auto")
    assert result.status == 0, result.err
    assert "'steelyard bitstream icebreaker --config net.toml'" in result.err
    program = Program.load("net.syp")
    assert AcceleratorConfig.from_toml("net.toml") == program.config
    board(BOARD).check(program.config, program)
    assert steelyard("explore", work.int8_onnx, *where, "-o", "found").status == 0
    found = document()
    best = found["front"][found["best"]]
    assert program.config.hash().hex() == best["hash"]
    assert best["cycles"] == min(each["cycles"] for each in found["front"])


def test_auto_beside_what_it_chooses_is_refused(steelyard, work):
    compiling = ("compile", work.int8_onnx, "-o", "net.syp", "--auto")
    steelyard(*compiling).refused("--auto looks for", "name one with --board")
    there = ("--board", BOARD)
    steelyard(*compiling, *there, "--config", work.config).refused("what --config would fix")
    steelyard(*compiling, *there, "--k", "dense").refused("what --k would fix")
    steelyard(*compiling, *there, "--engine", "crossbar").refused("what --engine would fix")
