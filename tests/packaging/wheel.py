"""Builds the wheel, installs it in an empty environment and uses it away from the repository.

    python tests/packaging/wheel.py

Runs `steelyard --version`, `steelyard boards`, `steelyard demo --device golden` and every script of
examples/ in a temporary folder, with no other path to the sources than the wheel. Installed are the
wheel and the extras `hw`, `import` and `prune`, the least that these need.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXTRAS = "hw,import,prune"
DIST = ROOT / "dist"


def main() -> None:
    """Build, install, run; ends with the first command's exit status that is not 0."""
    shutil.rmtree(DIST, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="steelyard-wheel-") as name:
        folder = Path(name)
        run(ROOT, sys.executable, *PIP, "wheel", "--quiet", "--no-deps", "-w", DIST, ROOT)
        run(folder, sys.executable, "-m", "venv", folder / "venv")
        python = folder / "venv" / "bin" / "python"
        (wheel,) = DIST.glob("steelyard-*.whl")
        constraints = ("-c", ROOT / "constraints.txt")
        run(folder, python, *PIP, "install", "--quiet", *constraints, f"{wheel}[{EXTRAS}]")
        for command in commands(folder):
            run(folder, python, *command)


PIP = ("-m", "pip", "--disable-pip-version-check")


def commands(folder: Path) -> Iterator[tuple[str, ...]]:
    """What a user of the installed package runs."""
    yield "-c", f"import steelyard; assert {str(ROOT)!r} not in steelyard.__file__"
    yield "-m", "steelyard_cli", "--version"
    yield "-m", "steelyard_cli", "boards"
    yield "-m", "steelyard_cli", "demo", "--device", "golden", "--images", "16", "-o", "demo"
    shutil.copytree(ROOT / "examples", folder / "examples")
    for script in sorted((folder / "examples").glob("*.py")):
        yield (str(script),)


def run(folder: Path, *command: str | Path) -> None:
    """Run a command as somebody who has nothing of this repository in the environment."""
    start = time.monotonic()
    environment = {key: os.environ[key] for key in os.environ if not key.startswith("PYTHON")}
    result = subprocess.run(
        [*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True
    )
    shown = " ".join(map(str, command[1:]))
    print(f"{time.monotonic() - start:5.0f} s  {shown}", flush=True)
    if result.returncode:
        print(result.stdout[-4000:], result.stderr[-4000:], sep="\n")
        sys.exit(result.returncode)


if __name__ == "__main__":
    main()
