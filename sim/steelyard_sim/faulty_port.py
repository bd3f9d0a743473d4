"""Line with faults between the driver's link and a simulated board, both in simulated time.

Time is the board's: it passes while the board is clocked, and at once where both sides wait. So a
timeout costs nothing, no load of the machine changes what happens, and a seed repeats it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from .virtual import BoardSimulation

__all__ = ["Alter", "FaultyLine", "FaultyPort"]

SLICE_CYCLES = 5_000
"""Most cycles between two looks at what comes from the board."""
REMEMBERED_BYTES = 4096

Alter = Callable[[int], bytes]


@dataclass
class FaultyLine:
    """One direction of the line.

    Members
    -------
    alter : bytes that arrive in place of a byte; None where the line is sound
    noise : bytes that arrive though none left, asked for again and again; None for silence
    skip : bytes that pass before either begins
    seen : the latest bytes that left
    passed : number of all bytes that left
    """

    alter: Alter | None = None
    noise: Callable[[], bytes] | None = None
    skip: int = 0
    seen: bytearray = field(default_factory=bytearray)
    passed: int = 0

    def carry(self, data: bytes) -> bytes:
        """Bytes that arrive for those that left."""
        self.seen += data
        self.passed += len(data)
        del self.seen[:-REMEMBERED_BYTES]
        alter, noise = self.alter, self.noise
        sound = min(self.skip, len(data))
        self.skip -= sound
        out = bytearray(data[:sound])
        for byte in data[sound:]:
            out += alter(byte) if alter is not None else bytes([byte])
        if noise is not None and not self.skip:
            out += noise()
        return bytes(out)

    def clear(self) -> None:
        """Make the line sound."""
        self.alter = self.noise = None
        self.skip = 0


class FaultyPort:
    """Port of the driver's link to a simulated board.

    Parameters
    ----------
    board : clocked by what the driver waits for
    hertz : cycles of a simulated second
    """

    def __init__(self, board: BoardSimulation, hertz: int) -> None:
        self.to_board, self.to_host = FaultyLine(), FaultyLine()
        self.reset_at: int | None = None
        """Cycle at which somebody presses the reset button."""
        self.slice_cycles = SLICE_CYCLES
        """Most cycles between two looks at what comes from the board."""
        self.silence = range(0)
        """Longest time, in cycles, in which the board was at work and no byte moved."""
        self._moved_at = 0
        self._board = board
        self._hertz = hertz
        self._waited = 0
        self._waiting = b""

    @property
    def cycles(self) -> int:
        """Cycles that the board has been clocked."""
        return self._board.cycles

    def clock(self) -> float:
        """Simulated time, seconds."""
        return (self._board.cycles + self._waited) / self._hertz

    def write(self, data: bytes) -> None:
        """Send bytes; they go into the board while the driver waits."""
        self._waiting += self.to_board.carry(data)

    def read(self, timeout: float) -> bytes:
        """Bytes that have come, at least one unless `timeout` simulated seconds pass."""
        left = max(1, round(timeout * self._hertz))
        while True:
            cycles = min(left, self.slice_cycles)
            if self.reset_at is not None:
                cycles = min(cycles, max(1, self.reset_at - self._board.cycles))
            before = self._board.cycles
            taken, data, idle = self._board.run(self._waiting, cycles)
            self._waiting = self._waiting[taken:] + self.to_board.carry(b"")
            left -= self._board.cycles - before
            if taken or data or idle:
                silence = range(self._moved_at, before)
                self.silence = max(self.silence, silence, key=len)
                self._moved_at = self._board.cycles
            arrived = self.to_host.carry(data)
            if self.reset_at is not None and self._board.cycles >= self.reset_at:
                self.reset_at = None
                self._board.reset()
                # What has not left the host yet arrives after the reset, like on a real board.
            elif idle and not self._waiting and not arrived:
                skipped = self._quiet_cycles(left)
                self._waited += skipped
                left -= skipped
            if arrived or left <= 0:
                return arrived

    def _quiet_cycles(self, left: int) -> int:
        """Cycles until something may happen with a board that has nothing to do."""
        if self.to_board.noise is not None or self.to_host.noise is not None:
            return min(left, self.slice_cycles)
        if self.reset_at is not None:
            # Its own clock stands still meanwhile, and so the reset waits for its next work.
            self.reset_at = None
            self._board.reset()
        return left

    def clear(self) -> None:
        """Make both lines sound and leave the reset button alone."""
        self.to_board.clear()
        self.to_host.clear()
        self.reset_at = None

    def close(self) -> None:
        """Give the port back; what is under way still arrives."""
