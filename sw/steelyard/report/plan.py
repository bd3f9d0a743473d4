"""Plan of a program: what its layers take, before it runs."""

from dataclasses import asdict
from typing import Any

from ..errors import UserError
from ..network import Network
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
    network = program.network
    return {
        "network": network.name,
        "input": _end(network, network.input, network.input_view),
        "outputs": [
            _end(network, name, view)
            for name, view in zip(network.outputs, network.output_views, strict=True)
        ],
        "batch": program.batch,
        "config": program.config.values(),
        "config_sha256": program.config.hash().hex(),
        "host": None if program.host is None else program.host.to_dict(),
        "ideal_cycles": sum(entry.ideal_cycles for entry in program.layers),
        "predicted_cycles": sum(entry.predicted_cycles for entry in program.layers),
        "memories": [asdict(use) for use in program.uses],
        "layers": [asdict(each) for each in program.explain()],
    }


def _end(network: Network, name: str, view: tuple[int, ...]) -> dict[str, Any]:
    tensor = network.tensor(name)
    return {
        "name": name,
        "shape": list(view),
        "scale": tensor.scale,
        "zero_point": tensor.zero_point,
    }
