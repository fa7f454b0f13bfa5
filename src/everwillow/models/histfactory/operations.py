"""Operations on workspaces, like those of `pyhf.Workspace`.

The argument is a file, JSON text or a dict, which is not changed; the result is a valid
workspace as a new dict.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConflictError,
    nearest,
    unknown_key,
)
from everwillow.models._document import shortened
from everwillow.models.histfactory.reading import read_document
from everwillow.models.json_source import Source, copied, load_json, source_name


JOINS = ("none", "outer", "left outer", "right outer")

Workspace = dict[str, Any]
_Entry = dict[str, Any]


def prune(
    workspace: Source,
    *,
    channels: Collection[str] = (),
    samples: Collection[str] = (),
    modifiers: Collection[str] = (),
    modifier_types: Collection[str] = (),
    measurements: Collection[str] = (),
) -> Workspace:
    """Remove channels, samples, modifiers or measurements by name.

    The observations of removed channels are removed, too, and so are settings in
    measurements for modifiers that are removed by name.

    Args:
        workspace: A file, JSON text or a dict.
        channels: Names of channels.
        samples: Names of samples, in all channels.
        modifiers: Names of modifiers, of all types.
        modifier_types: Types such as ``"staterror"``.
        measurements: Names of measurements.

    Raises:
        UnknownKeyError: If the workspace has no entry of a name.
        SpecificationError: If it is not valid, before or after.

    Example:
        >>> config = {"poi": "", "parameters": []}
        >>> workspace = {
        ...     "channels": [
        ...         {
        ...             "name": name,
        ...             "samples": [{"name": "bkg", "data": [9.0], "modifiers": []}],
        ...         }
        ...         for name in ("SR", "CR")
        ...     ],
        ...     "observations": [
        ...         {"name": "SR", "data": [9]},
        ...         {"name": "CR", "data": [8]},
        ...     ],
        ...     "measurements": [{"name": "m", "config": config}],
        ...     "version": "1.0.0",
        ... }
        >>> prune(workspace, channels=["CR"])["observations"]
        [{'name': 'SR', 'data': [9]}]
    """
    document = _valid(workspace)
    removed = {
        "channel": list_of_names(channels, "channels"),
        "sample": list_of_names(samples, "samples"),
        "modifier": list_of_names(modifiers, "modifiers"),
        "modifier type": list_of_names(modifier_types, "modifier_types"),
        "measurement": list_of_names(measurements, "measurements"),
    }
    check_known(document, removed, "prune")
    gone, types = removed["modifier"], removed["modifier type"]

    def keep_modifier(modifier: Any) -> bool:
        return modifier["name"] not in gone and modifier["type"] not in types

    pruned = _rebuilt(
        document,
        keep=lambda what, entry: (
            keep_modifier(entry)
            if what == "modifier"
            else entry["name"] not in removed[what]
        ),
        name=lambda _, name: name,
    )
    return _result(pruned)


def rename(
    workspace: Source,
    *,
    channels: Mapping[str, str] | None = None,
    samples: Mapping[str, str] | None = None,
    modifiers: Mapping[str, str] | None = None,
    measurements: Mapping[str, str] | None = None,
) -> Workspace:
    """Rename channels, samples, modifiers or measurements.

    Observations are renamed with their channels, and POIs and settings in measurements
    with the modifiers. Two modifiers that get the same name become one parameter, which
    correlates them.

    Args:
        workspace: A file, JSON text or a dict.
        channels: New names of channels by old name.
        samples: New names of samples in all channels by old name.
        modifiers: New names of modifiers of all types by old name.
        measurements: New names of measurements by old name.

    Raises:
        UnknownKeyError: If the workspace has no entry of an old name.
        SpecificationError: If it is not valid, before or after: for example, two
            channels cannot have the same name.

    Example:
        >>> config = {"poi": "", "parameters": []}
        >>> workspace = {
        ...     "channels": [
        ...         {
        ...             "name": "SR",
        ...             "samples": [{"name": "bkg", "data": [9.0], "modifiers": []}],
        ...         }
        ...     ],
        ...     "observations": [{"name": "SR", "data": [9]}],
        ...     "measurements": [{"name": "m", "config": config}],
        ...     "version": "1.0.0",
        ... }
        >>> rename(workspace, channels={"SR": "high"})["observations"]
        [{'name': 'high', 'data': [9]}]
    """
    document = _valid(workspace)
    names = {
        "channel": dict(channels or {}),
        "sample": dict(samples or {}),
        "modifier": dict(modifiers or {}),
        "measurement": dict(measurements or {}),
    }
    check_known(document, names, "rename")
    renamed = _rebuilt(
        document,
        keep=lambda *_: True,
        name=lambda what, name: names[what].get(name, name),
    )
    return _result(renamed)


def combine(
    left: Source, right: Source, *, join: str = "none", merge_channels: bool = False
) -> Workspace:
    """Combine two workspaces into one.

    Modifiers of the same name become one parameter, which correlates the two. To avoid
    that, `rename` the modifiers of one of them first. The measurements of both are
    kept; for a joint fit give them the same name and POI first.

    Args:
        left: A file, JSON text or a dict.
        right: A file, JSON text or a dict.
        join: The treatment of channels, observations and measurements that have the
            same name in both:

            - ``"none"``: there must not be any;
            - ``"outer"``: they must be equal; measurements are merged if they have the
              same POI and equal settings of common parameters;
            - ``"left outer"``: that of `left` is used;
            - ``"right outer"``: that of `right` is used.
        merge_channels: Whether channels of the same name get the samples of both.
            Samples of the same name are treated as above, and for ``"outer"`` that of
            `left` is used.

    Raises:
        ConflictError: If entries of the same name cannot be joined, with the names.
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
    first, second = _valid(left, "left"), _valid(right, "right")
    if join == "right outer":
        first, second = second, first
    joined = {
        f"{kind}s": _joined(
            join,
            first[f"{kind}s"],
            second[f"{kind}s"],
            kind,
            merge=merge_channels and kind == "channel",
        )
        for kind in ("channel", "measurement", "observation")
    }
    return _result({**joined, "version": first["version"]})


def sorted_workspace(workspace: Source) -> Workspace:
    """Sort channels, samples, modifiers, measurements and observations by name.

    Two workspaces that differ in order only are equal afterwards, and so are their
    digests.

    Args:
        workspace: A file, JSON text or a dict.

    Raises:
        SpecificationError: If it is not valid.
    """
    document = copied(_valid(workspace))
    by_name: Callable[[Any], Any] = lambda entry: entry["name"]
    document["channels"].sort(key=by_name)
    for channel in document["channels"]:
        channel["samples"].sort(key=by_name)
        for sample in channel["samples"]:
            sample["modifiers"].sort(key=lambda entry: (entry["name"], entry["type"]))
    document["measurements"].sort(key=by_name)
    for measurement in document["measurements"]:
        measurement["config"]["parameters"].sort(key=by_name)
    document["observations"].sort(key=by_name)
    return document


def digest(document: Any, *, algorithm: str = "sha256") -> str:
    """Return the digest of a document, which equals that of ``pyhf digest``.

    It is the digest of the JSON text with sorted keys; the order of lists matters.

    Args:
        document: A file, JSON text or a dict; any JSON.
        algorithm: The name of an algorithm of `hashlib`, such as ``"md5"``.

    Raises:
        ArgumentValueError: If there is no such algorithm, or the document cannot be
            written as JSON.
        SpecificationError: If a file or text is not JSON.

    Example:
        >>> digest({"c": 1.0, "b": 3.0, "a": 2.0})
        'a38f6093800189b79bc22ef677baf90c75705af2cfc7ff594159eca54eaa7928'
    """
    if algorithm not in hashlib.algorithms_available or algorithm.startswith("shake"):
        hint = nearest(algorithm, hashlib.algorithms_guaranteed)
        raise ArgumentValueError(f"algorithm: hashlib has no {algorithm!r}.{hint}")
    loaded = load_json(document)
    try:
        text = json.dumps(loaded, sort_keys=True, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentValueError(
            f"document: it holds something that JSON does not know: {error}."
        ) from error
    return hashlib.new(algorithm, text.encode()).hexdigest()


def _valid(workspace: Source, name: str = "") -> Workspace:
    loaded = load_json(workspace)
    read_document(loaded, source_name(workspace) or name)
    return loaded


def _result(workspace: Workspace) -> Workspace:
    read_document(workspace)
    return copied(workspace)


def list_of_names(names: Any, argument: str) -> list[str]:
    """Return the names without repetitions.

    Args:
        names: The names.
        argument: The name of the argument in messages.

    Raises:
        ArgumentTypeError: If they are not a collection of names.
    """
    if isinstance(names, str) or not isinstance(names, Collection):
        raise ArgumentTypeError(f"{argument}: expected a list of names, got {names!r}.")
    return list(dict.fromkeys(names))


def check_known(
    workspace: Workspace, names: Mapping[str, Iterable[str]], where: str
) -> None:
    """Check that a valid workspace has entries of some names.

    Args:
        workspace: The document.
        names: The names by the kind of entries, such as ``"sample"``.
        where: The function or argument, for messages.

    Raises:
        UnknownKeyError: If there is no entry of a name.
    """
    modifiers = [
        modifier
        for channel in workspace["channels"]
        for sample in channel["samples"]
        for modifier in sample["modifiers"]
    ]
    known = {
        "channel": [channel["name"] for channel in workspace["channels"]],
        "sample": [s["name"] for c in workspace["channels"] for s in c["samples"]],
        "modifier": [modifier["name"] for modifier in modifiers],
        "modifier type": [modifier["type"] for modifier in modifiers],
        "measurement": [m["name"] for m in workspace["measurements"]],
    }
    for kind, requested in names.items():
        present = dict.fromkeys(known[kind])
        for name in requested:
            if name not in present:
                raise unknown_key(name, present, where=where, kind=kind)


def _rebuilt(
    workspace: Workspace,
    *,
    keep: Callable[[str, Any], bool],
    name: Callable[[str, str], str],
) -> Workspace:
    """Return a workspace of the entries to keep, with their new names."""

    def entry(kind: str, part: Any, **changed: Any) -> Any:
        return {**part, "name": name(kind, part["name"]), **changed}

    def entries(kind: str, parts: Any, change: Callable[[Any], Any]) -> list[Any]:
        return [entry(kind, part, **change(part)) for part in parts if keep(kind, part)]

    def nothing(_: Any) -> Any:
        return {}

    def modifiers(sample: Any) -> Any:
        return {"modifiers": entries("modifier", sample["modifiers"], nothing)}

    def samples(channel: Any) -> Any:
        return {"samples": entries("sample", channel["samples"], modifiers)}

    def config(measurement: Any) -> Any:
        old = measurement["config"]
        # They have no type: what is removed by its type stays in the measurement.
        parameters = [
            entry("modifier", part)
            for part in old["parameters"]
            if keep("modifier", {"type": None, **part})
        ]
        poi = old["poi"] and name("modifier", old["poi"])
        return {"config": {"poi": poi, "parameters": parameters}}

    return {
        "channels": entries("channel", workspace["channels"], samples),
        "measurements": entries("measurement", workspace["measurements"], config),
        "observations": entries("channel", workspace["observations"], nothing),
        "version": workspace["version"],
    }


def _joined(
    join: str, first: list[_Entry], second: list[_Entry], kind: str, *, merge: bool
) -> list[_Entry]:
    """Join two lists of entries; those of `first` come first and take precedence."""
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
        elif join == "outer" and kind == "measurement":
            made[name] = _merged_measurement(old, entry)
        elif join == "outer" and old != entry:
            conflicts.append(name)
    if conflicts:
        shown = ", ".join(map(shortened, conflicts[:5]))
        shown += ", ..." if len(conflicts) > 5 else ""
        differ = "" if join == "none" else " that differ"
        raise ConflictError(
            f"join={join!r}: both workspaces have {kind}s{differ} of the names "
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
