"""The later stages with small programs in the tools' place: what they say of a front."""

from dataclasses import replace

import pytest

from small_tools import NEXTPNR, PACK, YOSYS, install
from steelyard.errors import UserError
from steelyard_boards import board
from steelyard_cli.bench import networks as bench
from steelyard_explore import Jobs, Record, Variant, conclude, explore, refine
from steelyard_explore.jobs import Job
from steelyard_explore.stages import placement_job, synthesis_job

BOARD = board("ulx3s_12f")


class Here:
    """A cluster that is this process."""

    def carry_out(self, tasks, done, seconds=None, shared=None):
        for task in tasks:
            done(task, task.function(*task.arguments))
        return ""


@pytest.fixture(scope="module")
def conclusion():
    network = bench.reference(4)
    return conclude(network, [explore([Variant(network=network)], BOARD, count=150, seed=7)])


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Function that puts other programs in the tools' places; all work at first."""
    counting = f"import pathlib; pathlib.Path({str(tmp_path)!r}, 'runs').open('a').write('y')\n"
    monkeypatch.setattr("steelyard_boards.flow.tools.POLL_SECONDS", 0.02)

    def put(**texts):
        install(tmp_path, monkeypatch.setenv, **{"YOSYS": counting + YOSYS} | texts)

    put()
    return put


@pytest.fixture(autouse=True)
def small_design(monkeypatch):
    """Designs of nothing, which take no time."""
    from amaranth.hdl import Module
    from amaranth.lib import wiring
    from amaranth.lib.wiring import In, Out

    class Wire(wiring.Component):
        def __init__(self, config, **parameters):
            super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

        def elaborate(self, platform):
            m = Module()
            m.d.sync += self.tx.eq(self.rx)
            return m

    monkeypatch.setattr("steelyard_boards.top.SerialAccelerator", Wire)


def refined(conclusion, stage, record=None, **options):
    return refine(conclusion, Jobs(Here(), record), stage, **options)


def test_some_of_the_front_are_synthesized_the_best_among_them(conclusion, tools):
    assert len(conclusion.front) > 4
    done = refined(conclusion, "synthesis", points=3)
    assert len(done.built) == 3 and done.stage == "synthesis" and not done.stopped
    assert done.best is conclusion.best is conclusion.front[0]
    assert done.built_of(done.front[-1]) is not None
    for each in done.built.values():
        assert (each.lut, each.ff, each.multipliers, each.block_rams) == (6983, 7281, 28, 53)
        assert not each.reason and not each.fmax_mhz
    assert len(refined(conclusion, "synthesis", points=1).built) == 1


def test_each_is_placed_with_each_seed_until_the_clock_is_known(conclusion, tools):
    # 62.5 MHz and 67.5 MHz, where the board has 80.
    done = refined(conclusion, "placement", points=2, seeds=2)
    (best,) = (each for each in done.built.values() if each.seeds)
    assert best.fmax_mhz == (62.5, 67.5) and best.seeds == 2
    assert best.reason == "It reaches 67.5 MHz at best where the board's clock is 80 MHz."
    # The other has the same cells, so the faster one alone is left; it is the best no more.
    assert done.best is conclusion.front[1]
    tools(NEXTPNR_ECP5=PACK + NEXTPNR.replace("57.5", "77.5"))
    done = refined(conclusion, "placement", points=2, seeds=2)
    assert done.best is conclusion.front[0]
    assert done.built_of(done.best).fmax_mhz == (82.5, 87.5)


def test_what_takes_more_than_the_device_has_is_not_placed(conclusion, tools):
    tools(NEXTPNR_ECP5=(PACK + NEXTPNR).replace("'TRELLIS_COMB': 6983", "'TRELLIS_COMB': 26983"))
    done = refined(conclusion, "placement", points=2, seeds=1)
    assert {each.reason for each in done.built.values()} == {
        "It takes 26983 LUTs and device LFE5U-12F has 24288."
    }
    assert not any(each.seeds for each in done.built.values())


def test_a_tool_that_fails_is_said_and_the_others_go_on(conclusion, tools, tmp_path):
    # Of two syntheses the second one fails.
    once = f"import os\nif os.path.getsize({str(tmp_path / 'runs')!r}) == 2: raise SystemExit(3)\n"
    counting = f"import pathlib; pathlib.Path({str(tmp_path)!r}, 'runs').open('a').write('y')\n"
    tools(YOSYS=f"{counting}{once}{YOSYS}")
    with Record(tmp_path / "r.sqlite") as record:
        done = refined(conclusion, "synthesis", record, points=2)
        assert sorted(each.reason for each in done.built.values()) == [
            "", "Synthesis failed with status 3 (it said nothing)."
        ]  # fmt: skip
        # It is tried again another time, and what was done is not.
        again = refined(conclusion, "synthesis", record, points=2)
    assert not any(each.reason for each in again.built.values())
    assert (tmp_path / "runs").read_text() == "yyy"


def test_a_router_that_finds_no_way_is_recorded_and_not_tried_again(conclusion, tools, tmp_path):
    stuck = """
import pathlib, sys, time
name = sys.argv[sys.argv.index('--log') + 1]
pathlib.Path(name).write_text('Info: iter=1000 wires=9 overused=7 ')
time.sleep(60)
"""
    tools(NEXTPNR_ECP5=PACK + stuck)
    with Record(tmp_path / "r.sqlite") as record:
        done = refined(conclusion, "placement", record, points=1, seeds=1)
        (built,) = done.built.values()
        assert built.reason == "With seed 1 the router finds no way." and built.seeds == 1
        again = Jobs(Here(), record)
        assert refine(conclusion, again, "placement", points=1, seeds=1).built == done.built
        assert again.known == 2


def test_keys_tell_apart_whatever_decides_a_build(conclusion, tools, tmp_path):
    config = conclusion.front[0].point.config
    jobs = [
        synthesis_job(BOARD, config),
        synthesis_job(board("ulx3s_25f"), config),
        synthesis_job(replace(BOARD, clock_hz=50_000_000), config),
        synthesis_job(BOARD, config.with_(max_layers=config.memory.max_layers + 1)),
        *(placement_job(BOARD, synthesis_job(BOARD, config), b"", seed) for seed in (1, 2)),
    ]
    versions = jobs[0].identity["versions"]
    for name in ("gateware", "amaranth", "YOSYS", "NEXTPNR_ECP5"):
        other = {**jobs[0].identity, "versions": {**versions, name: "another"}}
        jobs.append(Job(other, lambda: None, ()))
    assert len({job.key for job in jobs}) == len(jobs)
    assert synthesis_job(BOARD, config).key == jobs[0].key


def test_a_worker_with_other_tools_says_so(conclusion, tools, monkeypatch):
    job = synthesis_job(BOARD, conclusion.front[0].point.config)
    target, config, versions = job.arguments
    result = job.function(target, config, {**versions, "YOSYS": "Yosys 0.1"})
    assert result.state == "failed"
    assert result.reason == (
        "A worker has YOSYS 'small 1' in place of 'Yosys 0.1'; install there what is here."
    )
    monkeypatch.setenv("YOSYS", "/no/such/yosys")
    assert "names the command '/no/such/yosys'" in job.function(*job.arguments).reason
    with pytest.raises(UserError, match="names the command '/no/such/yosys'"):
        refined(conclusion, "synthesis", points=1)


def test_a_full_disk_is_a_reason(conclusion, tools, monkeypatch):
    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("steelyard_explore.stages.synthesize", full)
    done = refined(conclusion, "synthesis", points=2)
    assert {each.reason for each in done.built.values()} == {"[Errno 28] No space left on device"}
