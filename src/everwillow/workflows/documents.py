"""The kinds of files that everwillow reads: one table to recognise and load them.

The content of a file decides its kind, never its name. A new kind of file is an entry
of `KINDS`.
"""

import contextlib
import importlib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    EverwillowError,
    NameOnly,
    SpecificationError,
)
from everwillow._file_formats import FileFormat, format_of_file
from everwillow._hdf5 import format_of
from everwillow.models.histfactory.reading import refuse_others
from everwillow.models.json_source import document_kind, load_json, source_name
from everwillow.workflows.histfactory.patches import patched


class Kind(NamedTuple):
    """A kind of document.

    Attributes:
        title: The name of the kind, for messages.
        container: The format of such a file.
        signature: The signature of the kind: the value of `document_kind` for JSON; the
            attribute ``format`` of an HDF5 file; a pattern of a line of YAML files,
            which are of the first kind that matches.
        loader: The function that loads it, ``module:name``. It is imported when it is
            called, so that recognising a file imports no models.
        usage: A sentence that says which commands take it.
        options: The options of `load_document` for this kind.
        names_files: Whether such a document names files, so that its loader takes the
            argument `folder`.
    """

    title: str
    container: Literal["json", "hdf5", "yaml"]
    signature: str
    loader: str
    usage: str
    options: tuple[str, ...] = ()
    names_files: bool = False

    def load(self, content: Any, **options: Any) -> Any:
        """Load the content of a JSON document, or another file by its name."""
        module, _, name = self.loader.partition(":")
        function = getattr(importlib.import_module(f"everwillow.{module}"), name)
        return function(content, **options)


_JSON_USAGE = "pyhf workspaces and HS3 documents go to `everwillow fit`."
_JSON_OPTIONS = ("poi", "patches", "verify")
_RATIO_OPTIONS = (
    "measurement",
    "poi",
    "normalize",
    "interpolation",
    "template_statistics",
    "storage",
)

KINDS: Mapping[str, Kind] = {
    "pyhf": Kind(
        "pyhf workspace",
        "json",
        "workspace",
        "models.histfactory.model:from_pyhf",
        _JSON_USAGE,
        ("measurement", "interpolation", *_JSON_OPTIONS),
    ),
    "hs3": Kind(
        "HS3 document",
        "json",
        "hs3",
        "workflows.histfactory.hs3:hs3_model",
        _JSON_USAGE,
        ("analysis", *_JSON_OPTIONS),
    ),
    "nsbi": Kind(
        "density-ratio workspace",
        "json",
        "density ratios",
        "workflows.nsbi.models:model_of_workspace",
        "Density-ratio workspaces go to `everwillow fit` and `everwillow nsbi fit`.",
        (*_RATIO_OPTIONS, "patches", "verify"),
        names_files=True,
    ),
    "sas configuration": Kind(
        "configuration of scale and smearing",
        "yaml",
        r"(file_dt|file_mc|sas|fitter|corrlib)\s*:",
        "models.scale_smearing.configuration.document:read_configuration",
        "Configurations of scale and smearing (YAML) go to `everwillow sas fit`.",
    ),
    "nsbi configuration": Kind(
        "configuration of density ratios",
        "yaml",
        "",
        "workflows.nsbi.models:model_of_configuration",
        "Configurations of density ratios (YAML) go to `everwillow nsbi fit`, or to "
        "`everwillow nsbi build`, which makes workspaces of them.",
        _RATIO_OPTIONS,
    ),
    "template fit": Kind(
        "template fit",
        "hdf5",
        "everwillow templates",
        "models.templates.reading:load",
        "Template files go to `everwillow template fit`, and to `everwillow template "
        "print`, which shows their contents.",
    ),
    "template results": Kind(
        "file with results of a template fit",
        "hdf5",
        "everwillow template results",
        "workflows.templates.files:load_results",
        "Results of template fits go to `everwillow template print`.",
    ),
    "record": Kind(
        "result of a command or of everwillow.io.save",
        "hdf5",
        "everwillow record",
        "io.files:load",
        "If --out of a command wrote it, everwillow.io.load reads it in Python.",
    ),
}
"""All kinds of documents by name."""

WORKSPACES = ("pyhf", "hs3", "nsbi")
"""The kinds of JSON documents."""

RATIOS = ("nsbi", "nsbi configuration")
"""The kinds of documents with density ratios."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document, and its kind.

    Attributes:
        kind: A key of `KINDS`.
        content: The JSON value; of an HDF5 or YAML file its name.
        name: The name of the file, for messages.
        folder: The folder to which the names of files in the content are relative.
    """

    kind: str
    content: Any
    name: str
    folder: Path = field(default_factory=Path)

    @property
    def title(self) -> str:
        """The name of the kind, for messages."""
        return KINDS[self.kind].title

    def patched(self, patches: Iterable[str], *, verify: bool = True) -> "Document":
        """Return the document with patches applied, one after another.

        Args:
            patches: ``FILE`` or ``PATCHSET:NAME``, as in
                `everwillow.workflows.histfactory.patches.patched`.
            verify: Whether to check that a patch set is made for this workspace.
        """
        verify = verify and self.kind == "pyhf"
        return replace(self, content=patched(self.content, patches, verify=verify))

    def load(self, **options: Any) -> Any:
        """Load the document: a model, a template fit, results, or a record.

        Args:
            **options: As in `load_document`.
        """
        kind = KINDS[self.kind]
        given = {name: value for name, value in options.items() if value is not None}
        for name in given:
            if name not in kind.options:
                braces = ", ".join(f"{{{one}}}" for one in kind.options)
                known = f"no option {name!r}, only {braces}" if braces else "no options"
                raise ArgumentTypeError(
                    f"{self.name} is a {kind.title}, which has {known}.",
                    argument=name,
                    settings=dict.fromkeys(kind.options, NameOnly),
                )
        document, verify = self, given.pop("verify", True)
        if patches := given.pop("patches", ()):
            document = self.patched(patches, verify=verify)
        if kind.names_files:
            given["folder"] = self.folder
        return kind.load(document.content, **given)


def open_document(source: Any, kinds: Collection[str] = tuple(KINDS)) -> Document:
    """Read a document, and recognise its kind by its content.

    Args:
        source: A file; for JSON, gzipped or not, also its content as text, bytes or a
            dict.
        kinds: The kinds that are accepted.

    Raises:
        MissingFileError: If there is no such file.
        EverwillowError: If the document has none of these kinds; says which kind it
            has, and which command takes it.

    Example:
        >>> open_document({"metadata": {"hs3_version": "0.2"}}).kind
        'hs3'
    """
    found_format = _format(source)
    accepted = {KINDS[name].container for name in kinds}
    try:
        match _container(found_format, accepted):
            case "hdf5":
                document = _open_hdf5(source, kinds)
            case "yaml":
                document = Document(_yaml_kind(source), source, str(source))
            case _:
                document = _open_json(source)
    except EverwillowError as error:
        if found_format not in accepted:
            error.add(_usage(source, found_format))
        raise
    if document.kind not in kinds:
        kind = KINDS[document.kind]
        raise ArgumentValueError(
            f"{document.name}: expected a {_titles(kinds)}, but this is a {kind.title}."
            f" {kind.usage}"
        )
    return document


def _format(source: Any) -> FileFormat | None:
    """Return the format of a file; None for other sources."""
    if isinstance(source, str | os.PathLike):
        with contextlib.suppress(OSError, ValueError):
            return format_of_file(Path(source))
    return None


def _container(found: FileFormat | None, accepted: Collection[str]) -> str:
    """Return the format as which a source is read."""
    if found is not None and found in accepted:
        return found
    return "hdf5" if accepted == {"hdf5"} else "json"


def _usage(file: Any, file_format: FileFormat | None) -> str:
    """Return which command takes a file that another command does not take."""
    if file_format == "yaml":
        return KINDS[_yaml_kind(file)].usage
    if file_format != "hdf5":
        return _JSON_USAGE if file_format == "json" else ""
    try:
        return KINDS[_open_hdf5(file, KINDS).kind].usage
    except (EverwillowError, OSError):
        return KINDS["template fit"].usage


def _yaml_kind(file: str | os.PathLike[str]) -> str:
    """Return the kind of a YAML file, by the keys at the beginnings of its lines."""
    text = Path(file).read_text(encoding="utf-8-sig", errors="replace")
    for name, kind in KINDS.items():
        if kind.container == "yaml" and re.search(
            f"^{kind.signature}", text, re.MULTILINE
        ):
            return name
    raise AssertionError(file)  # the last kind has any line


def _open_hdf5(file: str | os.PathLike[str], kinds: Collection[str]) -> Document:
    signature = format_of(file)
    kind = _recognised("hdf5", signature)
    if kind is None and "record" not in kinds:
        raise ArgumentValueError(
            f"{file}: expected a {_titles(kinds)}, but the attribute 'format' of the "
            f"file is {signature!r}."
        )
    # A file of an unknown format is read as a record, which says what is wrong.
    return Document(kind or "record", file, str(file))


def _titles(kinds: Collection[str]) -> str:
    return " or a ".join(KINDS[name].title for name in kinds)


def _open_json(source: Any) -> Document:
    content, file = load_json(source), source_name(source)
    name = file or "the document"
    kind = _recognised("json", document_kind(content))
    if kind is not None:
        return Document(kind, content, name, Path(file).parent)
    refuse_others(content, file)
    contents = (
        f"has the keys {', '.join(map(repr, list(content)[:6])) or '(none)'}"
        if isinstance(content, Mapping)
        else f"is a {type(content).__name__}"
    )
    raise SpecificationError(
        f"{name} is neither a pyhf workspace (with 'channels', 'observations' and "
        f"'measurements'), nor an HS3 document (with 'distributions' and 'metadata'), "
        "nor a density-ratio workspace (with channels of type 'binned' or 'unbinned'): "
        f"it {contents}."
    )


def _recognised(container: str, signature: Any) -> str | None:
    for name, kind in KINDS.items():
        if (kind.container, kind.signature) == (container, signature):
            return name
    return None


def load_document(
    source: Any, kinds: Collection[str] = tuple(KINDS), **options: Any
) -> Any:
    """Load a document of any kind: a model, a template fit, results, or a record.

    Args:
        source: As for `open_document`.
        kinds: As for `open_document`.
        **options: For workspaces and HS3 documents; None is the default of each.

            - `measurement`: name or index of the measurement of a workspace; the first
              by default.
            - `interpolation`: of a pyhf workspace, as for `from_pyhf`; of density
              ratios, as for `everwillow.models.nsbi.load`.
            - `normalize`, `template_statistics`, `storage`: of density ratios.
            - `analysis`: name or index of the analysis of an HS3 document; the first
              by default.
            - `poi`: parameter of interest instead of that of the document.
            - `patches`: ``FILE`` or ``PATCHSET:NAME``, applied in turn.
            - `verify`: whether to check that a patch set is made for this workspace.

    Raises:
        MissingFileError: If there is no such file.
        EverwillowError: If the document has none of these kinds, or is not valid; says
            why.
        ArgumentTypeError: If an option belongs to another kind.

    Example:
        >>> mu = {"name": "mu", "type": "normfactor", "data": None}
        >>> sample = {"name": "signal", "data": [5.0], "modifiers": [mu]}
        >>> model = load_document(
        ...     {
        ...         "channels": [{"name": "SR", "samples": [sample]}],
        ...         "observations": [{"name": "SR", "data": [7]}],
        ...         "measurements": [
        ...             {"name": "m", "config": {"poi": "mu", "parameters": []}}
        ...         ],
        ...         "version": "1.0.0",
        ...     }
        ... )
        >>> model.poi
        'mu'
    """
    return open_document(source, kinds).load(**options)
