"""Checks and conversions of the parts of a model."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.tree_util as jtu
import numpy as np

from everwillow._errors import ArgumentTypeError, ShapeMismatchError, unknown_key
from everwillow._numerics import namespace
from everwillow._tree import leaf_shape
from everwillow._typing import Key, Scalar
from everwillow.model.constraint_terms import constrained_keys
from everwillow.objective import Evaluation, curvature_hook
from everwillow.parameters import AbstractConstraint, Interval, MultivariateNormal
from everwillow.parameters.bounds import range_hint
from everwillow.statelib import State


class _Callable(eqx.Module):
    """A callable whose functions are structure, and whose numbers are leaves.

    Attributes:
        arrays: The numbers.
        rest: The leaves that are no numbers, with None in place of numbers.
        structure: The structure of the callable.
    """

    arrays: tuple[Any, ...]
    rest: tuple[Any, ...] = eqx.field(static=True)
    structure: Any = eqx.field(static=True)

    def __call__(self, *args: Any) -> Any:
        return self.restored()(*args)

    @property
    def curvature(self) -> Callable[..., Evaluation] | None:
        return curvature_hook(self.restored())

    def restored(self) -> Callable[..., Any]:
        arrays = iter(self.arrays)
        leaves = [next(arrays) if leaf is None else leaf for leaf in self.rest]
        return self.structure.unflatten(leaves)


def as_node(fn: Any, *, name: str) -> Callable[..., Any]:
    """Return a callable that may be part of a pytree passed to `jax.jit`.

    A plain function becomes structure, compared by identity; a callable pytree keeps
    its numbers as leaves.

    Raises:
        ArgumentTypeError: If it cannot be called.
    """
    if not callable(fn):
        raise ArgumentTypeError(
            f"{name}: expected a function, got {type(fn).__name__}."
        )
    leaves, structure = jtu.tree_flatten(fn)
    leaves = [number(leaf) for leaf in leaves]
    rest = tuple(None if _is_array(leaf) else leaf for leaf in leaves)
    if all(leaf is None for leaf in rest):
        return fn
    arrays = tuple(leaf for leaf in leaves if _is_array(leaf))
    return _Callable(arrays, rest, structure)


def _is_array(leaf: Any) -> bool:
    # Placeholders of arrays, as in `jax.eval_shape`, count as arrays.
    return eqx.is_array_like(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def number(value: Any) -> Any:
    """Return a Python number as a NumPy float, so that other numbers do not retrace.

    Arrays of any dtype, and objects that are no numbers, are returned unchanged.
    """
    if isinstance(value, np.generic):
        return value
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, (int, float)):
        return np.float64(value)
    return np.complex128(value) if isinstance(value, complex) else value


def in_order(mapping: Mapping[Any, Any], *, name: str) -> dict[Any, Any]:
    """Return a dict in the order of JAX, so that `jit` does not change it."""
    try:
        return dict(sorted(mapping.items(), key=lambda item: item[0]))
    except TypeError:
        raise ArgumentTypeError(
            f"{name}: the names must be all strings or all tuples of strings."
        ) from None


def checked_entries(entries: Any, state: State, kind: Any, *, name: str) -> dict:
    """Return the entries that are not None, checked against the State.

    Raises:
        ArgumentTypeError: If `entries` is no mapping, or an entry has another type.
        UnknownKeyError: If a key is not in the State.
    """
    if entries is None:
        return {}
    if not isinstance(entries, Mapping):
        raise ArgumentTypeError(
            f"{name}: expected a mapping from parameter keys, got "
            f"{type(entries).__name__}."
        )
    chosen = {}
    for key, entry in entries.items():
        keys = constrained_keys(key, entry)
        for one in keys:
            if one not in state:
                raise unknown_key(one, state, where=name)
        if entry is None:
            continue
        if not isinstance(entry, kind):
            types = getattr(kind, "__args__", (kind,))
            allowed = " or ".join(_with_article(one) for one in types)
            msg = f"{name}: {key!r} needs {allowed}, got {type(entry).__name__}."
            if Interval in types:
                msg += f" {range_hint(entry)}"
            raise ArgumentTypeError(msg)
        chosen[key] = entry
    return in_order(chosen, name=name)


def _with_article(kind: type) -> str:
    name = kind.__name__.removeprefix("Abstract")
    return f"an {name}" if name[0] in "AEIOU" else f"a {name}"


def nominal_aux(
    constraints: Mapping[Key, AbstractConstraint], state: State
) -> dict[Key, Any]:
    """Return the nominal auxiliary observations, each in the shape of its parameter.

    Raises:
        ShapeMismatchError: If a constraint does not fit its parameter.
    """
    aux = {}
    for name, constraint in constraints.items():
        value = constraint.aux
        joint = isinstance(constraint, MultivariateNormal)
        shape = np.shape(value) if joint else leaf_shape(state[name])
        if np.shape(value) != shape:
            try:
                value = namespace(value).broadcast_to(value, shape)
            except ValueError:
                raise ShapeMismatchError(
                    f"constraints: that of {name!r} has shape {np.shape(value)} and "
                    f"does not fit the parameter, which has shape {shape}."
                ) from None
        aux[name] = value
    return aux


def check_joint(constraints: Mapping[Key, AbstractConstraint], state: State) -> None:
    """Check that the parameters of joint Gaussians are scalars.

    Raises:
        ShapeMismatchError: If one is an array.
    """
    for name, constraint in constraints.items():
        if not isinstance(constraint, MultivariateNormal):
            continue
        for key in constraint.keys:
            if leaf_shape(state[key]) != ():
                raise ShapeMismatchError(
                    f"constraints: the MultivariateNormal {name!r} is about scalar "
                    f"parameters, and {key!r} has shape {leaf_shape(state[key])}."
                )


def check_kind(value: Any, *, where: str) -> None:
    """Check that a likelihood returned numbers.

    Raises:
        ShapeMismatchError: If it returned None, a text or a container.
    """
    if value is None or isinstance(value, str | bytes | dict | list | tuple):
        kind = "None" if value is None else f"a {type(value).__name__}"
        raise ShapeMismatchError(
            f"{where}: it returned {kind}. End the function with `return` and -ln L, "
            "one floating-point number."
        )


def checked_scalar(value: Any, *, where: str) -> Scalar:
    """Return the value of a likelihood, after checking that it is a scalar.

    Raises:
        ShapeMismatchError: If it is not.
    """
    check_kind(value, where=where)
    if leaf_shape(value) != ():
        got = getattr(value, "shape", type(value).__name__)
        raise ShapeMismatchError(
            f"{where}: a likelihood must return one number, got {got}. Sum over bins "
            "or events with jnp.sum."
        )
    return value
