"""Combine two workspaces into one, with the join modes of pyhf."""

from typing import Any

from everwillow._errors import ArgumentValueError, ConflictError, nearest
from everwillow.models.histfactory._document import checked, parse
from everwillow.models.histfactory.faults import shortened
from everwillow.models.json_source import Source, copied, load_json, source_name


JOINS = ("none", "outer", "left outer", "right outer")

_Entry = dict[str, Any]


def combine(
    left: Source, right: Source, *, join: str = "none", merge_channels: bool = False
) -> dict[str, Any]:
    """Combine two workspaces into one.

    Modifiers of one name become one parameter, which correlates the two. To avoid
    that, `rename` the modifiers of one of them first. The measurements of both are
    kept; for a joint fit give them one name and one POI first.

    Args:
        left: A file, JSON text or a dict.
        right: The same.
        join: What to do with channels, observations and measurements of one name:

            - ``"none"``: there must not be any;
            - ``"outer"``: they must be equal; measurements are merged if they have one
              POI and say nothing different of a parameter;
            - ``"left outer"``: that of `left` is taken;
            - ``"right outer"``: that of `right` is taken.
        merge_channels: Whether channels of one name get the samples of both; of samples
            of one name the same is taken as above, for ``"outer"`` that of `left`.

    Raises:
        ConflictError: If entries of one name cannot be joined; names them.
        ArgumentValueError: If the join mode is unknown, or cannot merge channels.
        SpecificationError: If a workspace is not valid.

    Example:
        >>> def workspace(channel):
        ...     sample = {"name": "bkg", "data": [9.0], "modifiers": []}
        ...     config = {"poi": "", "parameters": []}
        ...     return {
        ...         "channels": [{"name": channel, "samples": [sample]}],
        ...         "observations": [{"name": channel, "data": [9]}],
        ...         "measurements": [{"name": f"of {channel}", "config": config}],
        ...         "version": "1.0.0",
        ...     }
        >>> both = combine(workspace("SR"), workspace("CR"))
        >>> [channel["name"] for channel in both["channels"]]
        ['SR', 'CR']
    """
    if join not in JOINS:
        hint = nearest(join, JOINS)
        raise ArgumentValueError(
            f"join: expected one of {', '.join(JOINS)}, got {join!r}.{hint}"
        )
    if merge_channels and join == "none":
        raise ArgumentValueError(
            f"merge_channels: this needs a join that is one of {', '.join(JOINS[1:])}."
        )
    first, second = (load_json(source) for source in (left, right))
    checked(first, source_name(left) or "left")
    checked(second, source_name(right) or "right")
    if join == "right outer":
        first, second = second, first
    joined = {
        what: _joined(
            join,
            first[f"{what}s"],
            second[f"{what}s"],
            what,
            merge=merge_channels and what == "channel",
        )
        for what in ("channel", "observation", "measurement")
    }
    made = {
        "channels": joined["channel"],
        "measurements": joined["measurement"],
        "observations": joined["observation"],
        "version": first["version"],
    }
    parse(made)
    return copied(made)


def _joined(
    join: str, first: list[_Entry], second: list[_Entry], what: str, *, merge: bool
) -> list[_Entry]:
    """Join two lists of entries; those of `first` come first and win."""
    made = {entry["name"]: entry for entry in first}
    conflicts = []
    for entry in second:
        name = entry["name"]
        old = made.get(name)
        if old is None:
            made[name] = entry
        elif merge:
            made[name] = {**old, "samples": _merged(old["samples"], entry["samples"])}
        elif join == "none":
            conflicts.append(name)
        elif join == "outer" and what == "measurement":
            made[name] = _merged_measurement(old, entry)
        elif join == "outer" and old != entry:
            conflicts.append(name)
    if conflicts:
        shown = ", ".join(map(shortened, conflicts[:5]))
        shown += ", ..." if len(conflicts) > 5 else ""
        differ = "" if join == "none" else " that differ"
        raise ConflictError(
            f"join={join!r}: both workspaces have {what}s{differ} of the names "
            f"{shown}. Rename those of one workspace, or use another join."
        )
    return list(made.values())


def _merged(first: list[_Entry], second: list[_Entry]) -> list[_Entry]:
    names = {entry["name"] for entry in first}
    return [*first, *(entry for entry in second if entry["name"] not in names)]


def _merged_measurement(old: _Entry, new: _Entry) -> _Entry:
    name = old["name"]
    poi, other = old["config"]["poi"], new["config"]["poi"]
    if poi != other:
        raise ConflictError(
            f"join='outer': measurement {shortened(name)} has the POI {poi!r} in one "
            f"workspace and {other!r} in the other. Rename one of the two first."
        )
    first, second = (m["config"]["parameters"] for m in (old, new))
    known = {entry["name"]: entry for entry in first}
    for entry in second:
        if known.setdefault(entry["name"], entry) != entry:
            raise ConflictError(
                "join='outer': the workspaces say different things of parameter "
                f"{shortened(entry['name'])} in measurement {shortened(name)}. Make "
                "them agree, or use another join."
            )
    return {**old, "config": {"poi": poi, "parameters": list(known.values())}}
