"""The model made of functions."""

from collections.abc import Callable, Mapping
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConflictError,
    ShapeMismatchError,
    unknown_key,
)
from everwillow._tree import leaf_shape
from everwillow._typing import Array, Key, Scalar
from everwillow.model._auxiliary import constrained_keys
from everwillow.model.base import AbstractModel, Bound
from everwillow.objective import Evaluation, curvature_hook
from everwillow.parameters import AbstractConstraint, MultivariateNormal
from everwillow.parameters._base import is_concrete
from everwillow.statelib import State


@final
class Model(AbstractModel):
    """A model made of functions.

    Functions are compared by identity: models made of the same functions with other
    numbers share one compiled program.

    Args:
        main_nll: ``main_nll(params, main)`` returns -ln L of the main data, without
            constraints; `params` has the structure given here. If it offers a
            ``curvature`` (see `everwillow.objective`), the model uses that.
        params: Start values, a pytree or a `State`.
        observation: The main data, any pytree. Auxiliary data come from the
            constraints.
        constraints: By parameter key (any name for a `MultivariateNormal`).
        bounds: An `Interval` or a transform by parameter key.
        fixed: Values of parameters not to be fitted; ``...`` means the start value.
        expected: ``expected(params)`` returns the Asimov main data.
        sample: ``sample(params, key)`` draws main data.

    Raises:
        UnknownKeyError: If a key names no parameter.
        ArgumentTypeError: If an argument has another type.
        ConflictError: If a parameter has two constraints.
        ShapeMismatchError: If the shape of a value does not fit its parameter.

    Example:
        >>> from everwillow.parameters import Normal
        >>> model = Model(
        ...     lambda p, mass: 0.5 * ((mass - p["mass"] * p["scale"]) / 1.5) ** 2,
        ...     {"mass": 125.0, "scale": 1.0},
        ...     125.5,
        ...     constraints={"scale": Normal(1.0, 0.02)},
        ... )
        >>> print(f"{model.nll({'mass': 125.5, 'scale': 1.0}):.4f}")
        -2.9931
        >>> print(model.observation["aux"]["scale"])
        1.0
    """

    state: State
    bounds: dict[Key, Bound]
    fixed: dict[Key, Any]
    constraints: dict[Key, AbstractConstraint]
    observation: dict[str, Any]
    _main_nll: Callable[..., Any]
    _expected: Callable[..., Any] | None
    _sample: Callable[..., Any] | None

    def __init__(
        self,
        main_nll: Callable[[Any, Any], Any],
        params: Any,
        observation: Any,
        *,
        constraints: Mapping[Any, AbstractConstraint] | None = None,
        bounds: Mapping[Any, Bound | None] | None = None,
        fixed: Mapping[Any, Any] | None = None,
        expected: Callable[[Any], Any] | None = None,
        sample: Callable[[Any, Array], Any] | None = None,
    ) -> None:
        state = params if isinstance(params, State) else State.from_pytree(params)
        state = state.with_values([number(value) for value in state.values()])
        self.state = state
        self.bounds = checked_entries(bounds, state, Bound, name="bounds")
        self.fixed = _fixed(fixed, state)
        self.constraints = _constraints(constraints, state)
        self.observation = {
            "main": jax.tree.map(number, observation),
            "aux": nominal_aux(self.constraints, state),
        }
        self._main_nll = as_node(main_nll, name="main_nll")
        self._expected = (
            None if expected is None else as_node(expected, name="expected")
        )
        self._sample = None if sample is None else as_node(sample, name="sample")

    def main_nll(self, params: Any, main: Any) -> Scalar:
        """Return -ln L of the main data, without constraints."""
        return self._main_nll(params, main)

    def expected(self, params: Any) -> Any:
        """Return the Asimov main data.

        Raises:
            ArgumentValueError: If the model was made without `expected`.
        """
        if self._expected is None:
            msg = (
                "This Model cannot make Asimov data, as it was not told what it "
                "expects. Build it with Model(..., expected=function), where "
                'function(params) returns data like observation["main"].'
            )
            raise ArgumentValueError(msg)
        return self._expected(params)

    def sample(self, params: Any, key: Array) -> Any:
        """Draw main data.

        Raises:
            ArgumentValueError: If the model was made without `sample`.
        """
        if self._sample is None:
            msg = (
                "This Model cannot draw pseudo-data. Build it with "
                "Model(..., sample=function), where function(params, key) returns "
                'data like observation["main"].'
            )
            raise ArgumentValueError(msg)
        return self._sample(params, key)

    @property
    def main_curvature(self) -> Callable[..., Evaluation] | None:
        """The second-order evaluation that `main_nll` itself offers, or None."""
        return curvature_hook(self._main_nll)


class _Callable(eqx.Module):
    """A callable whose functions are structure, and whose numbers are leaves.

    Attributes:
        arrays: The numbers.
        rest: For each leaf what is no number, or None in the place of a number.
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
    """Return a callable that may be part of a pytree handed to `jax.jit`.

    A plain function becomes structure, compared by identity; a callable pytree keeps
    its numbers as leaves.

    Raises:
        ArgumentTypeError: If it cannot be called.
    """
    if not callable(fn):
        msg = f"{name}: expected a function, got {type(fn).__name__}."
        raise ArgumentTypeError(msg)
    leaves, structure = jtu.tree_flatten(fn)
    leaves = [number(leaf) for leaf in leaves]
    rest = tuple(None if _is_array(leaf) else leaf for leaf in leaves)
    if all(leaf is None for leaf in rest):
        return fn
    arrays = tuple(leaf for leaf in leaves if _is_array(leaf))
    return _Callable(arrays, rest, structure)


def _is_array(leaf: Any) -> bool:
    # What stands for an array inside `jax.eval_shape` and the like counts too.
    return eqx.is_array_like(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def number(value: Any) -> Any:
    """Return a Python number as a NumPy float, so that other numbers do not retrace.

    Arrays of any dtype, and what is no number, are returned as they are.
    """
    if isinstance(value, np.generic):
        return value
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, (int, float)):
        return np.float64(value)
    return np.complex128(value) if isinstance(value, complex) else value


def in_order(mapping: Mapping[Any, Any], *, name: str) -> dict[Any, Any]:
    """Return a dict in the order that JAX gives it, so that `jit` changes nothing."""
    try:
        return dict(sorted(mapping.items(), key=lambda item: item[0]))
    except TypeError:
        msg = f"{name}: the names must be all strings or all tuples of strings."
        raise ArgumentTypeError(msg) from None


def checked_entries(entries: Any, state: State, kind: Any, *, name: str) -> dict:
    """Return the entries that are not None, checked against the State.

    Raises:
        ArgumentTypeError: If `entries` is no mapping, or an entry has another type.
        UnknownKeyError: If a key is not in the State.
    """
    if entries is None:
        return {}
    if not isinstance(entries, Mapping):
        msg = (
            f"{name}: expected a mapping from parameter keys, got "
            f"{type(entries).__name__}."
        )
        raise ArgumentTypeError(msg)
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
            wanted = " or ".join(one.__name__.removeprefix("Abstract") for one in types)
            msg = f"{name}: {key!r} needs a {wanted}, got {type(entry).__name__}."
            raise ArgumentTypeError(msg)
        chosen[key] = entry
    return in_order(chosen, name=name)


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
            xp: Any = np if is_concrete(value) else jnp
            try:
                value = xp.broadcast_to(value, shape)
            except ValueError:
                msg = (
                    f"constraints: that of {name!r} has shape {np.shape(value)} and "
                    f"does not fit the parameter, which has shape {shape}."
                )
                raise ShapeMismatchError(msg) from None
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
                msg = (
                    f"constraints: the MultivariateNormal {name!r} is about scalar "
                    f"parameters, and {key!r} has shape {leaf_shape(state[key])}."
                )
                raise ShapeMismatchError(msg)


def _constraints(given: Any, state: State) -> dict[Key, AbstractConstraint]:
    constraints = checked_entries(given, state, AbstractConstraint, name="constraints")
    check_joint(constraints, state)
    owner: dict[Key, Key] = {}
    for name, constraint in constraints.items():
        for key in constrained_keys(name, constraint):
            other = owner.setdefault(key, name)
            if other != name:
                msg = (
                    f"constraints: {key!r} has two, under the names {other!r} and "
                    f"{name!r}. Merge them into one."
                )
                raise ConflictError(msg)
    return constraints


def _fixed(given: Any, state: State) -> dict[Key, Any]:
    fixed = {}
    for key, entry in checked_entries(given, state, object, name="fixed").items():
        value = state[key] if entry is ... else number(entry)
        if leaf_shape(value) != leaf_shape(state[key]):
            msg = (
                f"fixed: the value for {key!r} has shape {leaf_shape(value)}, the "
                f"parameter has {leaf_shape(state[key])}."
            )
            raise ShapeMismatchError(msg)
        fixed[key] = value
    return fixed
