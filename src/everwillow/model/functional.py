"""A model made of functions."""

from collections.abc import Callable, Mapping
from typing import Any, final

import jax

from everwillow._errors import ArgumentValueError, ConflictError, ShapeMismatchError
from everwillow._native import native, native_tree
from everwillow._tree import leaf_shape
from everwillow._typing import Array, Key, Scalar
from everwillow.model.base import AbstractModel, Bound
from everwillow.model.constraint_terms import constrained_keys
from everwillow.model.entries import (
    as_node,
    check_joint,
    checked_entries,
    nominal_aux,
    number,
)
from everwillow.objective import Evaluation, curvature_hook
from everwillow.parameters import AbstractConstraint
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
        observation: The main data, any pytree; tables and series are converted as by
            `fit`. None, if the function holds its data. Auxiliary data come from the
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
        observation: Any = None,
        *,
        constraints: Mapping[Any, AbstractConstraint] | None = None,
        bounds: Mapping[Any, Bound | None] | None = None,
        fixed: Mapping[Any, Any] | None = None,
        expected: Callable[[Any], Any] | None = None,
        sample: Callable[[Any, Array], Any] | None = None,
    ) -> None:
        state = params if isinstance(params, State) else State.from_pytree(params)
        state = state.with_values(
            [number(native(value, f"params[{key!r}]")) for key, value in state.items()]
        )
        self.state = state
        self.bounds = checked_entries(bounds, state, Bound, name="bounds")
        self.fixed = _fixed(fixed, state)
        self.constraints = _constraints(constraints, state)
        self.observation = {
            "main": jax.tree.map(number, native_tree(observation, "observation")),
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
            raise ArgumentValueError(
                "This Model cannot make Asimov data, as it has no function "
                "`expected`. Build it with Model(..., expected=function), where "
                'function(params) returns data like observation["main"].'
            )
        return self._expected(params)

    def sample(self, params: Any, key: Array) -> Any:
        """Draw main data.

        Raises:
            ArgumentValueError: If the model was made without `sample`.
        """
        if self._sample is None:
            raise ArgumentValueError(
                "This Model cannot draw pseudo-data. Build it with "
                "Model(..., sample=function), where function(params, key) returns "
                'data like observation["main"].'
            )
        return self._sample(params, key)

    @property
    def main_curvature(self) -> Callable[..., Evaluation] | None:
        """The second-order evaluation that `main_nll` itself offers, or None."""
        return curvature_hook(self._main_nll)


def _constraints(mapping: Any, state: State) -> dict[Key, AbstractConstraint]:
    constraints = checked_entries(
        mapping, state, AbstractConstraint, name="constraints"
    )
    check_joint(constraints, state)
    owner: dict[Key, Key] = {}
    for name, constraint in constraints.items():
        for key in constrained_keys(name, constraint):
            other = owner.setdefault(key, name)
            if other != name:
                raise ConflictError(
                    f"constraints: {key!r} has two, under the names {other!r} and "
                    f"{name!r}. Merge them into one."
                )
    return constraints


def _fixed(mapping: Any, state: State) -> dict[Key, Any]:
    fixed = {}
    for key, entry in checked_entries(mapping, state, object, name="fixed").items():
        value = state[key] if entry is ... else number(entry)
        if leaf_shape(value) != leaf_shape(state[key]):
            raise ShapeMismatchError(
                f"fixed: the value for {key!r} has shape {leaf_shape(value)}, the "
                f"parameter has {leaf_shape(state[key])}."
            )
        fixed[key] = value
    return fixed
