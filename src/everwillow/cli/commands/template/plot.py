"""``everwillow template plot``."""

import pathlib
from collections.abc import Sequence
from typing import Any

from everwillow._errors import ArgumentValueError
from everwillow._store import save_figure
from everwillow.cli.commands.template.print import KINDS
from everwillow.cli.report.parts import check_found, matches, names_of_plot
from everwillow.cli.report.terminal import busy, show
from everwillow.workflows.documents import load_document
from everwillow.workflows.templates import plots
from everwillow.workflows.templates.results import TemplateResults


def run(
    *,
    file: str,
    out: str,
    ending: str,
    title: str | None,
    log: bool,
    per_width: bool | None,
    only: Sequence[str] | None,
) -> None:
    """Draw the plots of a file into a folder."""
    folder = pathlib.Path(out)
    if folder.exists() and not folder.is_dir():
        raise ArgumentValueError(f"--out: {out!r} is a file, and has to be a folder.")
    content = load_document(file, KINDS)
    is_result = isinstance(content, TemplateResults)
    make = plots.result_figures if is_result else plots.input_figures
    folder.mkdir(parents=True, exist_ok=True)
    written: list[str] = []
    drawn: list[tuple[str, ...]] = []
    options: Any = {"title": title, "log": log, "per_width": per_width}
    with busy("Drawing"):
        for name, figure in make(content, **options):
            names = names_of_plot(name)
            drawn.append(names)
            if not matches(only or (), names):
                continue
            stem = names[0]
            while stem in written:
                stem += "_"
            save_figure(figure, folder / f"{stem}.{ending}")
            written.append(stem)
    check_found(only or (), drawn, "plot")
    lines = "\n".join(f"- {stem}.{ending}" for stem in written)
    show(f"{len(written)} plots are in {out}:\n{lines}")
