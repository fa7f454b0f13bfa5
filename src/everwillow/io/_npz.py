"""Records as npz archives, through the store of arrays."""

import io
import pathlib

from everwillow import _store
from everwillow.io._content import Content, parse_npz


def write(path: pathlib.Path, content: Content) -> None:
    """Write an archive that `numpy.load` opens."""
    _store.save(path, content.arrays, content.document)


def read(content: bytes) -> Content:
    """Read an archive."""
    arrays, document = parse_npz(io.BytesIO(content))
    return Content(arrays, document, {})
