# amaranth: UnusedElaboratable=no
"""Structure of a component's netlist: what depends on what within a cycle."""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from amaranth.back import rtlil

from formal.prover import yosys
from steelyard_hw.verilog import bare_memories

__all__ = ["Netlist"]

CLOCKED = ("$dff", "$dffe", "$sdff", "$sdffe", "$sdffce", "$adff", "$adffe", "$aldff")


def _sources(cell: dict[str, Any]) -> dict[int, list[Any]]:
    """Output bits of a cell with the bits that they depend on in the same cycle."""
    ends = [n for n, direction in cell["port_directions"].items() if direction == "output"]
    bits = {n: cell["connections"][n] for n in cell["port_directions"]}
    if cell["type"] in CLOCKED:
        return {}
    if cell["type"] == "$mem_v2":
        clocked = cell["parameters"]["RD_CLK_ENABLE"]
        inputs = bits["RD_ADDR"] if "0" in clocked else []
    else:
        inputs = [bit for name in bits if name not in ends for bit in bits[name]]
    return {bit: inputs for name in ends for bit in bits[name]}


class Netlist:
    """Flat netlist of a component, as Yosys writes it."""

    def __init__(self, component: Any):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with bare_memories():
                design = rtlil.convert(component, name="top", emit_src=False)
            (folder / "top.il").write_text(design)
            yosys(
                "read_rtlil top.il; hierarchy -top top; proc; flatten; opt_clean; memory_collect\n"
                "write_json top.json",
                folder,
            )
            module = json.loads((folder / "top.json").read_text())["modules"]["top"]
        self._ports: dict[str, Any] = module["ports"]
        self._nets: dict[str, Any] = module["netnames"]
        self._drivers: dict[Any, list[Any]] = {}
        for cell in module["cells"].values():
            self._drivers.update(_sources(cell))

    def depends_on(self, outputs: Iterable[str]) -> set[str]:
        """Inputs on which outputs depend without a register between."""
        inputs = {
            bit: name
            for name, port in self._ports.items()
            if port["direction"] == "input"
            for bit in port["bits"]
        }
        left = [bit for name in outputs for bit in self._ports[name]["bits"]]
        seen: set[Any] = set()
        while left:
            bit = left.pop()
            if bit not in seen:
                seen.add(bit)
                left += self._drivers.get(bit, [])
        return {inputs[bit] for bit in seen if bit in inputs}

    def same(self, left: str, right: str) -> bool:
        """Whether two wires, of which any may be in a submodule, are one."""
        return self._nets[left]["bits"] == self._nets[right]["bits"]
