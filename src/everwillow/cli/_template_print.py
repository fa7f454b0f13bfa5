"""``everwillow template print``."""

import pathlib
from typing import Any

from everwillow._errors import ArgumentValueError, MissingFileError
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
    path = pathlib.Path(file)
    if not path.is_file():
        msg = f"{path}: there is no such file."
        raise MissingFileError(msg)
    try:
        with storage._h5py().File(path, "r") as opened:
            kind = opened.attrs.get("format")
    except OSError as error:
        msg = f"{path}: this is no HDF5 file, or it is damaged ({error})."
        raise ArgumentValueError(msg) from error
    if kind == storage.FORMAT:
        return storage.load(path)
    if kind == templates.FORMAT:
        return templates.load_results(path)
    msg = (
        f"{path}: the file has neither a template fit nor results of one: its "
        f"attribute 'format' is {kind!r}."
    )
    raise ArgumentValueError(msg)
