"""The parameters of a workspace: starts, bounds and constraints as in pyhf 0.7.6."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from everwillow.likelihood.binned.spec import ConstraintSpec, ParameterSpec
from everwillow.models._document import Node, shortened
from everwillow.models.histfactory._inventory import Inventory, Use
from everwillow.models.histfactory.reading import Document, ParameterConfig


# Smaller widths count as zero, as their squares underflow.
_SMALLEST = 1e-100

# Above this, logarithms of a Poisson term cancel so that digits of -ln L are lost.
_MANY = 1e13


@dataclass(slots=True)
class Draft:
    """A parameter before it is complete; arrays of shape ``(size,)``.

    Attributes:
        kind: The type of its modifiers, for messages.
        scalar: Whether it becomes a number.
        inits: Start values; None if the measurement has to set them.
        bounds: Shape ``(size, 2)``, or None.
        fixed: Which elements are fixed.
        constraint: The kind of its constraint.
        auxdata: Auxiliary observations.
        width: Standard deviations of a normal constraint, factors tau of a Poisson one.
    """

    kind: str
    scalar: bool
    inits: np.ndarray | None
    bounds: np.ndarray | None
    fixed: np.ndarray
    constraint: Literal["normal", "poisson"] | None = None
    auxdata: np.ndarray | None = None
    width: np.ndarray | None = None

    @property
    def size(self) -> int:
        """The number of elements."""
        return len(self.fixed)

    def attributes(self) -> tuple[str, ...]:
        """Return the settings that a measurement may have for it."""
        if self.constraint is None:
            return ("inits", "bounds", "fixed")
        if self.constraint == "poisson":
            return ("inits", "bounds", "fixed", "auxdata", "factors")
        if self.kind in ("lumi", "staterror"):
            return ("inits", "bounds", "fixed", "auxdata", "sigmas")
        return ("inits", "bounds", "fixed", "auxdata")


def draft(name: str, kind: str, inventory: Inventory, document: Document) -> Draft:
    """Return the defaults of a parameter, before a measurement changes them."""
    if kind in ("normsys", "histosys"):
        zero, free = np.zeros(1), np.zeros(1, bool)
        bounds = _ranges(1, -5.0, 5.0)
        return Draft(kind, True, zero, bounds, free, "normal", zero, np.ones(1))
    if kind == "lumi":
        return Draft(kind, True, None, None, np.zeros(1, bool), "normal")
    if kind == "normfactor":
        return unconstrained(kind)
    size = inventory.elements[name]
    ones = np.ones(size)
    if kind == "shapefactor":
        return Draft(kind, False, ones, _ranges(size, 0.0, 10.0), np.zeros(size, bool))
    bounds = _ranges(size, 1e-10, 10.0)
    places = inventory.uses[kind][name]
    if kind == "shapesys":
        factors, valid = _shapesys_factors(places[0], document)
        return Draft(kind, False, ones, bounds, ~valid, "poisson", factors, factors)
    width, valid = _staterror_widths(name, places, inventory, document)
    return Draft(kind, False, ones, bounds, ~valid, "normal", ones, width)


def unconstrained(kind: str) -> Draft:
    """Return the defaults of a factor without an auxiliary measurement."""
    return Draft(kind, True, np.ones(1), _ranges(1, 0.0, 10.0), np.zeros(1, bool))


def _ranges(size: int, lower: float, upper: float) -> np.ndarray:
    return np.tile([lower, upper], (size, 1))


def _shapesys_factors(place: Use, document: Document) -> tuple[np.ndarray, np.ndarray]:
    """Return tau of each bin, and whether there is an uncertainty in it."""
    nominal = document.arrays[place.sample.nominal]
    error = document.arrays[place.modifier.data]
    valid = (nominal > 0) & (error > 0)
    with np.errstate(all="ignore"):
        factors = np.where(valid, nominal**2 / error**2, 1.0)
    bad = ~(np.isfinite(factors) & (factors > 0))
    if bad.any():
        bin_ = int(np.argmax(bad))
        raise place.node.at("data", bin_).fault(
            "an uncertainty whose square is a number",
            f"{error[bin_]} of {nominal[bin_]}",
            "Write 0 if the bin has none.",
        )
    return factors, valid


def _staterror_widths(
    name: str, places: list[Use], inventory: Inventory, document: Document
) -> tuple[np.ndarray, np.ndarray]:
    """Return the relative error of each bin, and whether there is one.

    In the Barlow-Beeston-lite method it is the sum in quadrature of the errors of all
    samples with the modifier, divided by the sum of their yields. Without one it is 1.
    """
    size = inventory.elements[name]
    total, errors = np.zeros(size), np.zeros(size)
    for place in places:
        begin = inventory.layout[place.channel.name, name]
        part = slice(begin, begin + place.channel.bins)
        total[part] += document.arrays[place.sample.nominal]
        errors[part] = np.hypot(errors[part], document.arrays[place.modifier.data])
    with np.errstate(all="ignore"):
        width = np.where(total > 0, errors / total, 0.0)
    valid = width > 0
    bad = ~np.isfinite(width) | (valid & (width < _SMALLEST))
    if bad.any():
        bin_ = int(np.argmax(bad))
        raise (
            places[0]
            .node.at("data")
            .fault(
                "relative errors that are 0 or of a usual size",
                f"{width[bin_]:g} in element {bin_}",
            )
        )
    return np.where(valid, width, 1.0), valid


def finish(
    name: str,
    made: Draft,
    config: ParameterConfig | None,
    document: Document,
    notes: list[str],
) -> ParameterSpec:
    """Apply the settings of a measurement to a parameter, and return it.

    Args:
        name: The name of the parameter.
        made: Its defaults.
        config: The settings of the measurement.
        document: The workspace.
        notes: A list to which remarks are added.

    Raises:
        SpecificationError: If the parameter does not have a setting, the number of
            values is not that of its elements, or a width is not positive.
    """
    if config is not None:
        _apply(name, made, config)
    if made.kind == "lumi":
        measurements = document.root.at("measurements")
        _complete_lumi(name, made, config, measurements, notes)
    inits, bounds = made.inits, made.bounds
    assert inits is not None
    assert bounds is not None
    shown = shortened(name)
    if made.constraint == "poisson" and (np.asarray(made.width) > _MANY).any():
        notes.append(
            f"The errors of {shown} are so small that rounding shows in -ln L; write 0 "
            "where there is none."
        )
    inside = np.clip(inits, bounds[:, 0], bounds[:, 1])
    if ((inside != inits) & ~made.fixed).any():
        notes.append(
            f"The start value of {shown} lies outside its bounds; the fit starts at "
            "the nearest bound."
        )
    lower, upper = bounds[:, 0].copy(), bounds[:, 1].copy()
    pinned = lower == upper
    if pinned.any():
        notes.append(
            f"The bounds of {shown} leave it no room, so it is fixed at its bound."
        )
    inits = np.where(made.fixed & ~pinned, inits, inside)
    # Start values have to be within bounds, which fixed elements do not need.
    lower = np.where(pinned, -np.inf, np.minimum(lower, inits))
    upper = np.where(pinned, np.inf, np.maximum(upper, inits))
    return ParameterSpec(
        name,
        _leaf(inits, made),
        _leaf(lower, made),
        _leaf(upper, made),
        _flags(made.fixed | pinned, made),
        _constraint(made),
    )


def _leaf(values: np.ndarray, made: Draft) -> float | np.ndarray:
    return float(values[0]) if made.scalar else values


def _flags(values: np.ndarray, made: Draft) -> bool | np.ndarray:
    if made.scalar or values.all() or not values.any():
        return bool(values[0])
    return values


def _constraint(made: Draft) -> ConstraintSpec | None:
    if made.constraint is None:
        return None
    assert made.auxdata is not None
    assert made.width is not None
    aux, width = _leaf(made.auxdata, made), _leaf(made.width, made)
    return ConstraintSpec(made.constraint, aux, width)


def _apply(name: str, made: Draft, config: ParameterConfig) -> None:
    allowed = made.attributes()
    for key, value in config.values.items():
        node = config.node.at(key)
        if key not in allowed:
            expected = f"of {made.kind} {shortened(name)} only {', '.join(allowed)}"
            raise node.fault(expected, f"the key {key!r}", "Remove it.")
        if key == "fixed":
            made.fixed = np.full(made.size, value)
            continue
        if len(value) != made.size:
            some = "1 entry" if made.size == 1 else f"{made.size} entries"
            expected = f"{some}, one for each element of {shortened(name)}"
            raise node.fault(expected, str(len(value)))
        if key in ("sigmas", "factors"):
            if not (value >= _SMALLEST).all():
                raise node.at(int(np.argmin(value >= _SMALLEST))).fault(
                    "a positive number",
                    mend='To fix the parameter instead, write "fixed": true.',
                )
            made.width = value
        else:
            setattr(made, key, value)
    if made.constraint == "poisson":
        assert made.auxdata is not None
        if (made.auxdata < 0).any():
            raise config.node.at("auxdata", int(np.argmin(made.auxdata))).fault(
                "a count, which is not negative"
            )


def _complete_lumi(
    name: str,
    made: Draft,
    config: ParameterConfig | None,
    measurements: Node,
    notes: list[str],
) -> None:
    settings = {} if config is None else config.values
    missing = [key for key in ("auxdata", "sigmas") if key not in settings]
    if missing:
        raise (measurements if config is None else config.node).fault(
            f"{' and '.join(missing)} of the luminosity",
            "none",
            "Add to the parameters of the measurement, for 2 %, "
            '{"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "inits": [1.0], '
            '"bounds": [[0.0, 10.0]]}.',
        )
    assert made.auxdata is not None
    if made.inits is None:
        made.inits = made.auxdata
        notes.append(f"{name} starts at its auxiliary value; no inits are given.")
    if made.bounds is None:
        made.bounds = np.array([[0.0, 10.0 * abs(float(made.auxdata[0])) or 10.0]])
        notes.append(f"{name} is bound to ten times its value; no bounds are given.")


def unused(config: Mapping[str, ParameterConfig], known: Any, notes: list[str]) -> None:
    """Add remarks on settings of parameters that do not exist."""
    for name in config:
        if name not in known:
            notes.append(
                f"The measurement sets parameter {shortened(name)}, which no modifier "
                "has."
            )
