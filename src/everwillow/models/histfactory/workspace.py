"""Operations on workspaces: functions from dicts to new dicts, as `pyhf.Workspace` has.

A workspace is a file, JSON text or a dict; what comes back is a valid workspace, and
what was given stays as it is.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from everwillow._errors import ArgumentTypeError, ArgumentValueError, nearest
from everwillow.models.histfactory._document import checked, parse
from everwillow.models.histfactory.faults import unknown
from everwillow.models.json_source import Source, copied, load_json, source_name


Workspace = dict[str, Any]


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

    The observations of removed channels go with them, and so does what measurements
    say of modifiers that are removed by name.

    Args:
        workspace: A file, JSON text or a dict.
        channels: Names of channels.
        samples: Names of samples, in all channels.
        modifiers: Names of modifiers, of all types.
        modifier_types: Types such as ``"staterror"``.
        measurements: Names of measurements.

    Raises:
        UnknownKeyError: If the workspace has none of a name.
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
        "channel": _names(channels, "channels"),
        "sample": _names(samples, "samples"),
        "modifier": _names(modifiers, "modifiers"),
        "modifier type": _names(modifier_types, "modifier_types"),
        "measurement": _names(measurements, "measurements"),
    }
    _check_known(document, removed, "prune")
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

    Observations follow their channels; POIs and what measurements say of parameters
    follow the modifiers. Two modifiers that get one name become one parameter, which
    correlates them.

    Args:
        workspace: A file, JSON text or a dict.
        channels: Old name to new name.
        samples: The same for samples, in all channels.
        modifiers: The same for modifiers, of all types.
        measurements: The same for measurements.

    Raises:
        UnknownKeyError: If the workspace has none of an old name.
        SpecificationError: If it is not valid, before or after: two channels cannot
            have one name.

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
    _check_known(document, names, "rename")
    renamed = _rebuilt(
        document,
        keep=lambda *_: True,
        name=lambda what, name: names[what].get(name, name),
    )
    return _result(renamed)


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
    """Return the digest of a document, the same as that of ``pyhf digest``.

    It is that of the JSON text with sorted keys; the order of lists matters.

    Args:
        document: A file, JSON text or a dict; any JSON.
        algorithm: One of `hashlib`, such as ``"md5"``.

    Raises:
        ArgumentValueError: If there is no such algorithm, or the document holds
            something that JSON cannot hold.
        SpecificationError: If a file or text is no JSON.

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


def _valid(workspace: Source) -> Workspace:
    loaded = load_json(workspace)
    checked(loaded, source_name(workspace))
    return loaded


def _result(workspace: Workspace) -> Workspace:
    parse(workspace)
    return copied(workspace)


def _names(names: Any, argument: str) -> frozenset[str]:
    if isinstance(names, str) or not isinstance(names, Collection):
        raise ArgumentTypeError(f"{argument}: expected a list of names, got {names!r}.")
    return frozenset(names)


def _check_known(
    workspace: Workspace, names: Mapping[str, Iterable[str]], where: str
) -> None:
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
    for what, given in names.items():
        there = dict.fromkeys(known[what])
        for name in given:
            if name not in there:
                raise unknown(name, there, what=what, where=where)


def _rebuilt(
    workspace: Workspace,
    *,
    keep: Callable[[str, Any], bool],
    name: Callable[[str, str], str],
) -> Workspace:
    """Return a workspace of the entries to keep, under other names."""

    def entry(what: str, part: Any, **changed: Any) -> Any:
        return {**part, "name": name(what, part["name"]), **changed}

    def entries(what: str, parts: Any, change: Callable[[Any], Any]) -> list[Any]:
        return [entry(what, part, **change(part)) for part in parts if keep(what, part)]

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
