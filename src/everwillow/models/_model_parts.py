"""Functions with which families make parts of a Model from a specification."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, final

import numpy as np

from everwillow._typing import ArrayLike, Key
from everwillow.likelihood.binned.spec import ParameterSpec
from everwillow.parameters import LogNormal, Normal, Poisson


def separator(names: Iterable[str]) -> str:
    """Return a separator of the segments of keys that no name contains."""
    used = set().union(*names)
    private = map(chr, range(0xE000, 0xF8FF))
    return next(c for c in (".", "/", ":", "|", *private) if c not in used)


def start_value(entry: ParameterSpec) -> float | np.ndarray:
    """Return the start value of a parameter, a float if it is a scalar."""
    start = np.asarray(entry.start, float)
    return start if start.shape else float(start)


def fixed_values(entries: Mapping[str, ParameterSpec]) -> dict[Key, float | np.ndarray]:
    """Return the fixed values by name, in order; NaN marks free elements."""
    fixed: dict[Key, float | np.ndarray] = {}
    for name in sorted(entries):
        start = np.asarray(entries[name].start, float)
        flags = np.asarray(entries[name].fixed)
        if flags.any():
            fixed[name] = np.where(flags, start, np.nan)[()]
    return fixed


def constraint(
    kind: Literal["normal", "poisson", "lognormal"], aux: ArrayLike, width: ArrayLike
) -> Normal | Poisson | LogNormal:
    """Return the constraint of a `ConstraintSpec` with these fields."""
    match kind:
        case "normal":
            return Normal(aux, width)
        case "lognormal":
            return LogNormal(aux, width)
    return Poisson(width)


@final
class Uncompared:
    """A static field of a Model that is not part of its structure.

    All are equal, so that models with different contents share a compiled program.

    Attributes:
        content: The value.
    """

    __slots__ = ("content",)

    def __init__(self, content: Any) -> None:
        self.content = content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Uncompared)

    def __hash__(self) -> int:
        return hash(Uncompared)
