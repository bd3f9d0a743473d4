"""A third engine, from outside the packages: dense, one weight a cycle on all lanes.

It keeps a tile's receptive field in its window memory and goes over it once for each output
channel. Weight items are plain int8 weights in the order of the window: (ky, kx, ic).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import memory
from numpy.typing import NDArray

from steelyard.contract import AcceleratorConfig, Descriptor, EngineConfig
from steelyard.contract.descriptor import Operation
from steelyard.engines import Engine, Limits, Plan
from steelyard.errors import DoesNotFit
from steelyard.network import Conv, Network, golden
from steelyard.program import Program
from steelyard_hw.engine import Engine as Component
from steelyard_hw.engine import OutputPlaces

SUM_BITS = 32


@dataclass(frozen=True, kw_only=True)
class ScalarConfig(EngineConfig):
    """Configuration: nothing beyond what all engines have."""

    kind: ClassVar[str] = "scalar"
    title: ClassVar[str] = "dense scalar engine"
    gateware: ClassVar[str] = "scalar_engine:ScalarEngine"

    @property
    def weight_bits(self) -> int:
        """An int8 weight."""
        return 8

    @property
    def outline(self) -> str:
        """Shape in a few words."""
        return f"{self.lanes} lanes, one weight a cycle"


class Scalar(Engine):
    """What core must know of it."""

    kind = "scalar"

    def prepare(
        self, network: Network, config: AcceleratorConfig, options: Mapping[str, Any]
    ) -> tuple[None, None, None]:
        return None, None, None

    def plan(
        self,
        network: Network,
        layer: Conv,
        base: Descriptor,
        config: AcceleratorConfig,
        prepared: None,
    ) -> Plan:
        channels, positions = len(layer.weight), layer.weight[0].size
        groups = -(-positions // config.engine.group)
        if groups > config.engine.window_groups:
            raise DoesNotFit(f"Layer {layer.name!r} has too many inputs; raise window_groups.")
        descriptor = replace(
            base,
            chunks=groups,
            last_positions=positions - (groups - 1) * config.engine.group,
            passes=channels,
            last_columns=1,
            weight_count=channels * positions,
        )
        zero = network.tensor(layer.inputs[0]).zero_point
        work = channels * positions * base.out_tiles
        # A position takes a read for each lane at most; a channel is given away after its weights.
        tile = positions * config.engine.lanes + channels * (positions + config.drain_cycles + 4)
        return Plan(
            descriptors=(descriptor,),
            channels=((0, channels),),
            bias=layer.bias - zero * layer.weight.sum(axis=(1, 2, 3), dtype=np.int32),
            nnz=int(np.count_nonzero(layer.weight)),
            kept=layer.weight.size,
            ideal_cycles=work,
            predicted_cycles=base.out_tiles * (tile + groups + config.engine.lanes + 9) + 99,
            k=None,
            own=None,
        )

    def pack(
        self, layer: Conv, plan: Plan, config: AcceleratorConfig
    ) -> Iterator[NDArray[np.uint32]]:
        yield layer.weight.transpose(0, 2, 3, 1).reshape(-1, 1).view(np.uint8).astype(np.uint32)

    def predict(self, descriptor: Descriptor, config: AcceleratorConfig) -> int:
        raise ValueError("Take the bound of the compiled program")

    @property
    def exact(self) -> bool:
        return False

    @property
    def integer(self) -> bool:
        return True

    def golden(self, program: Program, x: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        return golden.run(program.network, x, trace=True)

    def golden_layer(self, program: Program, layer: Conv, x: NDArray[np.int8]) -> NDArray[np.int8]:
        return golden.layer(program.network, layer, x)

    def luts(self, config: AcceleratorConfig, pair_luts: int) -> int:
        return 1000 + 60 * config.engine.lanes

    def products(self, config: AcceleratorConfig) -> int:
        return config.engine.lanes

    def multipliers(self, config: AcceleratorConfig, lanes_per_multiplier: int) -> int:
        return config.engine.lanes

    def memories(self, config: AcceleratorConfig) -> Iterator[tuple[int, int]]:
        yield config.engine.window_groups * config.engine.group, 8 * config.engine.lanes

    def limits(self, config: AcceleratorConfig, multipliers: int) -> Limits:
        return Limits(multiplications="lanes", multipliers="lanes", memories="", logic="lanes")


class ScalarEngine(Component):
    """One weight a cycle; a channel's sums leave 2 cycles after its last weight."""

    def __init__(self, config: AcceleratorConfig, *target: Any):
        super().__init__(config, *target, idle=True)

    def elaborate(self, platform):
        m = Module()
        config, layer = self._config, self.layer
        lanes, group = config.engine.lanes, config.engine.group
        depth = config.engine.window_groups * group
        m.submodules.window = window = memory.Memory(shape=8 * lanes, depth=depth, init=[])
        write, read = window.write_port(), window.read_port()
        head, place = Signal(range(depth)), Signal(range(depth))
        loaded, left = Signal(range(config.engine.window_groups + 1)), Signal.like(layer.chunks)
        channel, tile = Signal.like(layer.passes), Signal.like(layer.out_tiles)
        weight, adds = Signal(signed(8)), Signal()
        places = OutputPlaces(m, config, layer, self.o)
        sums = [Signal(signed(SUM_BITS), name=f"sum_{lane}") for lane in range(lanes)]
        span = (layer.chunks - 1) * group + layer.last_positions - 1
        last = place == (head + span)[: len(place)]
        width = config.output.requantizers
        m.d.comb += [
            Cat(write.en, write.addr, write.data).eq(
                Cat(self.window_valid, self.window_address, self.word)
            ),
            read.addr.eq(place),
            *(self.o.data[n].eq(sums[n]) for n in range(width)),
        ]
        m.d.sync += [
            adds.eq(self.issue),
            weight.eq(self.weights.payload.as_signed()),
            loaded.eq(loaded + self.group_loaded - self.group_free),
        ]
        for lane, total in enumerate(sums):
            with m.If(adds):
                m.d.sync += total.eq(total + weight * read.data.word_select(lane, 8).as_signed())
        with m.FSM():
            with m.State("WAIT"):
                m.d.comb += self.stall_load.eq(~self.done)
                with m.If(~self.done & (loaded >= layer.chunks)):
                    m.d.sync += channel.eq(0)
                    m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.comb += [
                    self.weights.ready.eq(1),
                    self.issue.eq(self.weights.valid),
                    self.stall_weights.eq(~self.weights.valid),
                ]
                with m.If(self.issue):
                    m.d.sync += place.eq(Mux(last, head, place + 1))
                    with m.If(last):
                        m.next = "ADD"
            with m.State("ADD"):
                m.d.comb += self.stall_drain.eq(1)
                m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.comb += [self.stall_drain.eq(1), self.busy.eq(1), self.o_valid.eq(1)]
                with m.If(self.o_ready):
                    m.d.sync += Cat(sums).eq(Cat(sums[width:]))
                    places.step(m)
                    with m.If(places.last_beat):
                        m.d.sync += [
                            *(total.eq(0) for total in sums),
                            channel.eq(channel + 1),
                            left.eq(layer.chunks),
                        ]
                        m.next = "MULTIPLY"
                        with m.If(channel == layer.passes - 1):
                            m.next = "FREE"
            with m.State("FREE"):
                m.d.comb += [self.stall_drain.eq(1), self.group_free.eq(1)]
                m.d.sync += [head.eq(head + group), place.eq(head + group), left.eq(left - 1)]
                with m.If(left == 1):
                    m.d.sync += [tile.eq(tile - 1), self.done.eq(tile == 1)]
                    places.next_tile(m)
                    m.next = "WAIT"
        with m.If(self.start):
            m.d.sync += [
                self.done.eq(layer.op != Operation.CONV), tile.eq(layer.out_tiles),
                head.eq(0), place.eq(0), loaded.eq(0),
            ]  # fmt: skip
            places.begin(m)
        return m
