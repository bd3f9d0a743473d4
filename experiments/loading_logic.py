"""Small parts that the candidates of `loading.py` change, synthesized for an ECP5 each alone."""

import collections
import json
import subprocess

from amaranth.back import rtlil
from amaranth.hdl import Cat, Module, Mux, Signal

from steelyard_hw.lib.tools import find_yosys

__all__ = ["PARTS", "cells"]

LANES = 16


def cells(part, folder):
    """Cells of a part ``(module, ports)`` by type."""
    folder.mkdir(parents=True, exist_ok=True)
    m, ports = part
    (folder / "top.il").write_text(rtlil.convert(m, ports=ports, emit_src=False))
    script = "read_rtlil top.il; synth_ecp5 -top top; write_json top.json"
    subprocess.run([*find_yosys("Sizing").command, "-q", "-p", script], cwd=folder, check=True)
    found = json.loads((folder / "top.json").read_text())["modules"]["top"]["cells"].values()
    return collections.Counter(cell["type"] for cell in found)


def registered(inputs, make):
    """Module with `make` of the inputs between registers, and its ports."""
    m = Module()
    ports = [Signal(width, name=f"input_{n}") for n, width in enumerate(inputs)]
    held = [Signal.like(port, reset_less=True) for port in ports]
    value = make(*held)
    output = Signal(len(value), reset_less=True)
    m.d.sync += [own.eq(port) for own, port in zip(held, ports, strict=True)]
    m.d.sync += output.eq(value)
    return m, [*ports, output]


def rotated(word, amount, bits):
    """Word turned by as many bytes as these bits of an amount say."""
    for bit in reversed(bits):
        distance = 8 << bit
        word = Mux(amount[bit], Cat(word[distance:], word[:distance]), word)
    return word


def rotator(banks, outputs):
    """From so many banks to lanes, and to every second byte: three stages, as the aligner has."""
    m = Module()
    bits = (banks - 1).bit_length()
    word, amount, two = Signal(8 * banks), Signal(bits), Signal()
    held, coarse, fine = (Signal(8 * banks, reset_less=True) for _ in range(3))
    held_amount, late_amount = (Signal(bits, reset_less=True) for _ in range(2))
    output = Signal(8 * outputs, reset_less=True)
    near = [fine.word_select(n, 8) for n in range(outputs)]
    far = [fine.word_select(2 * n % banks, 8) for n in range(min(outputs, banks // 2))]
    m.d.sync += [
        held.eq(word),
        held_amount.eq(amount),
        late_amount.eq(held_amount),
        coarse.eq(rotated(held, held_amount, range(2, bits))),
        fine.eq(rotated(coarse, late_amount, range(2))),
        output.eq(Mux(two, Cat(far, *near[len(far) :]), Cat(near))),
    ]
    return m, [word, amount, two, output]


def taps():
    """Select of left, middle, right or nothing for the lanes of a column."""

    def make(word, select):
        def lane(n):
            left, middle, right = (word.word_select(n + shift, 8) for shift in range(3))
            own = select.word_select(n, 2)
            return Mux(own[1], Mux(own[0], 0, right), Mux(own[0], middle, left))

        return Cat(lane(n) for n in range(LANES))

    return registered([8 * (LANES + 2), 2 * LANES], make)


def halves():
    """Select between two window memories, of the even and of the odd positions."""
    word = 8 * LANES
    return registered([word, word, 1], lambda even, odd, which: Mux(which, odd, even))


def rows():
    """Counters of a loader that begins below the first row, and of a ring that keeps rows."""
    m = Module()
    names = ("strips", "held", "advance", "first_row", "tile_step")
    fields = [Signal(12, name=name) for name in names]
    step, begin = Signal(), Signal()
    left, head, plane, out = (Signal(12, name=name) for name in ("left", "head", "plane", "out"))
    with m.If(step):
        m.d.sync += [
            left.eq(Mux(left == 0, fields[0], left - 1)),
            head.eq(head + Mux(left == 0, fields[1], fields[2])),
            plane.eq(Mux(left == 0, plane + 1, plane + fields[3])),
            out.eq(Mux(left == 0, left, out + fields[4])),
        ]
    with m.If(begin):
        m.d.sync += [left.eq(fields[0]), head.eq(0)]
    return m, [*fields, step, begin, left, head, plane, out]


PARTS = {
    "today: rotator of 16 banks": lambda: rotator(16, 16),
    "W: rotator of 32 banks to 16 lanes": lambda: rotator(32, 16),
    "A: rotator of 32 banks to 18 lanes": lambda: rotator(32, 18),
    "A: select of taps (each column)": taps,
    "B: select of halves (each column)": halves,
    "C: counters": rows,
    "D 32x8: rotator of 32 banks to 32 lanes": lambda: rotator(32, 32),
    "D 64x4: rotator of 64 banks to 64 lanes": lambda: rotator(64, 64),
    "D 32x8: select of words (each 4 columns)": halves,
}
