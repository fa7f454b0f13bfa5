"""Reading of JSON documents from files, texts and dicts.

`load_json` is the only function that reads JSON; functions for documents of several
families use it and `everwillow._file_formats`. It returns a dict or list as it is, so
that a document can be passed on without reading it again.
"""

import contextlib
import gc
import gzip
import io
import json
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from everwillow._errors import ArgumentTypeError, MissingFileError, SpecificationError
from everwillow._file_formats import LOOKED_AT, file_format, is_histfactory_xml


Source = str | os.PathLike[str] | bytes | Mapping[str, Any]
"""A document: the name of a file, JSON text, or a dict."""

DocumentKind = Literal[
    "workspace", "pyhf model", "density ratios", "hs3", "patch set", "patch"
]

_SHOWN = 200  # characters of a name in a message
_XML_COMMAND = "pyhf xml2json --basedir . combination.xml --output-file workspace.json"
_PLAIN = {float, int, str, bool, type(None)}


def load_json(source: Source | list[Any]) -> Any:
    """Read a JSON document from a file, a text or a document in memory.

    Args:
        source: A file (gzipped ones too), JSON text as `str` or `bytes`, or a document
            that is a dict or list already, which is returned as it is. A string is
            text if it has a brace, a bracket, a ``<`` or several lines, otherwise the
            name of a file.

    Returns:
        The content of the document, usually a dict.

    Raises:
        MissingFileError: If there is no such file.
        SpecificationError: If it is not JSON, with line and column, or with advice for
            datacards, HistFactory XML, ROOT files and archives.
        ArgumentTypeError: If the source is of another type.

    Example:
        >>> load_json('{"version": "1.0.0"}')
        {'version': '1.0.0'}
    """
    if isinstance(source, dict | list):
        return source
    if isinstance(source, Mapping):
        return dict(source)
    if isinstance(source, bytes | bytearray):
        return _parse(_decoded(bytes(source), "the text"), "the text")
    if isinstance(source, str) and _is_text(source):
        return _parse(source, "the text")
    if isinstance(source, str | os.PathLike):
        name = os.fsdecode(source)
        return _parse(_decoded(_contents(name), _quoted(name)), _quoted(name))
    raise ArgumentTypeError(
        f"expected a file, JSON text or a dict, got {type(source).__name__}."
    )


def source_name(source: Any) -> str:
    """Return the name of the file for messages; empty for other sources."""
    if isinstance(source, str) and _is_text(source):
        return ""
    return str(source) if isinstance(source, str | os.PathLike) else ""


def document_kind(document: Any) -> DocumentKind | None:
    """Return the kind of a JSON document from its keys; None if it is unknown.

    Args:
        document: The JSON value, as `load_json` returns it.

    Returns:
        ``"workspace"`` of pyhf, ``"pyhf model"``, which has channels only, ``"density
        ratios"`` for a workspace whose channels are binned or unbinned, ``"hs3"``,
        ``"patch set"``, or ``"patch"`` for a JSON patch (RFC 6902).

    Example:
        >>> document_kind({"channels": [], "measurements": []})
        'workspace'
    """
    if isinstance(document, list):
        operations = all(isinstance(one, dict) and "op" in one for one in document)
        return "patch" if document and operations else None
    if not isinstance(document, Mapping):
        return None
    if "channels" in document:
        if _has_ratios(document):
            return "density ratios"
        complete = document.keys() & {"observations", "measurements"}
        return "workspace" if complete else "pyhf model"
    metadata = document.get("metadata")
    versioned = isinstance(metadata, Mapping) and "hs3_version" in metadata
    if versioned or document.keys() & {"distributions", "likelihoods"}:
        return "hs3"
    return "patch set" if "patches" in document else None


def _has_ratios(document: Mapping[Any, Any]) -> bool:
    """Return whether channels have types, or observations events, unlike in pyhf."""

    def entries(key: str) -> list[Any]:
        listed = document.get(key)
        listed = listed if isinstance(listed, list) else []
        return [one for one in listed if isinstance(one, Mapping)]

    return any(
        one.get("type") in ("binned", "unbinned") for one in entries("channels")
    ) or any("ratios" in one for one in entries("observations"))


def _is_text(source: str) -> bool:
    return source.lstrip("\ufeff \t\r\n")[:1] in ("{", "[", "<", "") or "\n" in source


def _quoted(name: str) -> str:
    return repr(name[:_SHOWN])


def _contents(name: str) -> bytes:
    file = pathlib.Path(name)
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        folder = file.parent
        where = "" if folder.is_dir() else f", nor a folder {str(folder)!r}"
        raise MissingFileError(f"There is no file {_quoted(name)}{where}.") from error
    except IsADirectoryError as error:
        files = ", ".join(sorted(entry.name for entry in file.glob("*.json"))[:6])
        raise SpecificationError(
            f"{_quoted(name)} is a folder. Name a file in it; JSON files there: "
            f"{files or 'none'}."
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SpecificationError(
            f"{_quoted(name)} cannot be read: {reason}."
        ) from error


def _decoded(content: bytes, name: str) -> str:
    if file_format(content) == "gzip":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise SpecificationError(
                f"{name}: the gzipped data are damaged or cut: {error}."
            ) from error
    _refuse_binary(content, name)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecificationError(
            f"{name}: expected JSON in UTF-8, but byte {error.start} is not valid "
            "UTF-8."
        ) from error


def _refuse_binary(content: bytes, name: str) -> None:
    match file_format(content):
        case "zip":
            raise SpecificationError(
                f"{name} is a zip archive. Unpack it and name the file in it."
                f"{_files_in_archive(content)}"
            )
        case "tar":
            raise SpecificationError(
                f"{name} is a tar archive. Unpack it with `tar -xf` and name the file "
                "in it."
            )
        case "hdf5":
            raise SpecificationError(f"{name} is an HDF5 file; expected JSON.")
        case "root":
            raise SpecificationError(
                f"{name} is a ROOT file. Of a RooFit workspace make HS3 with ROOT's "
                'RooJSONFactoryWSTool(workspace).exportJSON("workspace.json") and read '
                "that with everwillow.models.hs3.load; of HistFactory XML and its "
                f"histograms make a pyhf workspace with `{_XML_COMMAND}`."
            )


def _files_in_archive(content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inside = [name for name in archive.namelist() if name.endswith(".json")]
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return ""
    return f" JSON files in it: {', '.join(inside[:6]) or 'none'}."


def _refuse_text(text: str, name: str) -> None:
    content = text[:LOOKED_AT].encode(errors="replace")
    if is_histfactory_xml(content):
        raise SpecificationError(
            f"{name} is XML: HistFactory of ROOT. Convert it where its histograms are "
            f"(pip install 'pyhf[xmlio]'): `{_XML_COMMAND}`"
        )
    known = file_format(content)
    if known == "yaml":
        raise SpecificationError(f"{name} is YAML; expected JSON.")
    if known == "datacard":
        raise SpecificationError(
            f"{name} is a datacard of CMS Combine. Where Combine is installed, `pip "
            "install pyhf-combine-converter` and convert it: `combine-to-pyhf "
            "datacard.txt --out-file workspace.json`. The two formats differ in how "
            "they interpolate shapes, so compare a few values of the likelihood."
        )


def _parse(text: str, name: str) -> Any:
    if not text.strip("\ufeff \t\r\n"):
        raise SpecificationError(f"{name} is empty; expected JSON.")
    _refuse_text(text, name)
    try:
        return json.loads(text.lstrip("\ufeff"), object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        cut = ""
        if not text[error.pos :].strip() or error.msg.startswith("Unterminated"):
            cut = " The text ends too early: was the file copied completely?"
        raise SpecificationError(
            f"{name} is not JSON: {error.msg} at line {error.lineno}, column "
            f"{error.colno}.{cut}"
        ) from error
    except RecursionError as error:
        raise SpecificationError(
            f"{name} is not JSON: its lists or objects are nested too deep."
        ) from error
    except SpecificationError as error:
        raise SpecificationError(f"{name}: {error}") from error
    except ValueError as error:
        raise SpecificationError(f"{name} is not JSON: {error}.") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object, or raise an error for equal keys, which JSON would accept."""
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        shown = ", ".join(_quoted(key) for key in list(made)[:6])
        raise SpecificationError(
            f"an object with the keys {shown} has the key {_quoted(twice)} twice. "
            "Remove one."
        )
    return made


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """Pause the garbage collector, which halves the time to read a million numbers.

    The values have no cycles, so that the collector would find nothing.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def copied(document: Any) -> Any:
    """Return a copy that shares no list or object; much faster than `copy.deepcopy`."""
    if isinstance(document, dict):
        return {key: copied(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        if set(map(type, document)) <= _PLAIN:
            return list(document)
        return [copied(value) for value in document]
    return document
