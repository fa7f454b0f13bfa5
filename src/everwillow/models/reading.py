"""JSON from files, text and dicts, and what to do with other formats."""

import gzip
import io
import json
import os
import pathlib
import re
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from everwillow._errors import (
    ArgumentTypeError,
    MissingFileError,
    SpecificationError,
)


_SHOWN = 200  # characters of a name in a message
SIGNATURE = b"\x89HDF\r\n\x1a\n"  # of HDF5
_XML_COMMAND = "pyhf xml2json --basedir . combination.xml --output-file workspace.json"
_XML = re.compile(r"\s*(<\?xml|<!DOCTYPE|<!--|<(Combination|Channel|Measurement)\b)")
_DATACARD = re.compile(
    r"^\s*(Combination of |[ijk]max\s+[\d*]|shapes\s+\S+\s+\S+\s+\S+)", re.MULTILINE
)


def load_json(source: str | os.PathLike[str] | bytes | Mapping[str, Any] | list) -> Any:
    """Read a JSON document from wherever it is.

    Args:
        source: A file (gzipped ones too), JSON text as `str` or `bytes`, or a document
            that is a dict or list already, which is returned as it is. A string is
            text if it has a brace, a bracket, a ``<`` or several lines, otherwise the
            name of a file.

    Returns:
        What the document holds: usually a dict.

    Raises:
        MissingFileError: If there is no such file.
        SpecificationError: If it is no JSON; says line and column, and for datacards,
            HistFactory XML, ROOT files and archives what to do with them.
        ArgumentTypeError: If the source is something else.

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
    """Return the name of the file for messages, or nothing if it is none."""
    if isinstance(source, str) and _is_text(source):
        return ""
    return str(source) if isinstance(source, str | os.PathLike) else ""


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
        found = ", ".join(sorted(entry.name for entry in file.glob("*.json"))[:6])
        raise SpecificationError(
            f"{_quoted(name)} is a folder. Name a file in it; JSON files there: "
            f"{found or 'none'}."
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SpecificationError(
            f"{_quoted(name)} cannot be read: {reason}."
        ) from error


def _decoded(content: bytes, name: str) -> str:
    if content.startswith(b"\x1f\x8b"):
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
            f"{name}: expected JSON in UTF-8, but byte {error.start} is none of it."
        ) from error


def _refuse_binary(content: bytes, name: str) -> None:
    if content.startswith(b"PK\x03\x04"):
        msg = f"{name} is a zip archive. Unpack it and name the file in it."
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                inside = [n for n in archive.namelist() if n.endswith(".json")]
            msg += f" JSON files in it: {', '.join(inside[:6]) or 'none'}."
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            pass
        raise SpecificationError(msg)
    if content[257:262] == b"ustar":
        raise SpecificationError(
            f"{name} is a tar archive. Unpack it with `tar -xf` and name the file in "
            "it."
        )
    if content.startswith(SIGNATURE):
        raise SpecificationError(f"{name} is an HDF5 file; expected JSON.")
    if content.startswith(b"root"):
        raise SpecificationError(
            f"{name} is a ROOT file. Of a RooFit workspace make HS3 with ROOT's "
            'RooJSONFactoryWSTool(workspace).exportJSON("workspace.json") and read '
            "that with everwillow.models.hs3.load; of HistFactory XML and its "
            f"histograms make a pyhf workspace with `{_XML_COMMAND}`."
        )


def _refuse_text(text: str, name: str) -> None:
    """Raise for text in the formats of other tools."""
    start = text[:20000]
    if _XML.match(start):
        raise SpecificationError(
            f"{name} is XML: HistFactory of ROOT. Convert it where its histograms are "
            f"(pip install 'pyhf[xmlio]'): `{_XML_COMMAND}`"
        )
    if _DATACARD.search(start) and start.lstrip()[:1] not in ("{", "["):
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
    """Make an object; JSON would let the last of two equal keys win without a word."""
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
