"""``everwillow template print``."""

import pathlib
from collections.abc import Sequence
from typing import Any

from everwillow._errors import ArgumentValueError
from everwillow._hdf5 import format_of
from everwillow.cli.files import expecting_hdf5
from everwillow.cli.report.template_results import chosen, details
from everwillow.cli.report.terminal import show
from everwillow.models.templates.inputs_report import inspect_inputs
from everwillow.workflows.documents import KINDS, hdf5_kind
from everwillow.workflows.templates.results import TemplateResults


def run(*, file: str, only: Sequence[str] | None, everything: bool) -> None:
    """Print what is in a file, or some parts of it."""
    found, patterns = read(file), tuple(only or ())
    title = pathlib.Path(file).name
    if isinstance(found, TemplateResults):
        parts = details(found, title, everything=everything)
    else:
        report = str(inspect_inputs(found))
        parts = [("title", f"{title}: a template fit"), ("inputs", report)]
    show(*chosen(parts, patterns))


def read(file: str) -> Any:
    """Read results, or what is to be fitted; which of them the file tells.

    Raises:
        MissingFileError: If there is no such file.
        ArgumentValueError: If it is neither.
    """
    with expecting_hdf5(file):
        kind = hdf5_kind(file)
    known = KINDS["template fit"], KINDS["template results"]
    if kind is not None and kind in known:
        return kind.load(file)
    raise ArgumentValueError(
        f"{file}: the file has neither a template fit nor results of one: its "
        f"attribute 'format' is {format_of(file)!r}."
    )
