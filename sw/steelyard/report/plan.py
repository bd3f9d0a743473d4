"""Plan of a program: what its layers take, before it runs."""

from dataclasses import asdict
from typing import Any

from ..errors import UserError
from ..program import Program

__all__ = ["plan_document"]


def plan_document(program: Program) -> dict[str, Any]:
    """Plan of a program as JSON holds it.

    Raises
    ------
    UserError
        If the program has no layers.
    """
    if not program.layers:
        raise UserError("The program has no layers; compile a network that has some.")
    return {
        "network": program.network.name,
        "batch": program.batch,
        "config": program.config.values(),
        "config_sha256": program.config.hash().hex(),
        "host": None if program.host is None else program.host.to_dict(),
        "ideal_cycles": sum(entry.ideal_cycles for entry in program.layers),
        "predicted_cycles": sum(entry.predicted_cycles for entry in program.layers),
        "memories": [asdict(use) for use in program.uses],
        "layers": [asdict(each) for each in program.explain()],
    }
