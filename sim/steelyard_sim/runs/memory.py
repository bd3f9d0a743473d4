"""Random bursts with random stalls on the compiled SDRAM controller and the model of its chip.

    python -m steelyard_sim.runs.memory --cycles 10000000 --seed 1

Every word read is compared with a memory in numpy, in the end every word of the chip, and the model
checks every rule of the chip in every cycle.
"""

import sys
from dataclasses import dataclass

import click
import numpy as np

from steelyard.progress import Log
from steelyard_hw.memory.chips import CHIPS, SdramChip

from ..memory.simulation import MemorySimulation
from ..memory.work import golden_reads, random_bursts, random_stalls, random_words
from .command import Command

__all__ = ["Result", "run_random"]

BURSTS = 400
"""Of a round, which has its own stalls."""
SETTLE = 400
"""Cycles in which the last words reach the chip."""


@dataclass(kw_only=True)
class Result:
    """What was done.

    Members
    -------
    rounds, bursts, reads, writes : numbers; of words the last two
    cycles : simulated, those of initialization among them
    differing : words that were not as in the golden memory
    """

    rounds: int = 0
    bursts: int = 0
    reads: int = 0
    writes: int = 0
    cycles: int = 0
    differing: int = 0


def run_random(
    chip: SdramChip,
    clock_hz: int,
    *,
    cycles: int,
    seed: int,
    delay: int = 0,
    slots: int = 1,
    log: Log | None = None,
) -> Result:
    """Rounds of random bursts until so many cycles are simulated.

    Parameters
    ----------
    chip, clock_hz, delay, slots : as those of :class:`steelyard_sim.memory.bench.MemoryBench`
    cycles : at least
    seed : of all that is random
    log : called with each step of a build before it

    Raises
    ------
    steelyard_sim.memory.simulation.RuleBroken
        If the controller breaks a rule of the chip.
    UserError
        If a tool of the compiled simulation is missing.
    """
    rng = np.random.default_rng(seed)
    result = Result()
    golden = np.zeros(1 << chip.word_bits, np.uint32)
    with MemorySimulation(chip, clock_hz, delay, slots, log) as memory:
        # Placed, not moved: there is something to read from the beginning.
        for _ in range(50):
            start = int(rng.integers(golden.size))
            words = rng.integers(0, 1 << 32, min(5000, golden.size - start), dtype=np.uint32)
            golden[start : start + words.size] = words
        memory.cells.view(np.uint32)[:] = golden
        while memory.cycles < cycles:
            if rng.random() < 0.2:
                memory.start()
            bursts = random_bursts(rng, chip.word_bits, BURSTS)
            words = random_words(rng, bursts)
            reads, _ = memory.run(
                bursts, words, stalls=random_stalls(rng), seed=int(rng.integers(1 << 32))
            )
            result.differing += int(np.count_nonzero(reads != golden_reads(golden, bursts, words)))
            result.rounds += 1
            result.bursts += len(bursts)
            result.reads += reads.size
            result.writes += words.size
            memory.step(int(rng.integers(0, 2 * SETTLE)))
        memory.step(SETTLE)
        result.differing += int(np.count_nonzero(memory.cells.view(np.uint32) != golden))
        result.cycles = memory.cycles
    return result


@click.command(cls=Command)
@click.option("--chip", type=click.Choice(sorted(CHIPS)), default="W9825G6KH-6", show_default=True)
@click.option("--mhz", type=float, default=80, show_default=True, help="Clock of the controller.")
@click.option(
    "--slots",
    type=click.IntRange(1, 2),
    default=1,
    show_default=True,
    help="Cycles of the chip in one of the controller.",
)
@click.option(
    "--delay", type=click.IntRange(0, 12), default=0, help="Cycles of the chip that reads are late."
)
@click.option("--cycles", type=click.IntRange(min=1), default=10_000_000, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
def main(chip: str, mhz: float, slots: int, delay: int, cycles: int, seed: int) -> None:
    """Random bursts on the SDRAM controller, compared with numpy, all rules checked.

    Exit status 1 if a word differs or a rule is broken.
    """
    half = f", the chip at {slots * mhz:g} MHz" if slots > 1 else ""
    print(f"{chip} at {mhz:g} MHz{half}, delay {delay}, seed {seed}", flush=True)
    clock_hz = round(mhz * 1e6)
    try:
        result = run_random(
            CHIPS[chip],
            clock_hz,
            cycles=cycles,
            seed=seed,
            delay=delay,
            slots=slots,
            log=click.echo,
        )
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--mhz") from None
    except AssertionError as error:
        print(error)
        sys.exit(1)
    print(
        f"{result.cycles} cycles, {result.bursts} bursts in {result.rounds} rounds, "
        f"{result.reads} words read, {result.writes} written, {result.differing} differ, "
        "no rule broken"
    )
    sys.exit(result.differing > 0)


if __name__ == "__main__":
    main()
