"""Variations: functions of parameters and yields with one parameter shifted."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from everwillow._errors import UnknownKeyError
from everwillow._typing import Key
from everwillow.engine.core import Task
from everwillow.engine.names import as_names, meant_elements
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.mappings.evaluation import (
    MappingFunction,
    postfit_point,
    prediction_inputs,
    prefit_point,
)
from everwillow.model import AbstractModel
from everwillow.statelib import State
from everwillow.uncertainty.evaluation_point import Point, evaluate_at, output


# Number of variations that are evaluated at a time.
AT_ONCE = 16


class VariationsResult(eqx.Module):
    """Values of a function with each of several parameters shifted up and down.

    Attributes:
        values: The values without a shift.
        up: The values with each parameter one standard error up: the structure of
            `values`, with a leading axis of parameters.
        down: The values with each parameter one standard error down.
        names: The labels of the parameters.
    """

    values: PyTree
    up: PyTree
    down: PyTree
    names: tuple[str, ...] = eqx.field(static=True)


def variations(
    fn: Callable[[Any, Any], PyTree] | None,
    model: AbstractModel,
    result: FitResult | None = None,
    *,
    names: Any = "*",
    correlated: bool = False,
    exact: bool = False,
    params: State | None = None,
    observation: Any = None,
    unconstrained: Mapping[Key, Any] | None = None,
    covariance: Float[Array, "free free"] | None = None,
    throw: bool = True,
) -> VariationsResult:
    r"""Vary a function of parameters and expected yields by one parameter at a time.

    Args:
        fn: As in `prefit`.
        model: The Model.
        result: A fit, to shift parameters from their best values by their errors. If it
            is None, they are shifted from the start values by the widths of their
            constraints.
        names: The parameters to shift: keys, labels or patterns such as ``"jes_*"``.
        correlated: Whether the other parameters follow by
            :math:`C_{jk} / \sqrt{C_{kk}}`; else they stay, also those that the model
            profiles.
        exact: Whether to evaluate the function at the shifted parameters; else it is
            extrapolated linearly, so that up and down are opposite. Bounds are ignored.
        params: Before a fit, where to evaluate, as in `prefit`.
        unconstrained: Before a fit, as in `prefit`.
        observation: After a fit, as in `postfit`.
        covariance: After a fit, as in `postfit`.
        throw: As in `postfit`.

    Returns:
        `VariationsResult`; NaN for a parameter held at a bound, and unchanged values
        for a parameter of zero variance.

    Raises:
        UnknownKeyError: If a name or a pattern matches no free parameter.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.parameters import Normal
        >>> model = ew.Model(
        ...     lambda p, n: 0.5 * (n - 10.0 * 1.1 ** p["theta"]) ** 2,
        ...     {"theta": 0.0},
        ...     10.0,
        ...     constraints={"theta": Normal(0.0, 1.0)},
        ...     expected=lambda p: 10.0 * 1.1 ** p["theta"],
        ... )
        >>> out = variations(None, model, exact=True)
        >>> print(out.names, out.up.round(3), out.down.round(3))
        ('theta',) [11.] [9.091]
    """
    if result is None:
        where = prefit_point(model, params, unconstrained)
    else:
        where = postfit_point(model, result, covariance, throw=throw)
    chosen = _chosen(names, where.point)
    kind = _VariationKind(bool(correlated), bool(exact))
    args = (where.covariance, where.held, chosen, kind)
    data = None
    if result is not None:
        data = model.observation if observation is None else observation
    mapped = MappingFunction(fn, model)
    inputs = prediction_inputs(model, data)
    values, up, down = evaluate_at(_vary, mapped, where.point, inputs, *args)[0]
    labels = where.point.labels
    return VariationsResult(values, up, down, tuple(labels[i] for i in chosen))


def _chosen(names: Any, point: Point) -> np.ndarray:
    """Return the positions of the named parameters among the free ones."""
    layout, free = point.layout, np.asarray(point.free, int)
    chosen = np.zeros(len(free), bool)
    for name in as_names(names, layout, where="names"):
        marked = meant_elements(name, layout, where="names").marks[free]
        if not marked.any():
            raise UnknownKeyError(
                f"names: none of the parameters that {name!r} means is free."
            )
        chosen |= marked
    return np.nonzero(chosen)[0]


class _VariationKind(NamedTuple):
    """Options of `variations`; as Python's booleans they select the program."""

    correlated: bool
    exact: bool


def _vary(
    task: Task,
    numbers: Numbers,
    covariance: Array,
    held: Array,
    chosen: Array,
    kind: _VariationKind,
) -> tuple[Any, Any, Any]:
    x = task.start(numbers)
    covariance = jnp.asarray(covariance)
    variance = jnp.diagonal(covariance)
    positive = variance > 0
    error = jnp.sqrt(jnp.where(positive, variance, 1))
    # Zero is known, unless it is held; what is negative or NaN is no variance.
    known = (variance == 0) & ~jnp.asarray(held)
    error = jnp.where(positive, error, jnp.where(known, 0, jnp.nan))
    if kind.correlated:
        scale = jnp.where(positive, 1 / jnp.where(positive, error, 1), error)
        moves = covariance[chosen] * scale[chosen][:, None]
    else:
        moves = jnp.zeros((chosen.shape[0], x.shape[0]), x.dtype)
        moves = moves.at[jnp.arange(chosen.shape[0]), chosen].set(error[chosen])

    inputs = numbers.observation
    if not kind.correlated and inputs.observation is not None:
        inputs = inputs._replace(around=task.params(numbers, x))
    numbers = dataclasses.replace(numbers, observation=inputs)

    def at(x):
        return output(task, numbers, x)

    values = at(x)
    if kind.exact:
        up, down = (
            jax.lax.map(
                lambda move, s=sign: at(x + s * move), moves, batch_size=AT_ONCE
            )
            for sign in (1.0, -1.0)
        )
        return values, up, down
    _, push = jax.linearize(at, x)
    change = jax.lax.map(push, moves, batch_size=AT_ONCE)
    up = jax.tree.map(lambda v, c: v[None] + c, values, change)
    down = jax.tree.map(lambda v, c: v[None] - c, values, change)
    return values, up, down
