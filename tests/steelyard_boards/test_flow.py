"""The flow with small programs in the tools' place: what it leaves and says of failures."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from interrupts import interruptible
from small_tools import ECPPACK, NEXTPNR, PACK, YOSYS, alive
from steelyard.errors import UserError
from steelyard_boards import board
from steelyard_boards.flow import BuildFailed, Outcome, build, route, synthesize
from steelyard_boards.flow.build import FLOWS

pytestmark = pytest.mark.usefixtures("small_design")


@pytest.fixture
def tools(put_tool):
    """Function that puts a program in a tool's place; all three work at first."""
    put_tool("YOSYS", YOSYS)
    put_tool("NEXTPNR_ECP5", NEXTPNR)
    put_tool("ECPPACK", ECPPACK)
    return put_tool


TINY = board("ulx3s_25f").default.with_(columns=2)


def make(folder, **options):
    small = board("ulx3s_25f")
    return build(small, TINY, folder, **options)[0]


COLUMNS = YOSYS.replace(
    "top = {",
    """cells = {f"array.column_{n}.multipliers.multiplier_{lane}.multiplier": {"type": "MULT18X18D"}
         for n in range(16) for lane in range(8)}
top = {""",
).replace("{'gate': gate}", "{'gate': gate, **cells}")


@pytest.mark.parametrize(("name", "placed"), [("ulx3s_85f", 128), ("ulx3s_45f", 0)])
def test_the_columns_of_a_large_array_have_places(tools, tmp_path, name, placed):
    tools("YOSYS", COLUMNS)
    made = board(name)
    build(made, TINY, tmp_path, seeds=(5,))
    netlist = json.loads((tmp_path / "work" / "top.json").read_text())["modules"]["top"]
    places = [cell.get("attributes", {}).get("BEL") for cell in netlist["cells"].values()]
    assert len([place for place in places if place]) == placed
    arguments = json.loads((tmp_path / "work" / "arguments.json").read_text())
    assert ("static" in arguments) == (placed > 0)


def test_the_best_seed_becomes_the_bitstream(tools, tmp_path):
    heard = []
    summary = make(tmp_path / "out", seeds=(1, 3, 2), log=heard.append)
    assert summary.fmax_seeds == [62.5, 72.5, 67.5]
    assert summary.fmax_mhz == 67.5
    assert (summary.lut, summary.ff, summary.dsp, summary.bram) == (0, 1, 2, 3)
    assert (summary.clock_mhz, summary.macs_per_cycle) == (62.5, 8)
    assert summary.bitstream == str(tmp_path / "out" / "ulx3s_25f.bit")
    assert (tmp_path / "out" / "ulx3s_25f.bit").read_text() == "seed 3"
    # The router is asked for more than the clock.
    constraints = (tmp_path / "out" / "work" / "top.lpf").read_text().splitlines()
    assert constraints[-1] == 'FREQUENCY NET "pll.clock" 85937500 HZ;'
    assert any(line.startswith("synthesis") for line in heard)
    assert any(line.startswith("place and route, seed 2") for line in heard)


def test_a_design_that_misses_its_clock_leaves_no_bitstream(tools, tmp_path):
    make(tmp_path / "out", seeds=(1,))
    tools("NEXTPNR_ECP5", NEXTPNR.replace("57.5", "57.4"))
    assert make(tmp_path / "out", seeds=(1,)).bitstream is None
    assert not (tmp_path / "out" / "ulx3s_25f.bit").exists()


def test_a_tool_that_fails_is_named_with_its_reason_and_log(tools, tmp_path):
    tools("YOSYS", "print('ERROR: no such module'); raise SystemExit(3)")
    with pytest.raises(BuildFailed) as caught:
        make(tmp_path / "out", seeds=(1,))
    log = tmp_path / "out" / "work" / "top.rpt"
    assert str(caught.value) == (
        f"Synthesis failed with status 3 (ERROR: no such module); see {str(log)!r}."
    )


def test_a_missing_tool_is_refused(monkeypatch):
    monkeypatch.setenv("YOSYS", "/no/such/yosys")
    with pytest.raises(UserError, match="The variable YOSYS names the command '/no/such/yosys'"):
        FLOWS["nextpnr-ecp5"].find_tools()
    monkeypatch.setenv("YOSYS", f"{sys.executable} -c pass")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(UserError, match="needs 'nextpnr-ecp5', which is not here; install it"):
        FLOWS["nextpnr-ecp5"].find_tools()


def test_the_command_prints_and_writes_the_summary(tools, tmp_path, steelyard):
    result = steelyard("bitstream", "ulx3s_25f", "--seeds", "2", "-o", tmp_path / "out")
    assert result.status == 0, result.err
    assert "fmax 65.0 MHz (median of 2), best 67.5 MHz; the clock is 62.5 MHz" in result.out
    assert "ulx3s_25f.bit" in result.out
    assert "LUT a MAC. Dense ECP5 designs: CFU-Playground hps_accel 141" in result.out
    assert list(json.loads((tmp_path / "out" / "summary.json").read_text())) == [
        "lut", "ff", "dsp", "bram", "lut_per_mac", "fmax_mhz", "fmax_seeds", "clock_mhz",
        "macs_per_cycle", "demo_fps", "bitstream",
    ]  # fmt: skip


def test_the_command_fails_where_the_clock_is_missed(tools, tmp_path, steelyard):
    tools("NEXTPNR_ECP5", NEXTPNR.replace("57.5", "50.0"))
    result = steelyard("bitstream", "ulx3s_25f", "--seeds", "1", "-o", tmp_path / "out")
    assert result.status == 1
    assert "reaches 55.0 MHz at best where the clock of board 'ulx3s_25f' is 62.5 MHz" in result.err
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["bitstream"] is None
    # The clock that is proposed can be made, and is reached.
    remedy = re.search(r"try (--clock) ([0-9.]+), more seeds", result.err)
    assert remedy is not None and 50 <= float(remedy[2]) <= 55
    result = steelyard(
        "bitstream", "ulx3s_25f", "--seeds", "1", "-o", tmp_path / "out", *remedy.groups()
    )
    assert result.status == 0, result.err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["clock_mhz"] == float(remedy[2])
    refused = steelyard("bitstream", "ulx3s_25f", "-o", tmp_path / "no", "--clock", "61.3")
    assert refused.status == 2
    assert "cannot make 61.3 MHz" in refused.err


def test_synthesis_alone_counts_what_placement_will(tools, tmp_path):
    tools("NEXTPNR_ECP5", PACK)
    made = synthesize(board("ulx3s_25f"), TINY, tmp_path)
    assert made.outcome == Outcome(lut=6983, ff=7281, dsp=28, bram=53)
    # What place and route needs and no more: the design's own text is large.
    assert {"top.json", "top.lpf", "build_top.sh"} <= made.files.keys()
    assert not any(name.endswith((".il", ".v")) for name in made.files)
    tools("NEXTPNR_ECP5", "open('pack.log', 'w').write('Info: nothing')")
    with pytest.raises(BuildFailed, match=r"^The log of nextpnr has no table of cells; use one"):
        synthesize(board("ulx3s_25f"), TINY, tmp_path)


def test_what_was_synthesized_is_placed_elsewhere_as_in_a_build(tools, tmp_path):
    tools("NEXTPNR_ECP5", PACK + NEXTPNR)
    small = board("ulx3s_25f")
    files = synthesize(small, TINY, tmp_path / "one").files
    assert route(small, files, tmp_path / "other", seeds=(1, 3)) == [62.5, 72.5]
    build(small, TINY, tmp_path / "whole", seeds=(3,))
    for name in ("arguments.json", "top.lpf", "top.json"):
        there = (tmp_path / "whole" / "work" / name).read_text()
        assert (tmp_path / "other" / name).read_text() == there


RUNNING = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from steelyard_boards.flow.tools import run_tool
with ThreadPoolExecutor() as pool:  # as seeds are placed
    command = [sys.executable, '-c', sys.argv[1]]
    pool.submit(run_tool, command, Path(sys.argv[2]), 'a.log', 'it', print).result()
"""
SLEEPING = """
import os, pathlib, time
pathlib.Path('pid').write_text(str(os.getpid()))
time.sleep(99)
"""


@pytest.mark.parametrize("how", ["killed", "interrupted"])
def test_a_tool_ends_with_whoever_wanted_it(tmp_path, how):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", RUNNING, SLEEPING, tmp_path]
    with interruptible():
        process = subprocess.Popen(
            command, env=environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    with process:
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        pid = int((tmp_path / "pid").read_text())
        assert alive(pid)
        if how == "killed":
            process.kill()
        else:
            # As a terminal does, to all processes of a command.
            os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=20)
    wait_for(lambda: not alive(pid))


def test_a_tool_that_was_killed_is_said_to_be(tools, tmp_path):
    tools("YOSYS", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(BuildFailed, match=f"^Synthesis failed with status -{signal.SIGSEGV:d} "):
        make(tmp_path / "out", seeds=(1,))


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
