"""The flow with small programs in the tools' place: what it leaves and says of failures."""

import json
import re
import sys

import pytest

from steelyard.errors import UserError
from steelyard_boards import board
from steelyard_boards.flow import BuildFailed, build
from steelyard_boards.flow.build import FLOWS

pytestmark = pytest.mark.usefixtures("small_design")

YOSYS = """
import json, pathlib
gate = {'type': 'DCCA', 'connections': {'CLKO': [7]}}
top = {'cells': {'gate': gate}, 'netnames': {'a': {'bits': [6]}, 'pll.clock': {'bits': [7]}}}
pathlib.Path('top.json').write_text(json.dumps({'modules': {'top': top}}))
"""
NEXTPNR = """
import json, pathlib, sys
def of(option): return sys.argv[sys.argv.index(option) + 1]
seed = int(of('--seed'))
pathlib.Path(of('--textcfg')).write_text(f'seed {seed}')
pathlib.Path(of('--log')).write_text('Info: routed')
pathlib.Path('arguments.json').write_text(json.dumps(sys.argv))
clocks = {'a': {'achieved': 57.5 + 5 * seed, 'constraint': 150.0}, 'b': {'achieved': 400.0}}
cells = ('TRELLIS_COMB', 'TRELLIS_FF', 'MULT18X18D', 'DP16KD')
used = {name: {'used': n, 'available': 100} for n, name in enumerate(cells)}
pathlib.Path(of('--report')).write_text(json.dumps({'fmax': clocks, 'utilization': used}))
"""
ECPPACK = """
import pathlib, sys
def of(option): return sys.argv[sys.argv.index(option) + 1]
pathlib.Path(of('--bit')).write_bytes(pathlib.Path(of('--input')).read_bytes())
"""


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
