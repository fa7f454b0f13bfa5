"""Results into files: records, and pictures of them."""

import dataclasses
import pathlib
from typing import Any

import equinox as eqx

from everwillow.fitting import FitResult


def save(record: Any, file: pathlib.Path | None) -> list[str]:
    """Write a result with `everwillow.io`, and return what to tell the user.

    Args:
        record: A record of everwillow.
        file: Where to; None for nowhere.
    """
    if file is None:
        return []
    from everwillow import io  # noqa: PLC0415

    io.save(_plain(record), file)
    return [f"Results are in {file}; everwillow.io.load reads them."]


def _plain(record: Any) -> Any:
    """Return a record whose constraints are a dictionary, which files can hold."""
    if isinstance(record, FitResult):
        fields = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
        return FitResult.of(**fields | {"constraints": dict(record.constraints)})
    minimum = getattr(record, "minimum", None)
    if isinstance(minimum, FitResult):
        return eqx.tree_at(
            lambda one: one.minimum,
            record,
            _plain(minimum),
            is_leaf=lambda one: isinstance(one, FitResult),
        )
    return record


def draw(figure: Any, file: pathlib.Path) -> list[str]:
    """Write a figure, and return what to tell the user."""
    figure.savefig(file)
    return [f"The plot is in {file}."]
