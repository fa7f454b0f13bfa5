"""What the three formats hold alike, and how each is written whole or not at all."""

from typing import Any, NamedTuple

import numpy as np

# Its neighbours in one package need the parts of the store, not only the whole.
from everwillow._store import (
    _digest as digest,
    _parse as parse_npz,
    replacing,
)


FORMAT = "everwillow record"


class Content(NamedTuple):
    """The contents of a file.

    Attributes:
        arrays: Path to array.
        document: What JSON can hold: the header and the structure.
        types: Path to the name of the record or State there; for readers elsewhere,
            since the structure says it too.
    """

    arrays: dict[str, np.ndarray]
    document: dict[str, Any]
    types: dict[str, str]


__all__ = ["FORMAT", "Content", "digest", "parse_npz", "replacing"]
