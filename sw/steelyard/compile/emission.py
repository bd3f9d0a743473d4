"""Descriptors one after the other, with the waiting for moves among them and the time they take."""

from dataclasses import dataclass, field

from ..contract import AcceleratorConfig
from ..contract.descriptor import ANY_UNDER_WAY, DESCRIPTOR_WORDS, Descriptor, Operation
from ..contract.latencies import between
from ..contract.limits import BLOCKS
from ..contract.registers import Space
from .cycles import predict
from .external import OWN_MOVES, Clock, Pace

__all__ = ["Emission", "StagedLayer"]


@dataclass
class StagedLayer:
    """A layer's descriptors and what they take.

    Members
    -------
    descriptors : with all addresses
    computing : of those that compute, their cycles
    steps : these, as the cycle model takes them
    waiting : cycles of moves and of waiting for them, beside what lies between descriptors
    loaded, stored : 32-bit words that are moved for it
    activation_words : up to the last that is in use while it runs
    """

    descriptors: list[Descriptor] = field(default_factory=list)
    computing: int = 0
    steps: list[Descriptor] = field(default_factory=list)
    waiting: int = 0
    loaded: int = 0
    stored: int = 0
    activation_words: int = 0


class Emission:
    """Descriptors of layers in their order.

    Moves are counted from the first one on; one is known to be done once a descriptor has waited
    for it. Where the descriptor memory holds some descriptors at a time, those of a block that has
    run give way to others, and in the end to the first ones.

    Parameters
    ----------
    layers : number of layers
    in_turn : whether the descriptor memory holds some of the descriptors at a time
    """

    def __init__(self, layers: int, config: AcceleratorConfig, in_turn: bool) -> None:
        self.config = config
        self.layers = [StagedLayer() for _ in range(layers)]
        self.issued = self.known = 0
        self._clock = Clock(config)
        self._held: tuple[int, Descriptor] | None = None
        self._count = 0
        self._block = config.memory.max_layers // BLOCKS if in_turn else 0
        self._blocks: dict[int, int] = {}

    @property
    def full(self) -> bool:
        """Whether more moves may hold up what comes next."""
        return self.issued + 1 - self.known > ANY_UNDER_WAY - OWN_MOVES

    def idle_after(self, cycles: int) -> bool:
        """Whether the external memory has nothing to do when a layer of so many cycles ends."""
        more = 0
        if self._held is not None:
            held = self._held[1]
            more = Pace.of(self.config).move(held.rows, held.length, held.out_pitch)
        return max(self._clock.free, self._clock.now) + more <= self._clock.now + cycles

    def _flush(self) -> None:
        if self._held is None:
            return
        layer, d = self._held
        self._held = None
        begin = self._clock.now
        self._clock.move(d)
        self.layers[layer].waiting += self._clock.now - begin - between(self.config)

    def append(self, layer: int, d: Descriptor) -> None:
        """Append a descriptor; a move is held back, for it may turn out that it has to wait."""
        self._in_turn(layer)
        self._add(layer, d)

    def _add(self, layer: int, d: Descriptor) -> None:
        self._flush()
        self.layers[layer].descriptors.append(d)
        self._count += 1
        if d.moves:
            self.issued += bool(d.length)
            self._held = layer, d
        else:
            cycles = predict(d, self.config)
            self._clock.now += cycles + between(self.config)
            self.layers[layer].computing += cycles
            self.layers[layer].steps.append(d)

    def _in_turn(self, layer: int) -> None:
        """Load descriptors in place of a block that has run, and wait for those of the next."""
        if not self._block:
            return
        number, place = divmod(self._count, self._block)
        if place == self._block - 1 and self._blocks.get(number + 1, 0) > self.known:
            # What is fetched next must be there.
            self.wait(layer, self._blocks[number + 1], held=False)
            number, place = divmod(self._count, self._block)
        if place == 0 and number:
            self._load_block(layer, number - 1 + BLOCKS)

    def _load_block(self, layer: int, number: int) -> None:
        self._add(
            layer,
            Descriptor(
                op=Operation.LOAD,
                space=Space.DESCRIPTORS,
                under_way=ANY_UNDER_WAY,
                external=number,
                item=number % BLOCKS * self._block * DESCRIPTOR_WORDS,
                length=self._block * DESCRIPTOR_WORDS,
            ),
        )
        self._blocks[number] = self.issued
        self.layers[layer].loaded += self._block * DESCRIPTOR_WORDS

    def wait(self, layer: int, needed: int, *, held: bool = True) -> None:
        """Let the last move wait until a move is done, or one of no words."""
        if needed <= self.known:
            return
        if self._held is None or not held:
            none = Descriptor(op=Operation.LOAD, under_way=ANY_UNDER_WAY)
            if held:
                self.append(layer, none)
            else:
                self._add(layer, none)
        assert self._held is not None
        layer, last = self._held
        under_way = min(self.issued - needed, ANY_UNDER_WAY - 1)
        waits = last.but(under_way=under_way)
        self._held = layer, waits
        self.layers[layer].descriptors[-1] = waits
        self.known = max(self.known, self.issued - under_way)

    def finish(self) -> None:
        """Load the first descriptors again, for the next run."""
        if not self._block:
            self._flush()
            return
        layer = max(number for number, each in enumerate(self.layers) if each.descriptors)
        if self._count % self._block == 0:
            self.append(layer, Descriptor(op=Operation.LOAD, under_way=ANY_UNDER_WAY))
        # The last of all may bring what takes its own place.
        self._load_block(layer, self._count // self._block + BLOCKS)
        self._flush()

    def addressed(self, image: int) -> int:
        """Give moves their places in external memory; words that descriptors take there.

        Those of activations counted from the first tensor's place on, those of descriptors blocks.

        Parameters
        ----------
        image : words of weights and parameters, which come first; descriptors follow
        """
        total = -(-self._count // self._block) if self._block else 0
        words = total * self._block * DESCRIPTOR_WORDS
        behind = image + words
        for layer in self.layers:
            for number, d in enumerate(layer.descriptors):
                if not (d.moves and d.length):
                    continue
                if d.space == Space.ACTIVATIONS:
                    layer.descriptors[number] = d.but(external=d.external + behind)
                elif d.space == Space.DESCRIPTORS:
                    block = d.external if d.external < total else d.external % BLOCKS
                    place = image + block * self._block * DESCRIPTOR_WORDS
                    layer.descriptors[number] = d.but(external=place)
        return words
