"""What moves do to the memories, as the contract says: early, late or in between."""

from collections import deque
from random import Random

import numpy as np

from steelyard.contract import Descriptor
from steelyard.contract.descriptor import ANY_UNDER_WAY, DESCRIPTOR_WORDS, Operation
from steelyard.contract.registers import Space

__all__ = ["MovedMemories"]


class MovedMemories:
    """External memory and those of the chip, as 32-bit words, while descriptors with moves run.

    A move may take effect at any time from its descriptor until a later one waits for it, but all
    of them in their order: `late` says which of it is tried.

    Parameters
    ----------
    config : with external memory
    external : uint32 (n,), what it holds from word 0 on; all else is zero
    late : whether moves take effect only when a descriptor forces them to; a
        :class:`random.Random` decides for each descriptor

    Attributes
    ----------
    external : uint32 (external_words,)
    items : uint32 (items, words of an item) of each space
    under_way : moves that have not taken effect
    most : most of them
    """

    def __init__(self, config, external=(), *, late=False):
        memory = config.memory
        self.external = np.zeros(memory.external_words, np.uint32)
        self.external[: len(external)] = external
        sizes = {
            Space.DESCRIPTORS: (memory.max_layers * DESCRIPTOR_WORDS, 1),
            Space.PARAMETERS: (memory.parameter_words, len(config.parameter_bits)),
            Space.WEIGHTS: (memory.weight_words, config.engine.weight_item_words),
            Space.ACTIVATIONS: (memory.activation_words, config.activation_item_words),
        }
        self.items = {space: np.zeros(size, np.uint32) for space, size in sizes.items()}
        self.late = late
        self.under_way = deque()
        self.most = 0

    def take(self, move: Descriptor) -> None:
        """Run a descriptor with a move."""
        assert move.moves
        if move.length:
            # A full queue holds up what is behind it, but goes wrong nowhere.
            self._wait(ANY_UNDER_WAY - 1)
            self.under_way.append(move)
            self.most = max(self.most, len(self.under_way))
        self._wait(move.under_way)
        if isinstance(self.late, Random):
            self._wait(self.late.randint(0, len(self.under_way)))
        elif not self.late:
            self._wait(0)

    def finish(self) -> None:
        """Let all moves take effect."""
        self._wait(0)

    def spoil(self) -> None:
        """Make what moves under way write neither old nor new, for it is neither."""
        for move in self.under_way:
            for items, external in self._rows(move):
                target = external if move.op == Operation.STORE else items
                target ^= np.uint32(0xA5C3_96E1)

    def _wait(self, most):
        while len(self.under_way) > most:
            move = self.under_way.popleft()
            for items, external in self._rows(move):
                if move.op == Operation.STORE:
                    external[:] = items
                else:
                    items[:] = external

    def _rows(self, move):
        """Words of each row: of the memory of the chip and of the external one, as views."""
        memory = self.items[move.space]
        flat, words = memory.reshape(-1), memory.shape[1]
        for row in range(move.rows):
            item = (move.item + row * move.in_pitch) * words
            first = move.external + row * move.out_pitch
            found = flat[item : item + move.length], self.external[first : first + move.length]
            assert len(found[0]) == len(found[1]) == move.length, "a move leaves its memory"
            yield found
