"""Sphinx: the pages of this folder and the API of all packages; ``make docs``."""

import functools
import importlib
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("sw", "hw", "sim", "boards")]

import numpydoc.docscrape  # noqa: E402
import numpydoc.numpydoc  # noqa: E402

import steelyard  # noqa: E402

project = "Steelyard"
release = steelyard.__version__
author = "Steelyard contributors"
project_copyright = author
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
]
templates_path = ["templates"]
html_theme = "alabaster"
html_theme_options = {"page_width": "1100px", "sidebar_width": "240px"}
html_show_sourcelink = False
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
autosummary_generate = True
autosummary_ignore_module_all = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True, "ignore-module-all": True}
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

nitpicky = True
suppress_warnings = ["ref.python"]  # a short name that several modules have
# Names of other packages' types as signatures shorten them, and type variables.
nitpick_ignore_regex = [
    ("py:class", r"(nn\.)?Module|Component|Table|collections\.abc\.(Callable|Mapping)\[.*"),
    ("py:class", r".*\._\w+|numpy\.Annotated"),
]

# Written anew by each build, so that no module stays that is gone.
shutil.rmtree(Path(__file__).with_name("api"), ignore_errors=True)
HEADING = re.compile(r"^(Members|Attributes)\n-+\n", re.MULTILINE)


def merge_members(app, what, name, obj, options, lines):
    """Members of a component or record, a section of ours, become numpydoc's attributes."""
    text = "\n".join(lines)
    if HEADING.search(text):
        parts = HEADING.split(text)
        entries = "\n\n".join(part.strip() for part in parts[2::2])
        lines[:] = f"{parts[0].rstrip()}\n\nAttributes\n----------\n{entries}\n".split("\n")


# A section of ours, in docstrings as written; and signatures come of the code, never of docstrings.
numpydoc.docscrape.NumpyDocString.sections |= {"Members": [], "Platform Overrides": []}
numpydoc.numpydoc.mangle_signature = lambda *_: None


def find(app, env, node, contnode):
    """A name as a docstring has it: one that its module knows, or that a package hands on."""
    target = node.get("reftarget", "")
    here, owner = node.get("py:module") or "", node.get("py:class") or ""
    for module, name in ((here, target), (here, f"{owner}.{target}"), *_cuts(target)):
        try:
            found = functools.reduce(getattr, name.split("."), importlib.import_module(module))
        except (ImportError, AttributeError, ValueError):
            continue
        home, inner = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
        # Text where the API has no entry of it: other packages' names, and members of enumerations.
        return _resolve(app, env, node, contnode, f"{home}.{inner}") or contnode
    alike = [name for name in env.get_domain("py").objects if name.endswith(f".{target}")]
    return _resolve(app, env, node, contnode, alike[0]) if len(alike) == 1 else None


def _resolve(app, env, node, contnode, name):
    """The same question again, by the name under which the API has it."""
    args = (env, node["refdoc"], app.builder, node["reftype"], name, node, contnode)
    return env.get_domain("py").resolve_xref(*args)


def _cuts(target):
    parts = target.split(".")
    return [(".".join(parts[:n]), ".".join(parts[n:])) for n in range(len(parts) - 1, 0, -1)]


def setup(app):
    """Runs before numpydoc reads the docstring."""
    app.connect("autodoc-process-docstring", merge_members, priority=100)
    app.connect("missing-reference", find)
