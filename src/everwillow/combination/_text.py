"""Short readable texts of constraints and bounds, for tables and messages."""

import dataclasses
from typing import Any

import numpy as np

from everwillow._tree import format_leaf
from everwillow._typing import Key
from everwillow.parameters import AbstractConstraint, Interval, MultivariateNormal
from everwillow.parameters.base import is_concrete


def key_text(key: Key) -> str:
    """Return the text of a key."""
    return key if isinstance(key, str) else repr(key)


def bound_text(bound: Any) -> str:
    """Return ``[0, inf]`` for an interval, the name with its numbers for a map."""
    if bound is None:
        return ""
    if isinstance(bound, Interval):
        return f"[{format_leaf(bound.lower)}, {format_leaf(bound.upper)}]"
    return _call_text(bound)


def bound_code(bound: Any) -> str:
    """Return how a bound is written in Python, ``...`` where its numbers are many."""
    if not isinstance(bound, Interval) or np.ndim(bound.lower) or np.ndim(bound.upper):
        return "..."
    text = f"ew.Interval({format_leaf(bound.lower)}, {format_leaf(bound.upper)})"
    return text.replace("inf", "jnp.inf")


def constraint_text(constraint: AbstractConstraint | None) -> str:
    """Return a constraint as a call in Python, without long arrays."""
    if constraint is None:
        return ""
    if not isinstance(constraint, MultivariateNormal):
        return _call_text(constraint)
    keys = [key_text(key) for key in constraint.keys]
    if len(keys) > 4:
        keys = [*keys[:3], f"... {len(keys)} in all"]
    return f"MultivariateNormal({', '.join(keys)})"


def covariance_text(constraint: AbstractConstraint) -> str:
    """Return the text of a constraint, with the numbers of a small joint Gaussian."""
    text = constraint_text(constraint)
    if not isinstance(constraint, MultivariateNormal):
        return text
    if len(constraint.keys) > 4 or not is_concrete(constraint.covariance):
        return text
    numbers = np.array2string(
        np.asarray(constraint.covariance),
        separator=", ",
        formatter={"float_kind": "{:.6g}".format},
    )
    return f"{text} with covariance {' '.join(numbers.split())}"


def _call_text(module: Any) -> str:
    values = [getattr(module, field.name) for field in dataclasses.fields(module)]
    shown = [v if isinstance(v, str) else format_leaf(v) for v in values]
    return f"{type(module).__name__}({', '.join(shown)})"
