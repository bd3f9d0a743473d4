"""Helpers for tests of streams in Amaranth's simulator."""

from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import Any

__all__ = ["monitor", "receive", "send"]


async def _stall(ctx: Any, rng: Random | None, stall: float) -> None:
    while rng is not None and rng.random() < stall:
        await ctx.tick()


async def _tick_until(ctx: Any, condition: Any, value: Any = 0) -> Any:
    """Wait for a clock edge that meets `condition`; the `value` it sees."""
    # Neither `.until()` nor `async for`: inside a background process the interpreter complains
    # about their generator when the simulation ends.
    met = False
    while not met:
        _, _, met, seen = await ctx.tick().sample(condition, value)
    return seen


async def send(
    ctx: Any, stream: Any, items: Iterable[Any], *, rng: Random | None = None, stall: float = 0.3
) -> None:
    """Drive `items` into a component's input stream, in order.

    Before each item comes an idle cycle with probability `stall`, then perhaps another; without
    `rng` there is none and an item moves every cycle.

    Parameters
    ----------
    ctx : simulator context of a testbench
    stream : stream interface whose ``valid`` and ``payload`` are the component's inputs
    items : payloads
    rng : seeded source of the stalls
    stall : probability of an idle cycle, 0 to less than 1
    """
    for item in items:
        await _stall(ctx, rng, stall)
        ctx.set(stream.payload, item)
        ctx.set(stream.valid, 1)
        await _tick_until(ctx, stream.ready)
        ctx.set(stream.valid, 0)


async def receive(
    ctx: Any, stream: Any, n: int, *, rng: Random | None = None, stall: float = 0.3
) -> list[Any]:
    """Payloads of the next `n` items of a component's output stream.

    Parameters are those of :func:`send`; during a stall ``ready`` is low, ``valid`` or not.
    """
    received = []
    for _ in range(n):
        await _stall(ctx, rng, stall)
        ctx.set(stream.ready, 1)
        received.append(await _tick_until(ctx, stream.valid, stream.payload))
        ctx.set(stream.ready, 0)
    return received


def monitor(stream: Any, name: str, *, domain: str = "sync") -> Callable[[Any], Awaitable[None]]:
    """Process that checks the stream's contract: once valid, the item stays until it is taken.

    Add it with ``sim.add_process`` or ``sim.add_testbench(..., background=True)``.

    Raises
    ------
    AssertionError
        In the simulation's run, if ``valid`` falls or the payload changes before ``ready``.
    """

    async def watch(ctx: Any) -> None:
        waiting = None
        tick = ctx.tick(domain).sample(stream.valid, stream.ready, stream.payload)
        while True:
            _, reset, valid, ready, payload = await tick
            if waiting is not None and not reset:
                if not valid:
                    raise AssertionError(f"Stream {name!r} withdrew valid before ready")
                if payload != waiting:
                    raise AssertionError(
                        f"Stream {name!r} changed its payload before ready, "
                        f"from {waiting!r} to {payload!r}"
                    )
            waiting = payload if valid and not ready and not reset else None

    return watch
