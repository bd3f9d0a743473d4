"""Flows other than the ECP5's with small programs in the tools' place."""

import json

import pytest

from steelyard_boards import board
from steelyard_boards.flow import BuildFailed, build
from steelyard_boards.flow.nextpnr import WithoutEnd

pytestmark = pytest.mark.usefixtures("small_design")

NETLIST = """
import json, pathlib, sys
if '-l' not in sys.argv:  # asked for its version, not for a synthesis
    raise SystemExit(0)
def cells(**counts):
    return {f'{kind}{n}': {'type': kind} for kind, count in counts.items() for n in range(count)}
def write(name, **counts):
    top = {'cells': cells(**counts), 'netnames': {}}
    pathlib.Path(name).write_text(json.dumps({'modules': {'top': top}}))
"""
NEXTPNR = """
import json, pathlib, sys
def of(option): return sys.argv[sys.argv.index(option) + 1]
pathlib.Path(of('--log')).write_text(' '.join(sys.argv[1:]))
pathlib.Path(of(OUTPUT)).write_text('routed')
used = {name: {'used': n, 'available': 100} for n, name in enumerate(CELLS, 1)}
document = {'fmax': {'clk': {'achieved': 41.5}}, 'utilization': used}
pathlib.Path(of('--report')).write_text(json.dumps(document))
"""
XILINX_CELLS = "LUT6=5, LUT2=1, RAM32M=2, SRL16E=1, FDRE=7, DSP48E1=3, RAMB18E1=2, RAMB36E1=1"
VIVADO = r'''
import pathlib
pathlib.Path('vivado.log').write_text('steelyard: slack SLACK\n')
pathlib.Path('top.bit').write_text('bits')
pathlib.Path('top_utilization_place.rpt').write_text("""
| Slice LUTs                 | 5120 |     0 |     20800 | 24.6 |
| Slice Registers            | 6001 |     0 |     41600 | 14.4 |
| Block RAM Tile |  12.5 |     0 |        50 | 25.0 |
| DSPs           |   35 |     0 |        90 | 38.9 |
""")
'''


def nextpnr(output, *cells):
    """Program in nextpnr's place: its option of the output, and the cells that it counts."""
    return f"OUTPUT = {output!r}\nCELLS = {cells!r}\n{NEXTPNR}"


def tiny(name):
    """A board's configuration with one small column."""
    return board(name).default.with_(lanes=4, columns=1, requantizers=1)


def test_gowin_tools_get_the_options_of_the_present_port(put_tool, tmp_path):
    put_tool("YOSYS", f"{NETLIST}write('top.syn.json', DFFE=2)")
    cells = ("LUT4", "ALU", "DFF", "BSRAM", "MULT18X18", "MULT9X9")
    put_tool("NEXTPNR_GOWIN", nextpnr("--write", *cells))
    put_tool("GOWIN_PACK", "open('top.fs', 'w').write('packed')")
    name = "tang_primer_20k"
    summary, _ = build(board(name), tiny(name), tmp_path / "out", seeds=(7,))
    arguments = (tmp_path / "out" / "work" / "seed7.log").read_text()
    assert "--vopt family=GW2A-18C" in arguments
    assert "--vopt cst=top.cst" in arguments
    assert f"--freq {2 * board(name).clock_hz / 1e6}" in arguments
    assert (summary.lut, summary.ff, summary.bram, summary.dsp) == (1 + 2, 3, 4, 5 + 3)
    assert summary.fmax_seeds == [41.5]
    assert (tmp_path / "out" / f"{name}.fs").read_text() == "packed"


def test_ice40_registers_are_those_of_the_netlist(put_tool, tmp_path):
    cells = "SB_DFF=2, SB_DFFESR=3, SB_LUT4=1"
    put_tool("YOSYS", f"{NETLIST}write('top.json', {cells})")
    put_tool("NEXTPNR_ICE40", nextpnr("--asc", "ICESTORM_LC", "ICESTORM_RAM", "ICESTORM_DSP"))
    put_tool("ICEPACK", "open('top.bin', 'w').write('packed')")
    summary, _ = build(board("icebreaker"), tiny("icebreaker"), tmp_path / "out", seeds=(1,))
    assert (summary.lut, summary.ff, summary.bram, summary.dsp) == (1, 5, 2, 3)
    assert (tmp_path / "out" / "icebreaker.bin").read_text() == "packed"


ENDLESS = """
import time
def of(option): return sys.argv[sys.argv.index(option) + 1]
if of('--seed') in SEEDS:
    pathlib.Path(of('--log')).write_text(
        'Info:     iter=1000 wires=61774 overused=2 overuse=2 tmgfail=0 archfail=NA')
    time.sleep(60)
"""


@pytest.mark.parametrize("endless", ["1", "12"])
def test_a_router_that_finds_no_way_is_stopped(put_tool, tmp_path, endless):
    put_tool("YOSYS", f"{NETLIST}write('top.json', SB_DFF=2, SB_LUT4=1)")
    tool = nextpnr("--asc", "ICESTORM_LC", "ICESTORM_RAM", "ICESTORM_DSP")
    put_tool("NEXTPNR_ICE40", f"import pathlib, sys\nSEEDS = {endless!r}\n{ENDLESS}{tool}")
    put_tool("ICEPACK", "open('top.bin', 'w').write('packed')")
    board_, out = board("icebreaker"), tmp_path / "out"
    if endless == "1":
        summary, _ = build(board_, tiny("icebreaker"), out, seeds=(1, 2))
        assert summary.fmax_seeds == [0.0, 41.5]
        assert (out / "icebreaker.bin").exists()
        return
    sentence = r"^Nothing could be routed with the seeds 1, 2; try more of them, or a smaller conf"
    with pytest.raises(BuildFailed, match=sentence):
        build(board_, tiny("icebreaker"), out, seeds=(1, 2))
    assert not out.joinpath("icebreaker.bin").exists()


def routing(counts):
    """First iteration after which the router is stopped, of the wires in each other's way, or 0."""
    watch = WithoutEnd()
    for iteration, overused in enumerate(counts, 1):
        line = f"Info:     iter={iteration} wires=957188 overused={overused} overuse=1 archfail=NA"
        if reason := watch(line):
            sentence = (
                f"after {iteration} iterations {overused} wires are still in each other's way"
            )
            assert reason == sentence
            return iteration
    return 0


def test_a_crowded_router_is_stopped_when_it_comes_no_further():
    assert routing([40_000 // n + 9_000 for n in range(1, 200)]) == 66
    assert routing([*range(40_000, 9_000, -500), *[9_000] * 100]) == 62 + 31
    # Slowly, but on and on: a twentieth in 30 iterations.
    assert routing([round(20_000 * 0.998**n) for n in range(999)]) == 0
    # The last few may take long.
    assert routing([900] * 999) == 0
    assert routing([900] * 1000) == 1000


@pytest.fixture
def no_vivado(put_tool, monkeypatch):
    put_tool("YOSYS", f"{NETLIST}write('top.json', {XILINX_CELLS})")
    monkeypatch.delenv("VIVADO", raising=False)
    monkeypatch.setenv("PATH", "")


def test_without_vivado_the_project_is_written_and_estimated(no_vivado, tmp_path, steelyard):
    tiny("arty_a7").to_toml(tmp_path / "tiny.toml")
    out = tmp_path / "out"
    result = steelyard("bitstream", "arty_a7", "--config", tmp_path / "tiny.toml", "-o", out)
    assert result.status == 0, result.err
    assert "Vivado, which makes this board's bitstream, is not here" in " ".join(result.out.split())
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["lut"], summary["ff"], summary["dsp"], summary["bram"]) == (15, 7, 3, 4)
    assert summary["bitstream"] is None
    assert summary["fmax_mhz"] is None
    assert "module top" in (out / "top.v").read_text()
    assert "set_property LOC E3 [get_ports" in (out / "top.xdc").read_text()
    script = (out / "build.tcl").read_text()
    assert "-part xc7a35ticsg324-1L" in script
    assert "add_files top.v" in script
    assert "write_bitstream" in script


def test_vivado_makes_the_bitstream_where_it_is_here(put_tool, tmp_path):
    put_tool("VIVADO", VIVADO.replace("SLACK", "2.0"))
    summary, outcome = build(board("arty_a7"), tiny("arty_a7"), tmp_path / "out")
    assert (summary.lut, summary.ff, summary.dsp, summary.bram) == (5120, 6001, 35, 25)
    assert summary.fmax_seeds == [125.0]
    assert outcome.missing == ""
    assert (tmp_path / "out" / "arty_a7.bit").read_text() == "bits"


def test_a_missed_clock_leaves_no_bitstream_of_vivado(put_tool, tmp_path):
    put_tool("VIVADO", VIVADO.replace("SLACK", "-0.1"))
    summary, _ = build(board("arty_a7"), tiny("arty_a7"), tmp_path / "out")
    assert summary.fmax_mhz == 99.01
    assert summary.bitstream is None


def test_a_log_without_slack_is_a_failure(put_tool, tmp_path):
    put_tool("VIVADO", VIVADO.replace("steelyard", "other"))
    with pytest.raises(BuildFailed, match="Vivado told no slack"):
        build(board("arty_a7"), tiny("arty_a7"), tmp_path / "out")
