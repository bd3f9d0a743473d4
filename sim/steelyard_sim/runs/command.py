"""What the commands of this room share."""

import json
import os
from pathlib import Path
from typing import Any

import click

from steelyard.errors import UserError
from steelyard.files import check_output, replacing

__all__ = ["JSON_FILE", "Command", "write_json"]


class _JsonFile(click.Path):
    """File that is checked before the work that fills it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        try:
            check_output(path)
        except UserError as error:
            self.fail(str(error), param, ctx)
        return path


JSON_FILE = _JsonFile(dir_okay=False, path_type=Path)


class Command(click.Command):
    """Command of which a user's mistake is one sentence on stderr and exit status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(2)


def write_json(path: Path, document: dict[str, Any], what: str) -> None:
    """Write a document as a whole or not at all.

    Parameters
    ----------
    what : the document is, for the error's sentence

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    with replacing(path, what) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
