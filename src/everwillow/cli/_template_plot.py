"""``everwillow template plot``."""

import fnmatch
import pathlib
import re
from collections.abc import Sequence

from everwillow._errors import ArgumentValueError
from everwillow.cli._template_print import read
from everwillow.cli._terminal import busy, show
from everwillow.workflows import template_plots
from everwillow.workflows.template_results import TemplateResults


# Messages name so many plots.
_NAMED = 30


def run(
    *,
    file: str,
    out: str,
    ending: str,
    title: str | None,
    log: bool,
    only: Sequence[str] | None,
) -> None:
    """Draw the plots of a file into a folder."""
    folder = pathlib.Path(out)
    if folder.exists() and not folder.is_dir():
        msg = f"--out: {out!r} is a file, and has to be a folder."
        raise ArgumentValueError(msg)
    found = read(file)
    is_result = isinstance(found, TemplateResults)
    make = template_plots.result_figures if is_result else template_plots.input_figures
    folder.mkdir(parents=True, exist_ok=True)
    written: list[str] = []
    seen: list[str] = []
    with busy("Drawing"):
        for name, figure in make(found, title=title, log=log):
            stem = _stem(name)
            seen.append(stem)
            if only and not any(fnmatch.fnmatchcase(stem, one) for one in only):
                continue
            while stem in written:
                stem += "_"
            figure.savefig(folder / f"{stem}.{ending}")
            written.append(stem)
    if not written:
        shown = ", ".join(seen[:_NAMED]) + (", ..." if seen[_NAMED:] else "")
        wanted = ", ".join(only or ()) or "of anything"
        msg = f"--only: there is no plot {wanted}. There are: {shown}."
        raise ArgumentValueError(msg)
    names = "\n".join(f"- {stem}.{ending}" for stem in written)
    show(f"{len(written)} plots are in {out}:\n{names}")


def _stem(name: str) -> str:
    """Return a name that every file system takes, in place of that of a mapping."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("_")
