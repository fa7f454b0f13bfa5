"""Objects and lists of objects in a document."""

from collections.abc import Sequence
from typing import Any

from everwillow._errors import nearest
from everwillow.models.histfactory._numbers import Where
from everwillow.models.histfactory.faults import Words, fault, shortened


def check_keys(
    part: Any, required: Sequence[str], where: Where, optional: Sequence[str] = ()
) -> None:
    """Check that a part of a document is an object with certain keys and no others.

    Raises:
        SpecificationError: Otherwise; names the nearest key for an unknown one.
    """
    listed = ", ".join(map(repr, required))
    if not isinstance(part, dict):
        raise fault(where, f"an object with the keys {listed}", part)
    known = (*required, *optional)
    strange = [key for key in part if key not in known]
    for key in required:
        if key not in part:
            hint = nearest(key, strange) if strange else ""
            mend = f"Add it.{hint.replace('Did you mean', 'Is it called')}"
            raise fault(where, f"the key {key!r}", part, mend)
    if strange:
        found = Words(f"the unknown key {shortened(strange[0])}")
        mend = f"Remove it.{nearest(strange[0], known)}"
        raise fault(
            where, f"no other keys than {', '.join(map(repr, known))}", found, mend
        )


def entries(part: Any, where: Where, what: str) -> Sequence[Any]:
    """Return a list that has to have an entry.

    Raises:
        SpecificationError: If it is no list, or is empty.
    """
    if not isinstance(part, list | tuple) or not part:
        raise fault(where, f"a list of at least one {what}", part)
    return part


def name_of(part: dict[str, Any], where: Where) -> str:
    """Return the name of an entry.

    Raises:
        SpecificationError: If it is no string, or is empty.
    """
    name = part["name"]
    if not isinstance(name, str) or not name:
        raise fault((*where, "name"), "a name", name)
    return name


def unique(parts: Sequence[Any], where: Where, what: str) -> None:
    """Check that no two entries have one name.

    Raises:
        SpecificationError: At the second of that name.
    """
    seen: dict[str, int] = {}
    for index, part in enumerate(parts):
        if part.name in seen:
            found = Words(f"a second {what} {shortened(part.name)}")
            mend = f"The first is entry {seen[part.name]}; rename or remove one."
            raise fault((*where, index, "name"), "names that differ", found, mend)
        seen[part.name] = index
