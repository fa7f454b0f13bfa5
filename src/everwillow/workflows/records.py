"""Records whose fields have descriptions, for files and for the documentation."""

import dataclasses
import inspect
from typing import Any, TypeVar, dataclass_transform


T = TypeVar("T")

_DESCRIPTION = "description"


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
    made.__doc__ = "\n".join([f"{inspect.getdoc(cls)}\n", "Attributes:", *lines])
    return made


def descriptions(cls: Any) -> dict[str, str]:
    """Return the descriptions of the fields of a record, by name."""
    fields = dataclasses.fields(cls)
    return {field.name: field.metadata.get(_DESCRIPTION, "") for field in fields}
