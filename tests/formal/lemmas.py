"""Statements about streams and queues that several proofs need."""

from amaranth.hdl import Cat

__all__ = ["queue", "stable"]


def stable(bench, item, name, *, unless=None, bits=None):
    """Check that what `item` offers stays until it is taken; `bits` of it stand for all."""
    offered = Cat(item.payload)[:bits]
    waits = item.valid & ~item.ready
    waits = bench.past(waits if unless is None else waits & ~unless, name=f"{name}_waits")
    payload = bench.past(offered, name=f"{name}_payload")
    bench.check(f"{name} stays valid", ~waits | item.valid)
    bench.check(f"{name} keeps its payload", ~waits | (offered == payload))
    bench.cover(f"{name} waits", waits & item.valid)


def queue(bench, design, prefix, depth, written="w_en"):
    """Lemmas about Amaranth's FIFO: its pointers agree with its level.

    What is `written` is a signal of the component that has it, or its name.
    """
    level, produce = design[f"{prefix}level"], design[f"{prefix}produce"]
    apart = (produce - design[f"{prefix}consume"])[: len(produce)]
    bench.check(f"{prefix}pointers agree", apart == level[: len(produce)])
    bench.check(f"{prefix}level is in range", level <= depth)
    bench.check(
        f"{prefix}nothing is written when full",
        ~design[f"{prefix}w_port__en"] | (level != depth),
    )
    written = design[written] if isinstance(written, str) else written
    bench.check(f"{prefix}nothing is lost", ~written | design[f"{prefix}w_rdy"])
    bench.cover(f"{prefix}full", level == depth)
    return level
