"""The harness of the fuzzers tells success, refusal and every kind of fault apart."""

import contextlib
import os
import signal
import sys
import time
import warnings
from pathlib import Path

import pytest

from . import harness
from .harness import Case, fuzz


def say(text: str, status: int) -> None:
    print(text, file=sys.stderr)
    sys.exit(status)


def spin(_: list[str]) -> None:
    while True:
        pass


def fill(_: list[str]) -> None:
    kept = [bytes(1 << 24) for _ in range(200)]
    print(len(kept))


def swallow(arguments: list[str]) -> None:
    while True:
        with contextlib.suppress(Exception):
            spin(arguments)


ENDS = {
    "nothing": (lambda _: None, "success", ""),
    "zero": (lambda _: sys.exit(0), "success", ""),
    "sentence": (lambda _: say("note\nerror: A is bad; give B.", 2), "refused", "error: A is bad"),
    "list": (
        lambda _: say("error: A cannot run for 2 reasons:\n- B is bad.\n- C.", 2),
        "refused",
        "error: A cannot run for 2 reasons: - B is bad.",
    ),
    "list without an end": (
        lambda _: say("error: A cannot run for 2 reasons:\n- B is bad.\n- C", 2),
        "fault",
        "exit status 2",
    ),
    "two sentences": (lambda _: say("error: A.\nerror: B.", 2), "fault", "exit status 2"),
    "no sentence": (lambda _: say("no", 2), "fault", "exit status 2"),
    "bad result": (lambda _: say("error: A.", 1), "fault", "exit status 1"),
    "error": (lambda _: 1 / 0, "fault", "ZeroDivisionError"),
    "warning": (lambda _: warnings.warn("old", stacklevel=1), "fault", "warning: old"),
    "log": (lambda _: os.write(2, b"[W:onnxruntime] WARNING odd\n"), "fault", "odd"),
    "crash": (lambda _: os.kill(os.getpid(), signal.SIGSEGV), "fault", "SIGSEGV"),
    "memory": (fill, "fault", "MemoryError"),
    "time": (spin, "fault", "over 1 s of processor time"),
    "time that nobody stops": (swallow, "fault", "over 1 s of processor time"),
    "wait": (lambda _: time.sleep(60), "fault", "no end after 2 s"),
}


@pytest.mark.parametrize("name", ENDS)
def test_every_end_is_told_and_the_next_case_runs(name, monkeypatch):
    monkeypatch.setattr(harness, "CPU_SECONDS", 1)
    monkeypatch.setattr(harness, "WALL_SECONDS", 2 if name == "wait" else 60)
    run, kind, detail = ENDS[name]
    calls = [run, lambda _: None]
    cases = [Case(f"case {number}", {}, [str(number)]) for number in range(2)]
    verdicts = list(fuzz(cases.__getitem__, [0, 1], lambda each: calls[int(each[0])](each)))
    assert [(each.number, each.name) for each in verdicts] == [(0, "case 0"), (1, "case 1")]
    assert verdicts[0].kind == kind and detail in verdicts[0].detail
    assert verdicts[1].kind == "success"


def test_a_case_runs_beside_its_files_alone():
    case = Case("files", {"a.npy": b"1", "b/c": b"2"}, [])

    def run(_: list[str]) -> None:
        files = sorted(path for path, _, names in os.walk(".") for _ in names)
        assert files == [".", "./b"] and Path("a.npy").read_bytes() == b"1"

    (verdict,) = fuzz(lambda _: case, [0], run)
    assert verdict.kind == "success", verdict.detail
