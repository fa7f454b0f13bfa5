"""The formats of files, recognised by their first bytes: the only place that does so.

Readers compare `file_format` with what they read and say what to do with the rest;
the name of a file never counts.
"""

import pathlib
import re
from typing import Literal


FileFormat = Literal[
    "hdf5",
    "zip",
    "gzip",
    "tar",
    "root",
    "parquet",
    "npy",
    "json",
    "xml",
    "yaml",
    "datacard",
    "git-lfs",
]

# How much of a file is looked at; a datacard may begin with a long comment.
LOOKED_AT = 20_000

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SIGNATURES: tuple[tuple[bytes, FileFormat], ...] = (
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"PK\x03\x04", "zip"),  # npz files too
    (b"\x1f\x8b", "gzip"),
    (b"root", "root"),
    (b"PAR1", "parquet"),
    (b"\x93NUMPY", "npy"),
    # The text that Git leaves in place of a large file that was not fetched.
    (b"version https://git-lfs.github.com/spec/", "git-lfs"),
)
_TEXTS: tuple[tuple[bytes, FileFormat], ...] = (
    (b"{", "json"),
    (b"[", "json"),
    (b"<", "xml"),
)
_HISTFACTORY_XML = re.compile(
    rb"<\?xml|<!DOCTYPE|<!--|<(Combination|Channel|Measurement)\b"
)
# A key at the beginning of a line, behind comments, or the marks of YAML itself.
_YAML = re.compile(rb"(?:\s*#[^\n]*\n|\s*\n)*(?:%YAML|---\s|[A-Za-z_]\w*:(?:\s|$))")
_DATACARD = re.compile(
    rb"^\s*(Combination of |[ijk]max\s+[\d*]|shapes\s+\S+\s+\S+\s+\S+)", re.MULTILINE
)


def file_format(content: bytes) -> FileFormat | None:
    """Return the format of a file, or None if it is none of those known.

    Args:
        content: Its bytes, or the first `LOOKED_AT` of them. The content may be damaged
            behind its first bytes.

    Example:
        >>> file_format(b' {"channels": []}')
        'json'
    """
    content = content[:LOOKED_AT]
    for signature, known in _SIGNATURES:
        if content.startswith(signature):
            return known
    if content[257:262] == b"ustar":
        return "tar"
    text = _text(content)
    for start, known in _TEXTS:
        if text.startswith(start):
            return known
    if _DATACARD.search(text):
        return "datacard"
    return "yaml" if _YAML.match(text) else None


def is_histfactory_xml(content: bytes) -> bool:
    """Return whether a file is XML as ROOT's HistFactory writes it."""
    return _HISTFACTORY_XML.match(_text(content)) is not None


def is_json_array(content: bytes) -> bool:
    """Return whether a file is a JSON array, not an object."""
    return _text(content).startswith(b"[")


def _text(content: bytes) -> bytes:
    return content[:LOOKED_AT].removeprefix(_BYTE_ORDER_MARK).lstrip()


def format_of_file(path: pathlib.Path) -> FileFormat | None:
    """Return the format of a file by its name.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as opened:
        return file_format(opened.read(LOOKED_AT))
