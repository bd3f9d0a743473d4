"""Small programs in the place of the ECP5's tools, and whether a process lives."""

import stat
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["ECPPACK", "NEXTPNR", "PACK", "YOSYS", "alive", "install"]

YOSYS = """
import json, pathlib
gate = {'type': 'DCCA', 'connections': {'CLKO': [7]}}
top = {'cells': {'gate': gate}, 'netnames': {'a': {'bits': [6]}, 'pll.clock': {'bits': [7]}}}
pathlib.Path('top.json').write_text(json.dumps({'modules': {'top': top}}))
"""
NEXTPNR = """
import json, pathlib, sys
def of(option): return sys.argv[sys.argv.index(option) + 1]
seed = int(of('--seed'))
pathlib.Path(of('--textcfg')).write_text(f'seed {seed}')
pathlib.Path(of('--log')).write_text('Info: routed')
pathlib.Path('arguments.json').write_text(json.dumps(sys.argv))
clocks = {'a': {'achieved': 57.5 + 5 * seed, 'constraint': 150.0}, 'b': {'achieved': 400.0}}
cells = ('TRELLIS_COMB', 'TRELLIS_FF', 'MULT18X18D', 'DP16KD')
used = {name: {'used': n, 'available': 100} for n, name in enumerate(cells)}
pathlib.Path(of('--report')).write_text(json.dumps({'fmax': clocks, 'utilization': used}))
"""
ECPPACK = """
import pathlib, sys
def of(option): return sys.argv[sys.argv.index(option) + 1]
pathlib.Path(of('--bit')).write_bytes(pathlib.Path(of('--input')).read_bytes())
"""

PACK = """
import pathlib, sys
def of(option): return sys.argv[sys.argv.index(option) + 1]
if '--pack-only' in sys.argv:
    assert '--textcfg' not in sys.argv and sys.argv.count('--log') == 1
    rows = {'TRELLIS_IO': 3, 'DP16KD': 53, 'MULT18X18D': 28, 'TRELLIS_FF': 7281,
            'TRELLIS_COMB': 6983}
    lines = ['Info: Packing LUTs...', 'Info: Device utilisation:']
    lines += [f'Info: \\t{name:>20}: {used:7d}/{9999:7d}    29%' for name, used in rows.items()]
    pathlib.Path(of('--log')).write_text('\\n'.join(lines) + '\\n\\n2 warnings, 0 errors\\n')
    raise SystemExit
"""


def install(folder: Path, setenv: Callable[[str, str], None], **texts: str) -> None:
    """Put Python programs in the places of the tools that variables name.

    Each says its version when it is asked.
    """
    texts = {"YOSYS": YOSYS, "NEXTPNR_ECP5": PACK + NEXTPNR, "ECPPACK": ECPPACK} | texts
    asked = "import sys\nif '--version' in sys.argv: print('small 1'); raise SystemExit\n"
    for variable, text in texts.items():
        file = folder / variable.lower()
        file.write_text(f"#!{sys.executable}\n{asked}{text}")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        setenv(variable, str(file))


def alive(pid):
    """Whether a process runs that nobody waits for."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
