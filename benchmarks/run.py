"""Run all benchmarks, each file in a fresh process; print one table, write JSON."""

import argparse
import dataclasses
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks import template_fits
from benchmarks.timing import Row, run_fresh


TOPICS = (
    "import_cost",
    "first_fit",
    "second_fit",
    "command",
    "first_runs",
    "uncertainties",
    "vmapped_fits",
    "newton_against_peers",
    "profiles",
    "rankings",
    "limits",
    "toys",
    "unbinned",
    "published_fits",
    "published_limits",
    "large_workspaces",
    "template_fits",
    "density_ratios",
    "scale_smearing",
)
PACKAGES = ("everwillow", "jax", "equinox", "optimistix", "iminuit", "pyhf", "numpy")
UNITS = {"x": "×"}
# Beside the page of the documentation.
FIGURE = "template-fits-time.svg"


def number(value: float | None, unit: str) -> str:
    """Write a number with three digits and its unit."""
    if value is None:
        return ""
    text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{text} {UNITS.get(unit, unit)}".strip()


def cells(row: Row) -> tuple[str, ...]:
    """Write a row as text."""
    target = ""
    if row.target is not None:
        sign = "≤" if row.at_most else "≥"
        target = f"{sign} {number(row.target, row.unit)}: {'met' if row.met else 'NO'}"
    return (
        row.topic,
        row.what,
        number(row.value, row.unit),
        number(row.best, row.unit),
        target,
        row.note,
    )


HEADS = ("topic", "what", "median", "min", "target", "note")


def plain(rows: list[Row]) -> str:
    """Write a table for a terminal."""
    lines = [HEADS, *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def machine() -> str:
    """Say where and with what the numbers were made."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{processor()}; Python {platform.python_version()}, {versions}"


def processor() -> str:
    """Return the name of the processor and the number of its cores in use."""
    info = Path("/proc/cpuinfo")
    name = platform.processor() or platform.machine()
    if info.exists():
        lines = info.read_text().splitlines()
        names = [line.split(":")[1] for line in lines if line.startswith("model name")]
        name = names[0].strip() if names else name
    return f"{name}, {os.cpu_count()} cores"


PAGE = """# Benchmarks

Medians and the smallest of the repetitions, on one machine, peers in turn with ours in
the same process: {machine}. What each line means is told in `benchmarks/README.md`;
`python -m benchmarks --markdown docs/explanation/benchmarks.md` makes this page anew.

{tables}
"""


# What follows after the table of a topic.
FIGURES = {
    template_fits.TOPIC: f"""

![Time of an evaluation with a product by the number of stored effects]({FIGURE})"""
}


def section(topic: str, rows: list[Row]) -> str:
    """Write the table of a topic."""
    lines = [" | ".join(HEADS[1:]), " | ".join(["---"] * len(HEADS[1:]))]
    lines += [" | ".join(cells(row)[1:]) for row in rows if row.topic == topic]
    table = "\n".join(f"| {line} |" for line in lines)
    return f"## {topic.capitalize()}\n\n{table}{FIGURES.get(topic, '')}"


def markdown(rows: list[Row]) -> str:
    """Write the page of the documentation."""
    topics = dict.fromkeys(row.topic for row in rows)
    tables = [section(topic, rows) for topic in topics]
    return PAGE.format(machine=machine(), tables="\n\n".join(tables))


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "topics", nargs="*", help=f"of {', '.join(TOPICS)}; all if none"
    )
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument("--markdown", type=Path, help="page to write the table to")
    parser.add_argument(
        "--from-json", type=Path, help="show these numbers, run nothing"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.topics) - set(TOPICS)
    if unknown:
        parser.error(f"no such topic: {', '.join(sorted(unknown))}")
    if arguments.from_json:
        data = json.loads(arguments.from_json.read_text())["rows"]
        rows = [Row(**row) for row in data]
    else:
        rows = []
        for topic in arguments.topics or TOPICS:
            print(f"{topic} ...", file=sys.stderr, flush=True)
            rows += [Row(**row) for row in run_fresh(["-m", f"benchmarks.{topic}"])]
    print(plain(rows))
    print(machine())
    missed = [row.what for row in rows if row.met is False]
    print(f"{len(missed)} targets missed" + "".join(f"\n  {what}" for what in missed))
    if arguments.json:
        data = {"machine": machine(), "rows": [dataclasses.asdict(r) for r in rows]}
        arguments.json.write_text(json.dumps(data, indent=1) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text(markdown(rows))
        ladder = [row for row in rows if row.topic == template_fits.TOPIC]
        if ladder:
            template_fits.draw(ladder, arguments.markdown.parent / FIGURE)


if __name__ == "__main__":
    main()
