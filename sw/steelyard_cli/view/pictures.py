"""Figures as SVG text."""

import io

import matplotlib
from matplotlib.figure import Figure

__all__ = ["WIDTH_INCHES", "svg"]

WIDTH_INCHES = 10.0


def svg(figure: Figure) -> str:
    """Element of a figure, the same text for the same figure, without the XML prologue."""
    with matplotlib.rc_context({"svg.hashsalt": "steelyard", "svg.fonttype": "none"}):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :].strip()
