"""The command line as a function, and small programs in the tools' place."""

import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from steelyard_cli import main


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
