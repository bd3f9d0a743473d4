"""Serial transport: an accelerator on a board behind a serial port."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import parse_qsl

import numpy as np
import serial
from numpy.typing import NDArray

from ..contract import AcceleratorConfig
from ..progress import Log
from .errors import BadAddress, DeviceBusy, DeviceTimeout, LinkError, NoSuchDevice
from .link import BytePort, Link, LinkStatistics, Posted, random_session

__all__ = ["Address", "SerialPort", "SerialTransport", "open_transport"]

BAUD = 3_000_000
RETRY_SECONDS = 0.05
"""Time beyond that on the line that a USB bridge and the operating system may add."""
OPEN_SECONDS = 5.0
POLL_SECONDS = 0.02
BLOCKED_SECONDS = 0.5
RUN_SECONDS = 30.0
"""Time beyond that of its cycles and words that a run may take, on a line that damages frames."""
SLOWEST_HZ = 1_000_000
"""Clock of a board that does not tell its own, for the driver's patience."""
WORD_BYTES = 4
BITS_A_BYTE = 10
EMPTY = np.empty(0, np.uint32)


class SerialPort:
    """Serial port as a line of bytes, locked against other programs.

    Parameters
    ----------
    path : name of the port
    baud : bits a second

    Raises
    ------
    NoSuchDevice
        If the port cannot be opened.
    DeviceBusy
        If another program has it.
    """

    def __init__(self, path: str, baud: int) -> None:
        try:
            self._serial = serial.Serial(
                path, baud, timeout=POLL_SECONDS, write_timeout=BLOCKED_SECONDS, exclusive=True
            )
        except (serial.SerialException, ValueError, OSError) as error:
            if "exclusively lock" in str(error):
                raise DeviceBusy(
                    f"Serial port {path!r} is in use by another program; close that first."
                ) from None
            reason = str(error).split(": ", 1)[0].rstrip(".")
            raise NoSuchDevice(
                f"Serial port {path!r} cannot be opened at {baud} baud ({reason}); "
                "check the name, the rights and the cable."
            ) from None
        # Otherwise bridges hold answers back for up to 16 ms; not every port can.
        with suppress(AttributeError, NotImplementedError, ValueError, OSError):
            self._serial.set_low_latency_mode(True)
        self._serial.reset_input_buffer()

    def write(self, data: bytes) -> None:
        """Send bytes.

        Raises
        ------
        DeviceTimeout
            If the port does not take them within half a second.
        LinkError
            If the port is gone.
        """
        try:
            self._serial.write(data)
        except serial.SerialTimeoutException:
            raise DeviceTimeout("The serial port takes no bytes.") from None
        except (serial.SerialException, OSError) as error:
            raise LinkError(f"The serial port failed while sending ({error}).") from None

    def read(self, timeout: float) -> bytes:
        """Bytes that have come, at least one unless `timeout` seconds pass.

        Raises
        ------
        LinkError
            If the port is gone.
        """
        end = time.monotonic() + timeout
        try:
            while True:
                # One read wakes at the first byte; changing its timeout would reconfigure the port.
                data = self._serial.read(max(1, self._serial.in_waiting))
                if data or time.monotonic() >= end:
                    return bytes(data)
        except (serial.SerialException, OSError) as error:
            raise LinkError(f"The serial port failed while receiving ({error}).") from None

    def close(self) -> None:
        """Give the port back. May be called again."""
        self._serial.close()


class SerialTransport:
    """Driver's transport over a link.

    Words that fill no frame stay here until the next answer is asked for or the accelerator is
    waited for: one frame may then carry an input, a START and a READ.

    Parameters
    ----------
    port : line to the board, closed with the transport
    baud : bits a second of the line
    retry : seconds beyond the time on the line after which a frame is sent again
    timeout : seconds that opening the session may take
    nonce : number of the session, different from every earlier one
    clock : time in seconds

    Raises
    ------
    DeviceTimeout, DamagedLink, LinkError
        If no board answers.
    WrongDevice
        If it speaks another version.
    """

    def __init__(
        self,
        port: BytePort,
        *,
        baud: float = BAUD,
        retry: float = RETRY_SECONDS,
        timeout: float = OPEN_SECONDS,
        nonce: Callable[[], int] = random_session,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._baud = baud
        self._clock = clock
        self._link = Link(port, baud=baud, retry=retry, nonce=nonce, clock=clock)
        self._pending = EMPTY
        try:
            with self._measured():
                self._link.open(timeout)
        except BaseException:
            self._link.close()
            raise

    @property
    def statistics(self) -> LinkStatistics:
        """What the link has moved, and the processor time that it took."""
        return self._link.statistics

    @property
    def clock_hz(self) -> int:
        """Frequency of the board's clock, hertz; 0 if the board does not tell."""
        return self._link.clock_hz

    @property
    def baud(self) -> float:
        """Bits a second of the line."""
        return self._baud

    @property
    def board_cycles(self) -> int | None:
        """Clock cycles that a simulated board has made; None for a real one."""
        return None

    @property
    def payload_words(self) -> int:
        """Most words that a frame to the board takes."""
        return self._link.payload_words

    @property
    def answer_words(self) -> int:
        """Most words that a frame from the board takes."""
        return self._link.answer_words

    def write(self, words: NDArray[np.uint32], timeout: float) -> None:
        """Send words, uint32 (n,); the last of them perhaps with the next call.

        Raises
        ------
        DeviceTimeout, DamagedLink, SessionLost, LinkError
        """
        with self._measured():
            self._write(words, self._clock() + timeout)

    def _write(self, words: NDArray[np.uint32], end: float) -> None:
        size = self._link.payload_words
        pending = np.concatenate([self._pending, words]) if self._pending.size else words
        while len(pending) > size:
            self._link.send(pending[:size], end)
            pending = pending[size:]
        self._pending = np.array(pending, np.uint32)

    def read(self, count: int, timeout: float) -> NDArray[np.uint32]:
        """Receive words, uint32 (count,).

        Raises
        ------
        DeviceTimeout, DamagedLink, SessionLost, LinkError
        """
        end = self._clock() + timeout
        parts = []
        with self._measured():
            while count:
                size = min(count, self._link.answer_words)
                parts.append(self._link.exchange(self._take(), size, end))
                count -= size
        return np.concatenate(parts) if parts else EMPTY

    def post(self, words: NDArray[np.uint32], count: int, timeout: float) -> list[Posted]:
        """Send words, uint32 (n,), and ask for `count` words back, without waiting for them.

        What is posted next travels to the board while it computes, as far as one frame takes it.

        Returns
        -------
        what :meth:`fetch` takes

        Raises
        ------
        DeviceTimeout, DamagedLink, SessionLost, LinkError
        """
        end = self._clock() + timeout
        posted = []
        with self._measured():
            self._write(words, end)
            while count:
                size = min(count, self._link.answer_words)
                posted.append(self._link.post(self._take(), size, end))
                count -= size
        return posted

    def fetch(self, posted: list[Posted], timeout: float) -> NDArray[np.uint32] | None:
        """Words that were asked for, uint32 (count,); None if the line has lost some for good.

        Raises
        ------
        DeviceTimeout, DamagedLink, SessionLost, LinkError
        """
        end = self._clock() + timeout
        with self._measured():
            parts = [self._link.fetch(each, end) for each in posted]
        whole = [part for part in parts if part is not None]
        return np.concatenate(whole) if len(whole) == len(parts) else None

    def wait_idle(self, timeout: float) -> None:
        """Return when the accelerator is idle; the board says so, nobody asks meanwhile.

        Raises
        ------
        DeviceTimeout, DamagedLink, SessionLost, LinkError
        """
        with self._measured():
            self._link.exchange(self._take(), 0, self._clock() + timeout, idle=True)

    @contextmanager
    def expecting(self, cycles: int, words: int) -> Iterator[float]:
        """Seconds for a run at the board's clock, and for its words on a line that loses half."""
        clock_hz = self.clock_hz or SLOWEST_HZ
        line = 2 * WORD_BYTES * BITS_A_BYTE * words / self._baud
        yield cycles / clock_hz + line + RUN_SECONDS

    def close(self) -> None:
        """End the session and give the port back."""
        self._link.close()

    def _take(self) -> NDArray[np.uint32]:
        pending, self._pending = self._pending, EMPTY
        return pending

    @contextmanager
    def _measured(self) -> Iterator[None]:
        start = time.thread_time()
        try:
            yield
        except BaseException:
            # Half a command or half an answer may be left: no later one could be trusted.
            self._link.abandon()
            raise
        finally:
            self._link.statistics.cpu_seconds += time.thread_time() - start


@dataclass(frozen=True, kw_only=True)
class Address:
    """Address of a serial port.

    Members
    -------
    path : name of the port
    baud : bits a second
    retry : seconds beyond the time on the line after which a frame is sent again
    open : seconds that opening the session may take
    """

    path: str
    baud: float = BAUD
    retry: float = RETRY_SECONDS
    open: float = OPEN_SECONDS

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Address of ``PATH?baud=N&retry=SECONDS&open=SECONDS``, each option being optional.

        Raises
        ------
        BadAddress
            If the path is missing, or an option is not one of these or not positive.
        """
        path, _, query = text.partition("?")
        if not path:
            raise BadAddress(
                "The device 'serial' needs a port; write 'serial:/dev/ttyUSB0' with its name."
            )
        options: dict[str, float] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name not in ("baud", "retry", "open"):
                raise BadAddress(
                    f"Serial port option {name!r} is unknown; use 'baud', 'retry' or 'open'."
                )
            try:
                options[name] = float(value)
            except ValueError:
                options[name] = 0.0
            if not 0 < options[name] < 1e9:
                raise BadAddress(
                    f"Serial port option {name!r} must be a positive number, not {value!r}; "
                    "write for example 'baud=1000000' or 'retry=0.05'."
                )
        return cls(path=path, **options)


def open_transport(
    address: str, config: AcceleratorConfig | None = None, log: Log | None = None
) -> SerialTransport:
    """Transport of a serial port, the driver's device ``serial``.

    Parameters
    ----------
    address : as :meth:`Address.parse` takes it

    Raises
    ------
    BadAddress, NoSuchDevice, DeviceBusy
        If the port cannot be opened.
    DeviceTimeout, DamagedLink, LinkError
        If no board answers.
    """
    where = Address.parse(address)
    port = SerialPort(where.path, round(where.baud))
    return SerialTransport(port, baud=where.baud, retry=where.retry, timeout=where.open)
