"""``everwillow template print``."""

import pathlib
from typing import Any

from everwillow._errors import ArgumentValueError
from everwillow._hdf5 import format_of
from everwillow.cli._template_tables import details
from everwillow.cli._terminal import show
from everwillow.models.templates import storage
from everwillow.models.templates.inputs_report import inspect_inputs
from everwillow.workflows import templates


def run(*, file: str, everything: bool) -> None:
    """Print what is in a file."""
    found = read(file)
    if isinstance(found, templates.TemplateResults):
        show(*details(found, pathlib.Path(file).name, everything=everything))
    else:
        show(f"{pathlib.Path(file).name}: a template fit", str(inspect_inputs(found)))


def read(file: str) -> Any:
    """Read results, or what is to be fitted; which of them the file tells.

    Raises:
        MissingFileError: If there is no such file.
        ArgumentValueError: If it is neither.
    """
    kind = format_of(file)
    if kind == storage.KIND.format:
        return storage.load(file)
    if kind == templates.KIND.format:
        return templates.load_results(file)
    msg = (
        f"{file}: the file has neither a template fit nor results of one: its "
        f"attribute 'format' is {kind!r}."
    )
    raise ArgumentValueError(msg)
