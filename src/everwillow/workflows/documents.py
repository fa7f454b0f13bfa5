"""The kinds of files that everwillow reads: one table to recognise and load them.

The content of a file says what it is, never its name. A new kind of file is a line in
`KINDS`, and a command that takes it says so there.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from everwillow._errors import ArgumentTypeError
from everwillow._file_formats import format_of_file
from everwillow._hdf5 import format_of
from everwillow.io.files import FORMAT as RECORD, load as load_record
from everwillow.models.templates import reading as template_fits
from everwillow.models.templates.writing import KIND as TEMPLATE_FIT
from everwillow.workflows.histfactory import load_model, read_source
from everwillow.workflows.templates import files as template_results


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        title: What such a file is, for people.
        hdf5_format: The attribute ``format`` of such an HDF5 file; empty for JSON.
        load: Returns its content, from its name; that of a model has options.
        usage: A sentence on the commands that take it.
    """

    title: str
    hdf5_format: str
    load: Callable[..., Any]
    usage: str


_JSON_USAGE = "pyhf workspaces and HS3 documents go to `everwillow fit`."

KINDS: Mapping[str, Kind] = {
    "pyhf": Kind("pyhf workspace", "", load_model, _JSON_USAGE),
    "hs3": Kind("HS3 document", "", load_model, _JSON_USAGE),
    "template fit": Kind(
        "template fit",
        TEMPLATE_FIT.format,
        template_fits.load,
        "Template files go to `everwillow template fit`, and to `everwillow template "
        "print`, which shows what is in them.",
    ),
    "template results": Kind(
        "results of a template fit",
        template_results.KIND.format,
        template_results.load_results,
        "Results of template fits go to `everwillow template print`.",
    ),
    "record": Kind(
        "result of a command or of everwillow.io.save",
        RECORD,
        load_record,
        "If --out of a command wrote it, everwillow.io.load reads it in Python.",
    ),
}
"""All kinds of files by name."""


def hdf5_kind(path: str | os.PathLike[str]) -> Kind | None:
    """Return the kind of an HDF5 file; None if everwillow does not know its format.

    Raises:
        MissingFileError: If there is no such file.
        ArgumentValueError: If it is no HDF5 file, or damaged.
        MissingH5pyError: If h5py is not installed.
    """
    known = {kind.hdf5_format: kind for kind in KINDS.values() if kind.hdf5_format}
    return known.get(format_of(path))


def load_document(path: str | os.PathLike[str], **options: Any) -> Any:
    """Load a file of any kind: a model, a template fit, results, or a record.

    Args:
        path: The file.
        **options: As in `everwillow.workflows.histfactory.load_model`, for pyhf
            workspaces and HS3 documents.

    Raises:
        MissingFileError: If there is no such file.
        EverwillowError: If the file is none of these kinds, or not valid; says why.
        ArgumentTypeError: If options are given for a kind that has none.

    Example:
        >>> import pathlib, tempfile
        >>> from everwillow import io
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "limit.h5")
        ...     io.save({"limit": 0.8}, file)
        ...     load_document(file)
        {'limit': 0.8}
    """
    file = Path(path)
    kind = None
    if file.is_file() and format_of_file(file) == "hdf5":
        # What is unknown is read as a record, which says what is wrong.
        kind = hdf5_kind(file) or KINDS["record"]
    if kind is None:
        return load_model(read_source(file), **options)
    if options:
        raise ArgumentTypeError(
            f"{next(iter(options))}: {file} is a {kind.title}, which has no options."
        )
    return kind.load(file)


__all__ = ["KINDS", "Kind", "hdf5_kind", "load_document"]
