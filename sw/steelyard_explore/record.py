"""What was evaluated before: results by the content of what they follow from."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

import steelyard
import steelyard_boards
from steelyard.errors import UserError
from steelyard.network import Network, to_arrays
from steelyard_boards import Board, Demand

from .evaluate import Point, Refusal
from .space import Space

__all__ = ["Record", "code_hash", "content_key", "from_text", "to_text"]

Result = list[Point | Refusal]
"""What became of a configuration, for each size of its memory of partial sums."""

CODE = ("contract", "network", "engines", "compile", "program")
"""Rooms of the core that decide what a plan is."""
TABLES = (
    "CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, result TEXT NOT NULL)",
    # A job in words, what became of it ('done', 'never' or 'failed'), its result, and what it made.
    "CREATE TABLE IF NOT EXISTS jobs (key TEXT PRIMARY KEY, job TEXT NOT NULL, state TEXT NOT NULL,"
    " result TEXT NOT NULL, made BLOB)",
)
KEPT = (
    "additions", "partial_sum_channels", "activation_words", "weight_words", "parameter_words",
    "max_layers",
)  # fmt: skip
"""Fields that a plan decides; all others are the space's."""
SECONDS = 30.0
"""How long another process that writes is waited for."""


def content_key(network: Network, board: Board, space: Space) -> str:
    """Hash of all that the results of a space follow from, but batch and numbers.

    The network's content, the board's device, template and choices, and the code that plans.
    """
    digest = hashlib.sha256(_code().encode())
    manifest, arrays = to_arrays(network)
    digest.update(json.dumps(manifest, sort_keys=True).encode())
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    digest.update(space.template.canonical().encode())
    digest.update(repr((space.choices, board.device)).encode())
    return digest.hexdigest()


@cache
def _code() -> str:
    """Hash of the sources of this package, of the boards and of what plans."""
    core, boards = Path(steelyard.__path__[0]), Path(steelyard_boards.__path__[0])
    return code_hash([*(core / name for name in CODE), boards, Path(__file__).parent])


def code_hash(folders: Iterable[Path]) -> str:
    """Hash of all Python sources in some folders."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            digest.update(str(path.relative_to(folder)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


class Record:
    """Results in a file that outlives whoever writes it.

    Each result is there whole or not at all, whenever a process is killed.

    Parameters
    ----------
    path : file, made if it does not exist; its folder too

    Raises
    ------
    UserError
        If it cannot be opened, or is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=SECONDS)
            with self._file:
                for table in TABLES:
                    self._file.execute(table)
        except (OSError, sqlite3.Error) as error:
            raise UserError(
                f"Record {str(path)!r} cannot be opened ({error}); remove it, or give another "
                "folder."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def get(self, keys: Iterable[str]) -> dict[str, str]:
        """Those of some results that are known, by their keys."""
        found = {}
        for key in keys:
            row = self._call("SELECT result FROM results WHERE key = ?", (key,)).fetchone()
            if row is not None:
                found[key] = str(row[0])
        return found

    def put(self, results: Mapping[str, str]) -> None:
        """Keep results by their keys.

        Raises
        ------
        UserError
            If the file cannot be written, for want of room on the disk maybe.
        """
        with self._file:
            for key, text in results.items():
                self._call("INSERT OR IGNORE INTO results VALUES (?, ?)", (key, text))

    def job(self, key: str) -> tuple[str, str, bytes] | None:
        """State, result and what was made of a job; None if it is not known."""
        text = "SELECT state, result, made FROM jobs WHERE key = ?"
        row = self._call(text, (key,)).fetchone()
        return None if row is None else (str(row[0]), str(row[1]), bytes(row[2] or b""))

    def put_job(self, key: str, job: str, state: str, result: str, made: bytes) -> None:
        """Keep what became of a job; what is known to be done or never to be stays.

        Parameters
        ----------
        job : what the key is the hash of
        state : ``"done"``, ``"never"`` if it cannot be, or ``"failed"``, which another time may not
        made : files, if any

        Raises
        ------
        UserError
            If the file cannot be written, for want of room on the disk maybe.
        """
        with self._file:
            self._call(
                "INSERT INTO jobs VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET state = "
                "excluded.state, result = excluded.result, made = excluded.made "
                "WHERE jobs.state = 'failed'",
                (key, job, state, result, made or None),
            )

    def _call(self, text: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        try:
            return self._file.execute(text, values)
        except sqlite3.Error as error:
            raise UserError(
                f"Record {str(self._path)!r} cannot be used ({error}); make room on its disk, or "
                "remove it."
            ) from error


def to_text(result: Result) -> str:
    """Result as a record keeps it."""
    return json.dumps([_plain(each) for each in result])


def _plain(each: Point | Refusal) -> list[Any]:
    if isinstance(each, Refusal):
        return [each.reason, each.sentence]
    plain, demand = each.config.plain(), each.demand
    return [
        each.number, each.batch, each.cycles, [plain[name] for name in KEPT],
        [demand.luts, demand.block_rams, demand.multipliers, demand.large_rams],
    ]  # fmt: skip


def from_text(text: str, space: Space) -> Result:
    """Result of what a record kept.

    Raises
    ------
    ValueError, TypeError, UserError
        If it is none.
    """
    return [_made(each, space) for each in json.loads(text)]


def _made(values: list[Any], space: Space) -> Point | Refusal:
    if len(values) == 2:
        return Refusal(*values)
    number, batch, cycles, kept, demand = values
    config = space.config(number).with_(**dict(zip(KEPT, kept, strict=True)))
    return Point(number=number, config=config, batch=batch, cycles=cycles, demand=Demand(*demand))
