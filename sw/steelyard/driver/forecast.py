"""How long a simulated board will take, whose serial line costs the simulation every bit."""

from dataclasses import dataclass

from ..compile.cycles import predict_program, run_cycles
from ..contract.registers import COUNTERS, REGISTERS, Space
from ..program import Plane, Program
from .port import PINS_WORDS, memories
from .throughput import FRAME_BYTES
from .transport import PlacingTransport, SimulatedLine

__all__ = ["Forecast", "predict_line"]

HEAD_WORDS = 3
"""Words of a command."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Clock cycles that a simulated board makes, those of its serial line among them.

    Members
    -------
    load, run, check : for loading, for all images, and for comparing all their layers
    cycles_per_second : of the simulation on this machine, as measured so far
    """

    load: int
    run: int
    check: int
    cycles_per_second: float

    @property
    def seconds(self) -> float:
        """Time of all."""
        return (self.load + self.run + self.check) / self.cycles_per_second


def predict_line(
    program: Program, images: int, line: SimulatedLine, *, verify: bool = False, check: bool = False
) -> Forecast:
    """What loading a program and running images will take, within about 20 %.

    Parameters
    ----------
    images : that ``infer`` gets
    line : the opened transport
    verify : whether what is loaded is read back
    check : whether ``check_layers`` gets the images too
    """

    def moved(sent: int, received: int = 0) -> int:
        """Cycles for words to the board and from it."""
        frames = max(1, -(-sent // line.payload_words)) + max(0, -(-received // line.answer_words))
        return line.cycles_per_byte * (4 * (sent + received) + FRAME_BYTES * frames)

    def words(plane: Plane) -> int:
        return plane.words * program.config.activation_item_words

    sizes = [
        min(array.size, PINS_WORDS)
        if space == Space.EXTERNAL and isinstance(line, PlacingTransport)
        else array.size
        for space, array in memories(program)
    ]
    load = moved(HEAD_WORDS, REGISTERS) + sum(moved(HEAD_WORDS + size) for size in sizes)
    if verify:
        load += sum(moved(HEAD_WORDS, size) for size in sizes)
    batches = -(-images // program.batch)
    source = words(program.input)
    # The input, a START and a READ travel together.
    run = batches * (
        moved(source + 3 * HEAD_WORDS, sum(map(words, program.outputs.values())))
        + predict_program(program)
    )
    counted = len(COUNTERS) * (1 if program.engine.counters(program.config) is None else 3)
    run += sum(moved(HEAD_WORDS, counted * entry.count) for entry in program.layers)
    layers = sum(
        # START and what waits for its end, the state, the layer's output.
        moved(HEAD_WORDS, 1) + moved(HEAD_WORDS, 1)
        + (moved(HEAD_WORDS, words(entry.output)) if entry.stored else 0)
        + run_cycles([entry], program.config)
        for entry in program.layers
    )  # fmt: skip
    return Forecast(
        load=load,
        run=run,
        check=batches * (moved(source + HEAD_WORDS) + layers) if check else 0,
        cycles_per_second=line.cycles_per_second,
    )
