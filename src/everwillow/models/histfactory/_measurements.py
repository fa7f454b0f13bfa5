"""The measurements of a workspace: a POI, and what is said of parameters."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from everwillow.models.histfactory._numbers import Where, is_real, number, unquote
from everwillow.models.histfactory._objects import check_keys, name_of, unique
from everwillow.models.histfactory.faults import Words, fault


LISTS = ("inits", "auxdata", "factors", "sigmas")


class ParameterConfig(NamedTuple):
    """What a measurement says of one parameter.

    Attributes:
        name: Of the parameter.
        values: Attribute to array: `inits`, `auxdata`, `factors`, `sigmas` of shape
            ``(size,)``, `bounds` of shape ``(size, 2)``, `fixed` a bool.
        where: Its place in the document.
    """

    name: str
    values: dict[str, Any]
    where: Where


class Measurement(NamedTuple):
    """A measurement; `poi` is empty if it has none."""

    name: str
    poi: str
    parameters: list[ParameterConfig]
    position: int


def read_measurement(part: Any, where: Where) -> Measurement:
    """Check one entry of the measurements.

    Raises:
        SpecificationError: If something is not as the format asks.
    """
    check_keys(part, ("name", "config"), where)
    name = name_of(part, where)
    config = part["config"]
    place = (*where, "config")
    check_keys(config, ("poi", "parameters"), place)
    poi = config["poi"]
    if poi is not None and not isinstance(poi, str):
        mend = "Write an empty string if there is no parameter of interest."
        raise fault((*place, "poi"), "the name of a parameter", poi, mend)
    parameters = config["parameters"]
    place = (*place, "parameters")
    if not isinstance(parameters, list | tuple):
        raise fault(place, "a list of parameters, which may be empty", parameters)
    read = [
        read_parameter(parameter, (*place, index))
        for index, parameter in enumerate(parameters)
    ]
    unique(read, place, "entry for parameter")
    return Measurement(name, poi or "", read, int(where[1]))


def read_parameter(part: Any, where: Where) -> ParameterConfig:
    """Check what is said of one parameter.

    Raises:
        SpecificationError: If something is not as the format asks.
    """
    check_keys(part, ("name",), where, (*LISTS, "bounds", "fixed"))
    name = name_of(part, where)
    values: dict[str, Any] = {}
    for key in LISTS:
        if key in part:
            values[key] = _numbers(part[key], (*where, key))
    if "bounds" in part:
        values["bounds"] = _bounds(part["bounds"], (*where, "bounds"))
    if "fixed" in part:
        fixed = part["fixed"]
        if not isinstance(fixed, bool):
            raise fault((*where, "fixed"), "true or false", fixed)
        values["fixed"] = fixed
    return ParameterConfig(name, values, where)


def _as_list(values: Any, where: Where, what: str) -> list[Any]:
    if isinstance(values, np.ndarray) and values.ndim:
        values = list(values)
    if not isinstance(values, list | tuple) or not values:
        raise fault(where, f"a list of at least one {what}", values)
    return list(values)


def _numbers(values: Any, where: Where) -> np.ndarray:
    listed = _as_list(values, where, "number")
    return np.array([number(v, (*where, index)) for index, v in enumerate(listed)])


def _bounds(values: Any, where: Where) -> np.ndarray:
    pairs = []
    for index, pair in enumerate(_as_list(values, where, "pair of bounds")):
        place = (*where, index)
        ends = _as_list(pair, place, "number")
        if len(ends) != 2:
            found = Words(f"{len(ends)} number{'s' * (len(ends) > 1)}")
            raise fault(place, "a lower and an upper bound", found)
        lower, upper = (_end(end, (*place, i)) for i, end in enumerate(ends))
        if not lower <= upper or lower == np.inf or upper == -np.inf:
            found = Words(f"{lower} and {upper}")
            raise fault(place, "a lower bound below the upper bound", found)
        pairs.append((lower, upper))
    return np.array(pairs)


def _end(value: Any, where: Where) -> float:
    """Return an end of a range; infinite ones are how Python writes none."""
    if is_real(value) and isinstance(value, float | np.floating):
        if np.isnan(value):
            raise fault(where, "a number", value)
        return float(value)
    if not is_real(value):
        raise fault(where, "a number", value, unquote(value))
    return number(value, where)


def by_name(parameters: list[ParameterConfig]) -> Mapping[str, ParameterConfig]:
    """Return what is said of parameters, by their names."""
    return {parameter.name: parameter for parameter in parameters}
