"""The command line as a function, and small programs in the tools' place."""

import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from steelyard_cli import main
from steelyard_hw.memory.pins import SdramPins


@dataclass(frozen=True)
class Outcome:
    """What a call of the command line gave."""

    status: int
    out: str
    err: str


@pytest.fixture
def steelyard(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Function that runs the command line in this process."""

    def call(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as caught:
            main([str(each) for each in arguments])
        captured = capsys.readouterr()
        return Outcome(int(caught.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def put_tool(tmp_path, monkeypatch) -> Callable[[str, str], None]:
    """Function that puts a Python program in the place of the tool that a variable names."""

    def put(variable: str, text: str) -> None:
        file = tmp_path / variable.lower()
        file.write_text(f"#!{sys.executable}\n{text}")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv(variable, str(file))

    return put


class Wire(wiring.Component):
    """What stands in the accelerator's place where only the tools matter."""

    def __init__(self, config, *, memory=None, **parameters):
        external = memory is not None and config.memory.external_words
        pins = {"pins": Out(SdramPins(memory.chip.address_pins, memory.slots))} if external else {}
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), **pins})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.tx.eq(self.rx)
        return m


@pytest.fixture
def small_design(monkeypatch) -> None:
    """Designs that hold a wire in the accelerator's place, and so take no time."""
    monkeypatch.setattr("steelyard_boards.top.SerialAccelerator", Wire)
