"""What is wrong with a document: where, what was expected, what is there instead."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from everwillow._errors import SpecificationError, UnknownKeyError, nearest


_SHOWN = 60


def pointer(where: Iterable[str | int]) -> str:
    """Return the JSON pointer of a place (RFC 6901): ``/channels/0/name``."""
    return "".join(
        "/" + str(part).replace("~", "~0").replace("/", "~1") for part in where
    )


def fault(
    where: Iterable[str | int],
    expected: str,
    found: Any,
    mend: str = "",
    settings: Mapping[str, Any] | None = None,
) -> SpecificationError:
    """Build the error for something in a document.

    Args:
        where: The keys and indices that lead there.
        expected: What the format asks for.
        found: The value that is there, or words for it as a `Words`.
        mend: How to mend it, a sentence.
        settings: Arguments that the sentence names, and their values.
    """
    place = pointer(where)
    shown = found if isinstance(found, Words) else described(found)
    text = f"{place or 'the document'}: expected {expected}, found {shown}."
    return SpecificationError(text, place, mend=mend, settings=settings)


class Words(str):
    """Words for what was found, to be shown as they are."""

    __slots__ = ()


def described(value: Any) -> str:
    """Say what a value is in the words of JSON, in one short line.

    Unknown objects are not asked for their `repr`, which may be long, or fail.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"the string {shortened(value)}"
    if isinstance(value, int | float | np.integer | np.floating):
        # Python refuses to write integers of thousands of digits.
        huge = isinstance(value, int) and value.bit_length() > 2000
        return "an integer of hundreds of digits" if huge else f"the number {value}"
    if isinstance(value, dict):
        keys = ", ".join(shortened(key) for key in list(value)[:6])
        more = ", ..." if len(value) > 6 else ""
        return f"an object with the keys {keys}{more}" if value else "an empty object"
    if isinstance(value, list | tuple):
        count = len(value)
        return f"a list of {count}" if count else "an empty list"
    return f"a Python {type(value).__name__}"


def shortened(value: Any) -> str:
    """Quote a name; cut if it is long."""
    if not isinstance(value, str):
        return described(value)
    text = value if len(value) <= _SHOWN else value[: _SHOWN - 3] + "..."
    return repr(text)


def unknown(
    name: Any, known: Iterable[str], *, what: str, where: str
) -> UnknownKeyError:
    """Build the error for a name that is none of the known ones.

    Args:
        name: The name.
        known: The valid names.
        what: What the name is of, for example ``"channel"``.
        where: Which argument or document, for example ``"prune"``.
    """
    known = list(known)
    hint = nearest(name, known)
    if not hint and known:
        shown = ", ".join(map(shortened, known[:10]))
        more = f", ... ({len(known)} in all)" if len(known) > 10 else ""
        hint = f" There are: {shown}{more}."
    if not known:
        hint = " There are none."
    return UnknownKeyError(f"{where}: there is no {what} {shortened(name)}.{hint}")
