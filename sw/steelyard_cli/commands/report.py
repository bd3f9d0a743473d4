"""``steelyard report``: a program as HTML, JSON and pictures."""

from pathlib import Path

import click

from steelyard.program import Program
from steelyard.report import occupancy, plan_document, read_run, timeline_document

from ..options import FILE, OUTPUT_FOLDER
from ..view.console import show
from ..view.output import write_json, write_text

__all__ = ["command"]


@click.command("report")
@click.argument("program", type=FILE, metavar="NET.syp")
@click.option("-o", "--output", type=OUTPUT_FOLDER, required=True, metavar="DIR")
@click.option("--run", "run_file", type=FILE, metavar="FILE.json",
              help="What 'steelyard run --json' wrote, for measured cycles.")  # fmt: skip
def command(program: Path, output: Path, run_file: Path | None) -> None:
    """Write a report of a program: HTML and JSON with cycles, occupancy, memories and pictures.

    One picture is a timeline: when each layer runs, and in how many of its cycles the engine works
    or waits for activations, weights or the drain. It shows what the cycle model predicts, with
    --run what a device counted.

    \b
    Example:
      steelyard report net.syp -o report
      steelyard report net.syp --run run.json -o report
    """
    # Pictures and page need packages of their own.
    from ..view.program_pictures import program_pictures
    from ..view.report_page import report_page

    compiled = Program.load(program)
    measured = read_run(run_file, compiled) if run_file else None
    plan = plan_document(compiled)
    if measured:
        for row, counted in zip(plan["layers"], measured["layers"], strict=True):
            row["cycles"] = counted["cycles"]
            row["occupancy"] = occupancy(compiled, {**row, **counted})
    timeline = timeline_document(compiled, measured)
    pictures = program_pictures(compiled, plan["layers"], timeline)
    page = report_page(compiled, plan, measured, pictures)
    for picture in pictures:
        write_text(output / f"{picture.name}.svg", picture.svg + "\n")
    write_json(
        output / "report.json",
        {
            **plan,
            "measured_cycles": measured["cycles"] if measured else None,
            "timeline": timeline,
        },
    )
    write_text(output / "report.html", page)
    show(f"{output}/report.html, report.json and {len(pictures)} pictures")
