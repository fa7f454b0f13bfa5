"""Toy events with known responses and resolutions: Z to two electrons, and others."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from everwillow._errors import ArgumentValueError, unknown_key
from everwillow.models.scale_smearing.categories import Categories


Z_MASS = 91.1876
"""The mass of the Z boson in GeV (PDG)."""
Z_WIDTH = 2.4952
"""Its full width in GeV (PDG)."""

Draw = Callable[[np.random.Generator, int], np.ndarray]
"""Draws a number of values of a variable."""

_BATCH = 500_000  # events drawn at once
_FEWEST = 1e-3  # part of the events that must be within the window
_DOUBLE = ("frac", "mu", "reso2")


def generate_events(
    events: int,
    *,
    categories: Categories | Mapping[str, Sequence[float]],
    seed: int,
    kind: Literal["data", "simulation"] = "data",
    resp: ArrayLike = 1.0,
    reso: ArrayLike = 0.0,
    base_resolution: ArrayLike = 0.02,
    double: Mapping[str, ArrayLike] | None = None,
    window: tuple[float, float] = (50.0, 130.0),
    suffixes: tuple[str, ...] = ("1", "2"),
    mass_exponent: float = 0.5,
    smearing: Literal["energy", "mass"] = "energy",
    variables: Mapping[str, Draw] | None = None,
    negative_weights: float = 0.0,
) -> dict[str, np.ndarray]:
    r"""Generate events of a resonance with known responses and resolutions.

    True masses have the Breit-Wigner distribution of the Z boson. An object $e$ of
    category $c$ has its energy multiplied by

    $$g_e = (1 + b_c z_e)\, r_c (1 + s_c z'_e),$$

    with the base resolution $b$ that both samples have, and normal $z$; simulation has
    $r = 1$, $s = 0$. The mass is multiplied by $\prod_e g_e^p$ with the exponent $p$:
    1/2 for two electrons, where the width of the mass is half of the quadratic sum.
    Events outside of the window are rejected, so its edges have no peaks.

    Categories are those of true variables: a transverse momentum is measured with the
    energy, and may be in a bin beside.

    Args:
        events: The number of events within the window.
        categories: The bins of the variables, on which responses depend.
        seed: The seed.
        kind: Data, or simulation, to which `resp`, `reso` and `double` do not apply.
        resp: The response of each category, or of all.
        reso: The resolution of each category, or of all: it adds to the base one.
        base_resolution: The resolution that both samples have.
        double: A second Gaussian of the response: ``frac`` is the part of the first,
            ``mu`` and ``reso2`` the mean, relative to `resp`, and the relative width of
            the second; of each category or of all.
        window: The range of masses.
        suffixes: Those of the names of columns of the objects with a response: two, or
            one for events such as mu mu gamma.
        mass_exponent: The power of the energy of an object in the mass.
        smearing: ``"mass"`` smears masses with the normal distribution of the
            likelihood, whose product of two energies differs by terms of second order.
        variables: How variables are drawn, if not uniformly within finite edges;
            ``pt`` is a part of the mass by default. Others than those of `categories`
            are additional columns.
        negative_weights: The part of events with the weight -1.

    Returns:
        Columns of shape ``(events,)``: ``mass``, ``weight``, and of each object the
        variables and ``pt``.

    Raises:
        ArgumentValueError: If a number is out of its range.

    Example:
        >>> found = generate_events(
        ...     2000, categories={"ScEta": [0, 1.5, 2.5]}, resp=[1.01, 0.99], seed=1
        ... )
        >>> sorted(found)
        ['ScEta1', 'ScEta2', 'mass', 'pt1', 'pt2', 'weight']
        >>> bool(90.5 < np.median(found["mass"]) < 91.8)
        True
    """
    bins = Categories.of(categories)
    simulated = kind == "simulation"
    generator = np.random.default_rng(seed)
    draws = _draws(bins, variables or {})
    toy = _Toy(
        bins,
        draws,
        _per_category(base_resolution, bins, "base_resolution"),
        _per_category(1.0 if simulated else resp, bins, "resp", above=True),
        _per_category(0.0 if simulated else reso, bins, "reso"),
        {} if simulated else _second(double, bins),
        suffixes,
        mass_exponent,
        smearing == "mass",
    )
    _check(events, window, suffixes, mass_exponent, negative_weights)
    parts: list[dict[str, np.ndarray]] = []
    found = tried = 0
    while found < events:
        size = min(max(2 * (events - found), 1000), _BATCH)
        part = toy.draw(generator, size)
        inside = (part["mass"] >= window[0]) & (part["mass"] <= window[1])
        parts.append({name: values[inside] for name, values in part.items()})
        found += int(np.count_nonzero(inside))
        tried += size
        if found < _FEWEST * tried:
            raise ArgumentValueError(
                f"window: fewer than {_FEWEST:.1%} of events are from {window[0]:g} to "
                f"{window[1]:g} GeV. Choose one with the Z boson at {Z_MASS:g} GeV."
            )
    columns = {
        name: np.concatenate([part[name] for part in parts])[:events]
        for name in parts[0]
    }
    negative = generator.random(events) < negative_weights
    columns["weight"] = np.where(negative, -1.0, 1.0)
    return columns


@dataclasses.dataclass(frozen=True)
class _Toy:
    """How events are drawn, before the window."""

    categories: Categories
    draws: Mapping[str, Draw]
    base: np.ndarray
    resp: np.ndarray
    reso: np.ndarray
    second: Mapping[str, np.ndarray]
    suffixes: tuple[str, ...]
    exponent: float
    gaussian_mass: bool

    def draw(self, generator: np.random.Generator, size: int) -> dict[str, np.ndarray]:
        """Return columns of events."""
        mass = Z_MASS + 0.5 * Z_WIDTH * generator.standard_cauchy(size)
        objects = {
            suffix: self._variables(generator, np.abs(mass)) for suffix in self.suffixes
        }
        indices = [self.categories.index(one) for one in objects.values()]
        for base in (True, False):
            squares = np.zeros(size)
            for variables, index in zip(objects.values(), indices, strict=True):
                center, width = self._response(generator, index, base=base)
                energy = center * (1 + width * generator.standard_normal(size))
                variables["pt"] = variables["pt"] * energy
                # A far tail of the Gaussian may be negative: out of the window.
                factor = center if self.gaussian_mass else np.maximum(energy, 0.0)
                mass = mass * factor**self.exponent
                squares += width**2
            if self.gaussian_mass:
                spread = self.exponent * np.sqrt(squares)
                mass = mass * (1 + spread * generator.standard_normal(size))
        columns = {"mass": mass}
        for suffix, variables in objects.items():
            columns |= {f"{name}{suffix}": one for name, one in variables.items()}
        return columns

    def _variables(
        self, generator: np.random.Generator, mass: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Draw the true variables of an object."""
        values = {name: draw(generator, len(mass)) for name, draw in self.draws.items()}
        if "pt" not in values:
            values["pt"] = _part_of_mass(generator, len(mass)) * mass
        return values

    def _response(
        self, generator: np.random.Generator, index: np.ndarray, *, base: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the centre and the relative width of the response of objects."""
        # Objects outside of all categories have the base resolution of the first.
        outside, place = index < 0, np.maximum(index, 0)
        if base:
            return np.ones(len(index)), self.base[place]
        center, width = self.resp[place], self.reso[place]
        if self.second:
            tail = generator.random(len(index)) >= self.second["frac"][place]
            center = np.where(tail, center * self.second["mu"][place], center)
            width = np.where(tail, self.second["reso2"][place], width)
        return np.where(outside, 1.0, center), np.where(outside, 0.0, width)


def _part_of_mass(generator: np.random.Generator, size: int) -> np.ndarray:
    """Draw transverse momenta relative to the mass, which do not depend on it."""
    return 0.2 + 0.8 * generator.beta(2.5, 3.5, size)


def _draws(categories: Categories, given: Mapping[str, Draw]) -> dict[str, Draw]:
    found: dict[str, Draw] = {}
    for name, edges in zip(categories.names, categories.edges, strict=True):
        if name == "pt":
            continue  # a part of the mass
        low, high = _finite_range(edges)
        found[name] = _uniform(low, high)
    return {**found, **given}


def _uniform(low: float, high: float) -> Draw:
    return lambda generator, size: generator.uniform(low, high, size)


def _finite_range(edges: tuple[float, ...]) -> tuple[float, float]:
    """Return a finite range that has values in all bins."""
    inner = [edge for edge in edges if math.isfinite(edge)] or [0.0]
    step = (inner[-1] - inner[0]) / max(len(inner) - 1, 1) or 0.1 * abs(inner[0]) or 1.0
    low = inner[0] - (0.0 if math.isfinite(edges[0]) else step)
    high = inner[-1] + (0.0 if math.isfinite(edges[-1]) else step)
    return low, high


def _per_category(
    values: ArrayLike, categories: Categories, name: str, *, above: bool = False
) -> Float[np.ndarray, " categories"]:
    """Return one number for each category, positive or not negative."""
    array = np.asarray(values, float)
    if array.shape not in ((), (categories.size,)):
        raise ArgumentValueError(
            f"{name}: expected one number or {categories.size}, one for each category, "
            f"not the shape {array.shape}."
        )
    if not np.all(np.isfinite(array)) or np.any(array <= 0 if above else array < 0):
        bound = "positive" if above else ">= 0"
        raise ArgumentValueError(f"{name}: all numbers must be finite and {bound}.")
    return np.broadcast_to(array, categories.size)


def _second(
    double: Mapping[str, ArrayLike] | None, categories: Categories
) -> dict[str, np.ndarray]:
    if double is None:
        return {}
    for name in double:
        if name not in _DOUBLE:
            raise unknown_key(name, _DOUBLE, where="double")
    for name in _DOUBLE:
        if name not in double:
            raise ArgumentValueError(
                f"double: {name!r} is missing. It needs {', '.join(_DOUBLE)}."
            )
    found = {
        name: _per_category(double[name], categories, f"double[{name!r}]")
        for name in _DOUBLE
    }
    if np.any(found["frac"] > 1):
        raise ArgumentValueError("double['frac']: a part is at most 1.")
    return found


def _check(
    events: int,
    window: tuple[float, float],
    suffixes: tuple[str, ...],
    exponent: float,
    negative: float,
) -> None:
    if events < 1:
        raise ArgumentValueError(f"events: expected a positive number, not {events}.")
    if not 0 <= window[0] < window[1]:
        raise ArgumentValueError(
            f"window: expected two increasing masses, not {tuple(window)}."
        )
    if len(suffixes) not in (1, 2) or len(set(suffixes)) != len(suffixes):
        raise ArgumentValueError(
            f"suffixes: expected one or two different texts, not {suffixes!r}."
        )
    if not 0 < exponent < math.inf:
        raise ArgumentValueError(
            f"mass_exponent: expected a positive number, not {exponent}."
        )
    if not 0 <= negative <= 1:
        raise ArgumentValueError(
            f"negative_weights: expected a part from 0 to 1, not {negative}."
        )
