"""Records whose fields have descriptions, for files and for the documentation."""

import dataclasses
import inspect
from typing import Any, TypeVar, dataclass_transform

import numpy as np

from everwillow._html import Table, html_of
from everwillow._rounding import plain
from everwillow._tree import format_leaf


T = TypeVar("T")

_DESCRIPTION = "description"
_SHOWN = 10  # Numbers of an array that a table shows.


def about(description: str, **options: Any) -> Any:
    """Return a field of a record.

    Args:
        description: What the field holds; files of results have it as an attribute.
        **options: As for `dataclasses.field`: ``default``, ``default_factory``.
    """
    return dataclasses.field(metadata={_DESCRIPTION: description}, **options)


@dataclass_transform(frozen_default=True, field_specifiers=(about,))
def record(cls: type[T]) -> type[T]:
    """Make a frozen dataclass; the descriptions of its fields end its docstring."""
    made: Any = dataclasses.dataclass(frozen=True, slots=True)(cls)
    lines = [f"    {name}: {text}" for name, text in descriptions(made).items()]
    if "_repr_html_" not in vars(made):
        made._repr_html_ = _fields_as_html
    made.__doc__ = "\n".join([f"{inspect.getdoc(cls)}\n", "Attributes:", *lines])
    return made


def _fields_as_html(self: Any) -> str:
    """Return a table of the fields for notebooks."""
    rows = [(name, _text(getattr(self, name))) for name in descriptions(type(self))]
    return html_of([Table([("field", "value"), *rows])])


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray) and value.size <= _SHOWN:
        return ", ".join(format_leaf(one, plain) for one in value.ravel())
    return format_leaf(value, plain)


def descriptions(cls: Any) -> dict[str, str]:
    """Return the descriptions of the fields of a record, by name."""
    fields = dataclasses.fields(cls)
    return {field.name: field.metadata.get(_DESCRIPTION, "") for field in fields}
