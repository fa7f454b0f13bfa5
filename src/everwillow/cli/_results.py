"""Results into files: records, and pictures of them."""

import pathlib
from typing import Any


def save(record: Any, file: pathlib.Path | None) -> list[str]:
    """Write a result with `everwillow.io`, and return what to tell the user.

    Args:
        record: A record of everwillow.
        file: Where to; None for nowhere.
    """
    if file is None:
        return []
    from everwillow import io  # noqa: PLC0415

    io.save(record, file)
    return [f"Results are in {file}; everwillow.io.load reads them."]


def draw(figure: Any, file: pathlib.Path) -> list[str]:
    """Write a figure, and return what to tell the user."""
    figure.savefig(file)
    return [f"The plot is in {file}."]
