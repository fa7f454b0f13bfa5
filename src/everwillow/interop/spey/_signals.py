"""Signals of pyhf workspaces, as operations of a JSON patch."""

from collections.abc import Mapping
from typing import Any

from everwillow._errors import (
    ArgumentValueError,
    KeyCollisionError,
    ShapeMismatchError,
    UnknownKeyError,
    nearest,
)
from everwillow.models.hs3.signals import read_signal, signals_of


def signal_operations(
    workspace: Mapping[str, Any],
    signals: Mapping[str, Any],
    *,
    measurement: str | int | None,
    poi_name: str | None,
) -> list[dict[str, Any]]:
    """Return the JSON patch that adds signals to a valid workspace.

    Args:
        workspace: The workspace.
        signals: Yields by channel, as the back-ends take them.
        measurement: Whose POI scales the signals, by name or position.
        poi_name: The parameter that scales them instead.

    Raises:
        UnknownKeyError: If there is no such channel.
        ShapeMismatchError: If the number of bins is wrong.
        KeyCollisionError: If the channel has a sample of that name.
        ArgumentValueError: If nothing says which parameter scales the signals.
    """
    poi = poi_name or _poi_of(workspace["measurements"], measurement)
    if not poi:
        raise ArgumentValueError(
            "poi_name: say which parameter scales the signal; the measurement does not."
        )
    channels = {channel["name"]: channel for channel in workspace["channels"]}
    places = {name: i for i, name in enumerate(channels)}
    operations = []
    for name, sample, yields, errors in signals_of(signals, list(channels)):
        if name not in channels:
            hint = nearest(name, channels) or f" There is: {', '.join(channels)}."
            raise UnknownKeyError(f"signal_yields: there is no channel {name!r}.{hint}")
        samples = channels[name]["samples"]
        contents = read_signal(name, sample, yields, errors, poi).contents
        bins = len(samples[0]["data"])
        if len(contents) != bins:
            raise ShapeMismatchError(
                f"signal_yields: {len(contents)} yields, but the channel {name!r} has "
                f"{bins} bins."
            )
        if any(other["name"] == sample for other in samples):
            raise KeyCollisionError(
                f"signal_yields: {name!r} has a sample {sample!r} already. Name yours: "
                f'{{"{name}": {{"my_signal": [...]}}}}.'
            )
        scaled = {"name": poi, "type": "normfactor", "data": None}
        value = {"name": sample, "data": list(contents), "modifiers": [scaled]}
        path = f"/channels/{places[name]}/samples/-"
        operations.append({"op": "add", "path": path, "value": value})
    return operations


def _poi_of(measurements: list[Any], chosen: str | int | None) -> str:
    for i, measurement in enumerate(measurements):
        if chosen is None or chosen in (i, measurement["name"]):
            return measurement["config"]["poi"] or ""
    return ""
