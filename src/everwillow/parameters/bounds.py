"""Intervals, which second-order solvers honour exactly; bounds of whole States."""

# pyright: reportUnknownMemberType=false
# (the signatures of jax.numpy are not fully known to it)

from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from everwillow import statelib
from everwillow._errors import ArgumentTypeError, ArgumentValueError, unknown_key
from everwillow._typing import Array, ArrayLike
from everwillow.parameters.base import (
    AbstractBox,
    is_concrete,
    like,
    range_leaves,
    real,
    show,
)
from everwillow.parameters.transforms import (
    MinuitTransform,
    OneSidedLogTransform,
    TransformBase,
)


def range_hint(value: Any) -> str:
    """Return a sentence on how to write a range, with the numbers of a value.

    Example:
        >>> range_hint((0, 5))
        'For a range write ew.Interval(0, 5).'
    """
    ends = "lower, upper"
    if isinstance(value, tuple | list):
        given = [repr(end) for end in cast("Sequence[Any]", value)]
        ends = ", ".join(given) if len(given) == 2 else ends
    return f"For a range write ew.Interval({ends})."


class Interval(AbstractBox):
    """A closed interval for a parameter, with one, two or no finite ends.

    The parameter keeps its physical units. Second-order solvers project onto the
    interval and hold a parameter on an end beyond which the likelihood would grow, so a
    minimum at the bound is found exactly and reported as such.

    Args:
        lower: Lower end; a number, an array that broadcasts to the parameter, or None
            for no end.
        upper: Upper end, greater than `lower`, or None for no end.

    Raises:
        ArgumentValueError: If an end is NaN, or not ``lower < upper`` everywhere.
        ShapeMismatchError: If the shapes of the ends do not combine.

    Example:
        >>> box = Interval(lower=0.0)
        >>> print(box.clip(-1.5), box.contains(0.0))
        0.0 True
    """

    lower: ArrayLike
    upper: ArrayLike

    def __init__(
        self, lower: ArrayLike | None = None, upper: ArrayLike | None = None
    ) -> None:
        lower = -np.inf if lower is None else lower
        upper = np.inf if upper is None else upper
        self.lower, self.upper = range_leaves(
            lower, upper, where="Interval", finite=False
        )

    def __repr__(self) -> str:
        """Return the call that makes it, with plain numbers."""
        return f"Interval(lower={show(self.lower)}, upper={show(self.upper)})"

    def contains(self, value: ArrayLike) -> Bool[Array, "..."]:
        """Return, element by element, whether the value is inside, ends included."""
        value, lower, upper = self._alike(value)
        return (value >= lower) & (value <= upper)

    def clip(self, value: ArrayLike) -> Float[Array, "..."]:
        """Return the nearest value inside, element by element; NaN stays NaN."""
        value, lower, upper = self._alike(value)
        return jnp.minimum(jnp.maximum(value, lower), upper)

    def smooth(self) -> TransformBase | None:
        """Return the transform onto the open interval, for solvers without boxes.

        Returns:
            `MinuitTransform` for two finite ends, `OneSidedLogTransform` for one, and
            None for none, where no transform is needed.

        Raises:
            ArgumentTypeError: If the ends are traced, as the kind of transform depends
                on which are finite.
            ArgumentValueError: If the elements of an array differ in which of their
                ends are finite.
        """
        if not is_concrete(self.lower, self.upper):
            raise ArgumentTypeError(
                "Interval.smooth: the ends are traced, and the kind of transform "
                "depends on which of them are finite. Build the transform itself, for "
                "example MinuitTransform(lower, upper)."
            )
        has_lower, has_upper = np.isfinite(self.lower), np.isfinite(self.upper)
        if has_lower.any() != has_lower.all() or has_upper.any() != has_upper.all():
            raise ArgumentValueError(
                "Interval.smooth: the elements of the array differ in which ends are "
                f"finite: lower = {show(self.lower)}, upper = {show(self.upper)}. Use "
                "a solver that knows boxes, or split the parameter."
            )
        if has_lower.all() and has_upper.all():
            return MinuitTransform(self.lower, self.upper)
        if has_lower.all():
            return OneSidedLogTransform(self.lower, direction="lower")
        if has_upper.all():
            return OneSidedLogTransform(self.upper, direction="upper")
        return None

    def _alike(self, value: ArrayLike) -> tuple[Array, Array, Array]:
        array = real(value)
        lower = like(self.lower, array, "Interval: lower")
        upper = like(self.upper, array, "Interval: upper")
        return array, lower, upper


def wrap(state: statelib.State, mapping: Mapping[Any, Any]) -> statelib.State:
    """Map the named entries of a State from the real line to physical values.

    Args:
        state: Values on the real line; entries that are `None` stay `None`.
        mapping: A transform for each key that has one, as a dict or a State. `None`
            and `Interval` leave the entry as it is.

    Returns:
        A State with the same keys and structure; `state` itself if nothing is mapped.

    Raises:
        UnknownKeyError: If `mapping` names a key that `state` does not have.
        ArgumentTypeError: If an argument or an entry of `mapping` has another type.

    Example:
        >>> from everwillow.parameters.bounds import wrap
        >>> from everwillow.parameters.transforms import SigmoidTransform
        >>> from everwillow.statelib import State
        >>> state = State.from_pytree({"mu": 0.0, "mass": 125.0})
        >>> print(wrap(state, {"mu": SigmoidTransform(0.0, 2.0)})["mu"])
        1.0
    """
    transforms = _transforms_of(state, mapping, where="wrap")
    updates = {key: item.wrap(state[key]) for key, item in transforms.items()}
    return statelib.update(state, updates=updates) if updates else state


def unwrap(state: statelib.State, mapping: Mapping[Any, Any]) -> statelib.State:
    """Map the named entries of a State from physical values to the real line.

    Args:
        state: Physical values; entries that are `None` stay `None`.
        mapping: A transform for each key that has one, as a dict or a State. `None`
            and `Interval` leave the entry as it is.

    Returns:
        A State with the same keys and structure; `state` itself if nothing is mapped.

    Raises:
        ArgumentValueError: If a value is not strictly inside the range of its
            transform; the message names the key. In traced code the error comes when
            the compiled code runs, as that of `equinox.error_if`.
        UnknownKeyError: If `mapping` names a key that `state` does not have.
        ArgumentTypeError: If an argument or an entry of `mapping` has another type.
    """
    transforms = _transforms_of(state, mapping, where="unwrap")
    updates = {
        key: item.unwrap(state[key], where=f"unwrap, parameter {key!r}")
        for key, item in transforms.items()
    }
    return statelib.update(state, updates=updates) if updates else state


def _transforms_of(state: Any, mapping: Any, *, where: str) -> dict[Any, TransformBase]:
    """Return the transforms of `mapping` for entries of `state`, after checks."""
    for name, value in (("state", state), ("mapping", mapping)):
        expected = statelib.State if name == "state" else Mapping
        if not isinstance(value, expected):
            raise ArgumentTypeError(
                f"{where}: {name} must be a {expected.__name__}, got "
                f"{type(value).__name__}."
            )
    transforms: dict[Any, TransformBase] = {}
    for key, item in mapping.items():
        if key not in state:
            raise unknown_key(key, state.keys(), where=f"{where}, mapping")
        if item is None or isinstance(item, AbstractBox) or state[key] is None:
            continue
        if not isinstance(item, TransformBase):
            raise ArgumentTypeError(
                f"{where}: the mapping has a {type(item).__name__} for {key!r}; it "
                "takes transforms such as MinuitTransform(lower, upper), an Interval, "
                "or None."
            )
        transforms[key] = item
    return transforms
