"""Compiled simulation of a small hand-written design: library, cache, streams and transport."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from steelyard.contract import configure
from steelyard.driver import DeviceTimeout
from steelyard.errors import UserError
from steelyard_sim import Simulation, SimulationTransport, build_library, build_verilog
from steelyard_sim.build import toolchain
from steelyard_sim.build.toolchain import BuildFailed

DESIGN = """
module echo(input clk, input rst, input i__valid, output i__ready, input [31:0] i__payload,
            output o__valid, input o__ready, output [31:0] o__payload, output busy);
  // Answers each word plus one; takes a word in every other cycle and is busy for word 0's cycles.
  reg full = 0, odd = 0;
  reg [31:0] word = 0, left = 0;
  assign i__ready = ~full & odd;
  assign o__valid = full;
  assign o__payload = word + 1;
  assign busy = left != 0;
  always_ff @(posedge clk) begin
    odd <= ~odd;
    if (busy) left <= left - 1;
    if (i__valid & i__ready) begin
      full <= 1;
      word <= i__payload;
      left <= i__payload;
    end
    if (o__valid & o__ready) full <= 0;
    if (rst) begin
      full <= 0;
      left <= 0;
    end
  end
endmodule
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def use_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture(scope="module")
def built(cache: Path) -> list[tuple[str, list[str]]]:
    """What two processes got that asked at once: the library and the steps they reported."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        return pool.map(_build_in_process, [str(cache)] * 2, chunksize=1)


@pytest.fixture
def library(built: list[tuple[str, list[str]]]) -> Path:
    return build_verilog(DESIGN, "echo")


def words(*values: int) -> np.ndarray:
    return np.array(values, np.uint32)


def _build_in_process(folder: str) -> tuple[str, list[str]]:
    os.environ["XDG_CACHE_HOME"] = folder
    steps: list[str] = []
    return str(build_verilog(DESIGN, "echo", log=steps.append)), steps


def test_processes_that_ask_at_once_build_once(built, cache):
    assert built[0][0] == built[1][0] == str(build_verilog(DESIGN, "echo"))
    steps = [
        "Generating Verilog of the design 'echo'",
        "Compiling the simulation of the design 'echo'",
    ]
    assert sorted(result[1] for result in built) == [[], steps]
    assert not list((cache / "steelyard").glob("build-*"))


def test_a_library_is_taken_from_the_cache(library):
    steps = []
    assert build_verilog(DESIGN, "echo", log=steps.append) == library
    assert steps == []


def test_a_cut_library_is_built_again(library):
    objects = list(library.parent.glob("*.o"))
    assert objects
    for path in (library, *objects):
        # Other tests may have the library in memory: its file must not shrink.
        cut = path.with_name("cut")
        cut.write_bytes(path.read_bytes()[:5000])
        cut.replace(path)
    # A library that is still cut would end this process.
    with Simulation(build_verilog(DESIGN, "echo")) as simulation:
        assert simulation.write(words(6), 10) == 1
    assert all(path.stat().st_size > 5000 for path in objects)


def test_another_design_or_tool_is_another_library(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled = []

    def record(verilog, top, target, tools, *, trace):
        compiled.append((verilog, trace))
        target.touch()

    monkeypatch.setattr("steelyard_sim.build.library.compile_library", record)
    changed = DESIGN.replace("word + 1", "word + 2")
    build_verilog(DESIGN, "echo")
    build_verilog(changed, "echo")
    build_verilog(DESIGN, "echo", trace=True)
    build_verilog(DESIGN, "echo")
    monkeypatch.setattr(toolchain, "FAST", ("-O1",))
    build_verilog(DESIGN, "echo")
    assert compiled == [(DESIGN, False), (changed, False), (DESIGN, True), (DESIGN, False)]


def test_every_configuration_is_another_library(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        "steelyard_sim.build.library.compile_library",
        lambda verilog, top, target, tools, trace: target.write_text(verilog),
    )
    monkeypatch.setattr("steelyard_hw.verilog.convert", lambda config: config.canonical())
    configurations = [configure("array"), configure("array", columns=8)]
    libraries = [build_library(config) for config in configurations]
    assert [each.read_text() for each in libraries] == [e.canonical() for e in configurations]


def test_a_broken_design_is_refused_and_leaves_nothing(cache):
    before = set((cache / "steelyard").glob("*.so"))
    with pytest.raises(BuildFailed, match="verilator_bin exited with 1: .*syntax error"):
        build_verilog("module echo(; endmodule", "echo")
    assert set((cache / "steelyard").glob("*.so")) == before
    assert not list((cache / "steelyard").glob("build-*"))


def test_a_missing_compiler_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"needs a C\+\+20 compiler.*install one"):
        build_verilog(DESIGN, "echo")


def test_a_cache_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written .*; set XDG_CACHE_HOME to a folder"):
        build_verilog(DESIGN, "echo")


def test_streams_obey_ready_and_valid(library):
    with Simulation(library) as simulation:
        assert simulation.cycles == 4
        # The one-word buffer is full after the first word, so nothing more is taken.
        assert simulation.write(words(7, 8), limit=20) == 1
        assert simulation.cycles == 24
        assert simulation.read(2, limit=20).tolist() == [8]
        assert simulation.write(words(8), limit=20) == 1
        assert simulation.read(1, limit=20).tolist() == [9]
        assert simulation.read(0, limit=20).tolist() == []


def test_clock_runs_only_when_told(library):
    with Simulation(library) as simulation:
        simulation.step(1000)
        assert simulation.cycles == 1004


def test_waiting_ends_when_busy_falls_or_at_the_limit(library):
    with Simulation(library) as simulation:
        simulation.write(words(100), limit=10)
        start = simulation.cycles
        assert not simulation.wait_idle(50)
        assert simulation.cycles == start + 50
        assert simulation.wait_idle(1000)
        assert simulation.cycles == start + 100
        simulation.read(1, 10)
        simulation.write(words(5000), limit=10)
        simulation.reset()
        assert simulation.wait_idle(1)


def test_simulations_are_independent(library):
    with Simulation(library) as one, Simulation(library) as other:
        one.write(words(1), limit=10)
        assert other.read(1, limit=10).size == 0
        assert one.read(1, limit=10).tolist() == [2]


def test_a_closed_simulation_says_so(library):
    simulation = Simulation(library)
    simulation.close()
    simulation.close()
    with pytest.raises(ValueError, match="The simulation is closed"):
        simulation.step(1)


def test_a_trace_needs_a_library_with_tracing(library, tmp_path):
    with pytest.raises(ValueError, match="cannot write the trace"):
        Simulation(library, trace=tmp_path / "echo.vcd")


def test_a_trace_holds_the_ports(tmp_path):
    path = tmp_path / "echo.vcd"
    with Simulation(build_verilog(DESIGN, "echo", trace=True), trace=path) as simulation:
        simulation.write(words(3), limit=10)
    text = path.read_text()
    assert "i__payload" in text
    assert "b00000000000000000000000000000011 " in text


def test_transport_moves_words_and_times_out(library):
    transport = SimulationTransport(Simulation(library))
    transport.write(words(41), timeout=1)
    assert transport.read(1, timeout=1).tolist() == [42]
    transport.write(words(1000), timeout=1)
    transport.wait_idle(timeout=1)
    with pytest.raises(DeviceTimeout, match="took 0 of 1 words in its time, after .* hangs"):
        transport.write(words(1), timeout=0.01)
    transport.read(1, timeout=1)
    with pytest.raises(DeviceTimeout, match="gave 0 of 3 words in its time, after .* hangs"):
        transport.read(3, timeout=0.01)
    transport.write(words(0xFFFFFFFF), timeout=1)
    with pytest.raises(DeviceTimeout, match="did not finish in its time, after .* cycles"):
        transport.wait_idle(timeout=0.01)
    # In a run its cycles count, not seconds.
    before = transport.simulation.cycles
    with transport.expecting(300_000, 10) as seconds, pytest.raises(DeviceTimeout, match="finish"):
        transport.wait_idle(timeout=seconds)
    assert 300_000 < transport.simulation.cycles - before < 500_000
    transport.close()
