"""The terms of a likelihood that come from auxiliary measurements.

Constraints of one kind are stacked and evaluated with one `jax.vmap`, so that the
compiled program of a model with a thousand of them stays small.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jax.flatten_util import ravel_pytree

from everwillow._errors import ArgumentTypeError, ArgumentValueError, unknown_key
from everwillow._numerics import value_gradient_diagonal, value_gradient_hessian
from everwillow._tree import leaf_shape
from everwillow._typing import Array, Key, Scalar
from everwillow.curvature import (
    AbstractCurvature,
    Dense,
    block_diagonal,
    gather_transpose,
)
from everwillow.objective import Evaluation
from everwillow.parameters import (
    AbstractConstraint,
    LogNormal,
    MultivariateNormal,
    Normal,
    Poisson,
)
from everwillow.parameters.base import real
from everwillow.parameters.constraint_table import AuxTable, ConstraintTable
from everwillow.statelib import State
from everwillow.statelib.state import state_parts


def constrained_keys(name: Key, constraint: AbstractConstraint) -> tuple[Key, ...]:
    """Return the keys of the parameters of a constraint."""
    if isinstance(constraint, MultivariateNormal):
        return constraint.keys
    return (name,)


def values_by_key(state: State, params: Any) -> dict[Key, Any]:
    """Return the leaves of `params` under the present keys of `state`.

    Args:
        state: A State with the structure and the names; its values are not used.
        params: A pytree like ``state.to_pytree()``. The first leaf of a shared
            parameter is used.

    Raises:
        ArgumentValueError: If `params` has another structure.
    """
    meta, _ = state_parts(state)
    trees = params if meta.merged else (params,)
    values: dict[Key, Any] = {}
    try:
        for piece, tree in zip(meta.pieces, trees, strict=True):
            leaves = piece.treedef.flatten_up_to(tree)
            for key, leaf in zip(piece.current, leaves, strict=True):
                values.setdefault(key, leaf)
    except (ValueError, TypeError) as error:
        raise ArgumentValueError(
            "params: expected the structure of state.to_pytree(), with the original "
            f"names, but {error}"
        ) from error
    return values


def check_aux(aux: Any, constraints: Mapping[Key, AbstractConstraint]) -> None:
    """Check that there is one auxiliary observation for each constraint.

    Raises:
        ArgumentTypeError: If `aux` is no mapping.
        UnknownKeyError: If a name is not that of a constraint.
        ArgumentValueError: If one is missing.
    """
    if not isinstance(aux, Mapping):
        raise ArgumentTypeError(
            'observation["aux"]: expected a mapping from constraint names to values, '
            f"got {type(aux).__name__}."
        )
    if isinstance(aux, AuxTable) and isinstance(constraints, ConstraintTable):
        same = aux.layout == constraints.layout
        if same and aux.others.keys() == constraints.others.keys():
            return
    if aux.keys() == constraints.keys():
        return
    for name in aux:
        if name not in constraints:
            raise unknown_key(name, constraints, where='observation["aux"]')
    missing = ", ".join(repr(name) for name in constraints if name not in aux)
    raise ArgumentValueError(
        f'observation["aux"]: no value for the constraint of {missing}. The nominal '
        'ones are in model.observation["aux"].'
    )


def summed_nll(
    constraints: Mapping[Key, AbstractConstraint],
    values: Mapping[Key, Any],
    aux: Mapping[Key, Any],
) -> Scalar:
    """Return the sum of the constraints' -ln L."""
    if isinstance(constraints, ConstraintTable):
        aux_table = constraints.aux(aux)
        packed = constraints.nll(constraints.layout.gathered(values), aux_table.vector)
        return packed + summed_nll(constraints.others, values, aux_table.others)
    rows = {
        name: (constraint, constrained_value(name, constraint, values), aux[name])
        for name, constraint in constraints.items()
    }
    terms = [
        jnp.sum(_over(lambda c, value, a: c.nll(value, a), group))
        for group in _groups(rows)
    ]
    return sum(terms[1:], start=terms[0]) if terms else jnp.zeros(())


def expected_aux(
    constraints: Mapping[Key, AbstractConstraint], values: Mapping[Key, Any]
) -> Mapping[Key, Any]:
    """Return the auxiliary observations that are most likely for parameter values."""
    if isinstance(constraints, ConstraintTable):
        expected = constraints.expected(constraints.layout.gathered(values))
        others = expected_aux(constraints.others, values)
        return AuxTable(constraints.layout, expected, dict(others))
    return {
        name: _expected_aux(constraint, constrained_value(name, constraint, values))
        for name, constraint in constraints.items()
    }


def sampled_aux(
    constraints: Mapping[Key, AbstractConstraint], values: Mapping[Key, Any], key: Array
) -> Mapping[Key, Any]:
    """Draw the auxiliary observation of each constraint."""
    if isinstance(constraints, ConstraintTable):
        table_key, others_key = jr.split(key)
        drawn = constraints.sample(constraints.layout.gathered(values), table_key)
        others = sampled_aux(constraints.others, values, others_key)
        return AuxTable(constraints.layout, drawn, dict(others))
    # Sorted as `jit` does, so that a key gives the same toys inside of it.
    names = sorted(constraints)
    keys = jr.split(key, max(1, len(names)))
    rows = {
        name: (c, constrained_value(name, c, values), keys[i])
        for i, (name, c) in enumerate((name, constraints[name]) for name in names)
    }
    aux: dict[Key, Any] = {}
    for group in _groups(rows):
        drawn = _over(lambda c, value, k: c.sample(value, k), group)
        aux |= zip(group, drawn, strict=True)
    return aux


def add_to_evaluation(
    evaluation: Evaluation,
    constraints: Mapping[Key, AbstractConstraint],
    state: State,
    params: Any,
    aux: Mapping[Key, Any],
) -> Evaluation:
    """Add the constraints to the evaluation of a main likelihood.

    Constraints of one parameter are sums over its elements, so they add to the diagonal
    only. They add only nonnegative terms to the Gauss-Newton part.
    """
    x, unravel = ravel_pytree(params)
    single, joint = _divided(constraints)
    value, gradient = evaluation.value, evaluation.gradient
    curvature, gauss_newton = evaluation.curvature, evaluation.gauss_newton
    if single:
        own = {name: aux[name] for name in single} if joint else aux

        def nll(vector: Array) -> Scalar:
            return summed_nll(single, values_by_key(state, unravel(vector)), own)

        added, slope, diagonal = value_gradient_diagonal(nll, x)
        value, gradient = value + added, gradient + slope
        curvature = curvature.plus_diagonal(diagonal)
        if gauss_newton is not None:
            gauss_newton = gauss_newton.plus_diagonal(jnp.maximum(diagonal, 0))
    if joint:
        index = _positions(joint, state, params)
        added, slope, hessian = value_gradient_hessian(_joint_nll(joint, aux), x[index])
        value, gradient = value + added, gradient.at[index].add(slope)
        curvature = _plus_dense(curvature, hessian, index)
        if gauss_newton is not None:  # a Gaussian's Hessian is positive definite
            gauss_newton = _plus_dense(gauss_newton, hessian, index)
    return Evaluation(
        value, gradient, curvature, gauss_newton, derivatives=evaluation.derivatives
    )


def _divided(
    constraints: Mapping[Key, AbstractConstraint],
) -> tuple[Mapping[Key, AbstractConstraint], dict[Key, MultivariateNormal]]:
    """Return the constraints of one parameter each, and the joint ones."""
    if isinstance(constraints, ConstraintTable):
        single, joint = _divided(constraints.others)
        return ConstraintTable(
            constraints.layout, constraints.groups, dict(single)
        ), joint
    joint = {n: c for n, c in constraints.items() if isinstance(c, MultivariateNormal)}
    return {n: c for n, c in constraints.items() if n not in joint}, joint


def constrained_value(
    name: Key, constraint: AbstractConstraint, values: Mapping[Key, Any]
) -> Array:
    """Return the value of the parameter of a constraint, or a vector of several."""
    if isinstance(constraint, MultivariateNormal):
        return jnp.stack([real(values[key]) for key in constraint.keys])
    return real(values[name])


def _expected_aux(constraint: AbstractConstraint, value: Array) -> Array:
    match constraint:
        case Normal() | MultivariateNormal() | LogNormal():
            return value
        case Poisson():
            return value * jnp.asarray(constraint.tau, value.dtype)
    expected = getattr(constraint, "expected", None)
    if expected is None:
        raise ArgumentTypeError(
            f"asimov: {type(constraint).__name__} does not tell which auxiliary "
            "observation it expects. Give it a method expected(value) that returns "
            "the aux at which nll(value, aux) is smallest in value."
        )
    return expected(value)


def _groups(rows: Mapping[Key, tuple[Any, ...]]) -> list[dict[Key, tuple[Any, ...]]]:
    """Divide the rows into groups that can be stacked."""
    groups: dict[Any, dict[Key, tuple[Any, ...]]] = {}
    for name, row in rows.items():
        leaves, structure = jtu.tree_flatten(row)
        shapes = [leaf_shape(leaf) for leaf in leaves]
        # A leaf that is no array cannot be stacked, so such a row is its own group.
        alone = name if None in shapes else None
        dtypes = [getattr(leaf, "dtype", type(leaf)) for leaf in leaves]
        kind = (structure, tuple(shapes), tuple(dtypes), alone)
        groups.setdefault(kind, {})[name] = row
    return list(groups.values())


def _over(fn: Callable[..., Array], group: Mapping[Key, tuple[Any, ...]]) -> Array:
    """Apply a function to each row; the results lie along a new first axis."""
    rows = list(group.values())
    if len(rows) == 1:
        return fn(*rows[0])[None]
    return jax.vmap(fn)(*jtu.tree_map(_stack, *rows))


def _stack(*leaves: Any) -> Any:
    # Known numbers stay on the host, where stacking a thousand costs little time.
    host = all(isinstance(leaf, (np.ndarray, np.generic)) for leaf in leaves)
    return np.stack(leaves) if host else jnp.stack(leaves)


def _joint_nll(
    joint: Mapping[Key, MultivariateNormal], aux: Mapping[Key, Any]
) -> Callable[[Array], Scalar]:
    cuts = np.cumsum([len(constraint.keys) for constraint in joint.values()])[:-1]

    def nll(vector: Array) -> Scalar:
        parts = jnp.split(vector, cuts.tolist())
        terms = [
            constraint.nll(part, aux[name])
            for (name, constraint), part in zip(joint.items(), parts, strict=True)
        ]
        return sum(terms[1:], start=terms[0])

    return nll


def _positions(
    joint: Mapping[Key, MultivariateNormal], state: State, params: Any
) -> np.ndarray:
    """Return the places of the members of joint Gaussians in the ravelled `params`."""
    leaves, structure = jtu.tree_flatten(params)
    ends = np.cumsum([math.prod(np.shape(leaf)) for leaf in leaves])
    starts = structure.unflatten([0, *ends[:-1].tolist()])
    place = values_by_key(state, starts)
    return np.array([place[key] for c in joint.values() for key in c.keys])


def _plus_dense(
    curvature: AbstractCurvature, matrix: Array, index: np.ndarray
) -> AbstractCurvature:
    """Add a dense matrix in some of the parameters, keeping the structure."""
    size = curvature.diagonal().shape[0]
    longer = block_diagonal([curvature, Dense(matrix)])
    return gather_transpose(longer, np.concatenate([np.arange(size), index]), size)
