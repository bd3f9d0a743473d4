"""Figures as SVG text."""

import io
from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure

__all__ = ["WIDTH_INCHES", "Picture", "svg"]

WIDTH_INCHES = 10.0


@dataclass(frozen=True)
class Picture:
    """Picture with its words; `svg` is a whole element."""

    name: str
    title: str
    caption: str
    svg: str


def svg(figure: Figure) -> str:
    """Element of a figure, the same text for the same figure, without the XML prologue."""
    with matplotlib.rc_context({"svg.hashsalt": "steelyard", "svg.fonttype": "none"}):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :].strip()
