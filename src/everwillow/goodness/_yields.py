"""Data and their expectations, with the variances of the data."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from everwillow._data_variance import Counts, like_data, map_variances
from everwillow._errors import ArgumentTypeError, ArgumentValueError, ShapeMismatchError
from everwillow._tree import broadcasts_to
from everwillow.engine.core import Task
from everwillow.engine.layout import as_arrays
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.model import AbstractModel
from everwillow.uncertainty.evaluation_point import refuse_batch


# Number of directions whose derivatives are in memory at a time.
DIRECTIONS = 64
NO_BINS = (
    "Events without bins have no expectation each: compare a statistic of them with "
    "that of toys, toy_pvalue."
)


def check(model: Any, result: Any, data_variance: Any) -> None:
    """Check the arguments of a goodness-of-fit test.

    Raises:
        ArgumentTypeError: If `model` is not a Model or `result` not a FitResult.
        ArgumentValueError: If `data_variance` is an unknown text.
    """
    if not isinstance(model, AbstractModel):
        raise ArgumentTypeError(
            f"model: expected a Model, got {type(model).__name__}: only a Model knows "
            "which data it expects. Build one with Model(..., expected=function)."
        )
    if not isinstance(result, FitResult):
        raise ArgumentTypeError(
            f"result: expected a FitResult, got {type(result).__name__}."
        )
    refuse_batch(result, "here")
    if isinstance(data_variance, str) and data_variance not in ("model", "poisson"):
        raise ArgumentValueError(
            "data_variance: expected 'model', 'poisson' or variances like the main "
            f"data, got {data_variance!r}."
        )


def variance_of(model: AbstractModel, params: Any, data_variance: Any) -> Any:
    """Return variances of the data, or ``"poisson"``.

    Args:
        model: The Model; its `diagnostics`, if there are any, define the variance.
        params: Pytree of parameters.
        data_variance: The argument of the test.
    """
    if not (isinstance(data_variance, str) and data_variance == "model"):
        return data_variance
    diagnostics = getattr(model, "diagnostics", None)
    return "poisson" if diagnostics is None else diagnostics.residual_variance(params)


def variance_arrays(data_variance: Any, observation: Any) -> Any:
    """Return the argument `data_variance` as arrays in the structure of the data."""
    return as_arrays(like_data(data_variance, observation["main"]), "data_variance")


class Compared(NamedTuple):
    """One leaf of the data with its expectation, ravelled.

    Attributes:
        data: The data, shape ``(n,)``.
        expected: The expectation, shape ``(n,)``.
        variance: The variances, shape ``(n,)``, or the covariance, shape ``(n, n)``.
        counts: Which data are counts with Poisson variances, shape ``(n,)``.
    """

    data: Array
    expected: Array
    variance: Array
    counts: np.ndarray


def expected_like(model: AbstractModel, params: Any, main: Any) -> Any:
    """Return the expectation of the model, in the structure of the data.

    Raises:
        ShapeMismatchError: If the expectation has another structure.
    """
    expected = model.expected(params)
    if jax.tree.structure(expected) != jax.tree.structure(main):
        raise ShapeMismatchError(
            f"expected: the model expects {jax.tree.structure(expected)}, and its "
            f"main data are {jax.tree.structure(main)}. {NO_BINS}"
        )
    return expected


class _Pair:
    """Data and expectation of one leaf; not a pytree, so that it is a leaf itself."""

    def __init__(self, data: Any, mean: Any) -> None:
        self.data, self.mean = data, mean


def compared(main: Any, expected: Any, data_variance: Any) -> list[Compared | None]:
    """Return the leaves of the data with their variances, None if they have none."""
    if isinstance(data_variance, str):
        data_variance = Counts()
    pairs = jax.tree.map(_Pair, main, expected)
    out: list[Compared | None] = []

    def take(variance, below):
        for pair in jax.tree.leaves(below):
            out.append(None if variance is None else _compare(pair, variance))

    map_variances(take, data_variance, pairs)
    return out


def _compare(pair: _Pair, variance: Any) -> Compared:
    data, mean = jnp.asarray(pair.data, float), jnp.asarray(pair.mean, float)
    if data.shape != mean.shape:
        raise ShapeMismatchError(
            f"expected: the model expects an array of shape {mean.shape}, and the data "
            f"have {data.shape}. {NO_BINS}"
        )
    counted = isinstance(variance, Counts)
    counts = np.full(mean.size, counted)
    spread = mean if counted else jnp.asarray(variance, float)
    if mean.ndim == 1 and spread.shape == (*mean.shape, *mean.shape):
        return Compared(data, mean, spread, counts)
    if not broadcasts_to(spread.shape, mean.shape):
        raise ShapeMismatchError(
            f"data_variance: shape {spread.shape} does not fit data of shape "
            f"{mean.shape}."
        )
    spread = jnp.broadcast_to(spread, mean.shape)
    return Compared(jnp.ravel(data), jnp.ravel(mean), jnp.ravel(spread), counts)


def joined(leaves: Sequence[Compared | None]) -> Compared:
    """Concatenate leaves; the covariance is a matrix if one of the leaves has one."""
    parts = [leaf for leaf in leaves if leaf is not None]
    if not parts:
        raise ArgumentValueError(
            "data_variance: no part of the data fluctuates, so there is no test."
        )
    data = jnp.concatenate([part.data for part in parts])
    expected = jnp.concatenate([part.expected for part in parts])
    counts = np.concatenate([part.counts for part in parts])
    if all(part.variance.ndim == 1 for part in parts):
        variance = jnp.concatenate([part.variance for part in parts])
        return Compared(data, expected, variance, counts)
    blocks = [
        part.variance if part.variance.ndim == 2 else jnp.diag(part.variance)
        for part in parts
    ]
    return Compared(data, expected, jax.scipy.linalg.block_diag(*blocks), counts)


def yields(
    task: Task, numbers: Numbers, x: Array, data_variance: Any
) -> tuple[Compared, Array]:
    """Return data and expectation, and the derivatives of the expectation.

    Returns:
        The concatenated leaves; the derivatives of their expectations with respect to
        the fitted parameters, shape ``(n, fitted)``.
    """
    model, main = task.objective, numbers.observation["main"]

    spread = variance_of(model, task.params(numbers, x), data_variance)

    def both(x):
        expected = expected_like(model, task.params(numbers, x), main)
        return joined(compared(main, expected, spread))

    leaves = both(x)
    _, jvp_fn = jax.linearize(lambda v: both(v).expected, x)
    basis = jnp.eye(x.shape[0], dtype=x.dtype)
    if x.shape[0] == 0:
        return leaves, jnp.zeros((leaves.data.shape[0], 0))
    return leaves, jax.lax.map(jvp_fn, basis, batch_size=DIRECTIONS).T
