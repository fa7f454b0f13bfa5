"""Pulls of the data: deviations from the fitted expectation in units of the error."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from everwillow.engine.core import Task
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.goodness._yields import (
    check,
    compared,
    expected_like,
    variance_arrays,
    variance_of,
    yields,
)
from everwillow.goodness.chi2 import SINGULAR, covariance_for
from everwillow.goodness.saturated import poisson_deviance
from everwillow.model import AbstractModel
from everwillow.uncertainty.evaluation_point import evaluate_at
from everwillow.uncertainty.fisher_information import likelihood_at


class DataPulls(eqx.Module):
    """Residuals and pulls of the data after a fit, in the structure of the data.

    They are positive if there are more data than expected, and None for data that do
    not fluctuate.

    Attributes:
        expected: The expectation of the model at the best fit.
        residuals: Data less expectation, in units of the data.
        pulls: The residual divided by the error of the datum. The variance is below
            one, as the fitted expectation follows the data.
        standardised: The residual divided by its own error, with a variance of one. NaN
            if the fit always reproduces a datum, so that the residual does not
            fluctuate.
        deviances: For counts the signed root of the contribution to the saturated
            likelihood ratio, closer to a Gaussian than `pulls` for small counts; for
            other data the same as `pulls`.
    """

    expected: PyTree
    residuals: PyTree
    pulls: PyTree
    standardised: PyTree
    deviances: PyTree


def data_pulls(
    model: AbstractModel,
    result: FitResult,
    observation: Any = None,
    *,
    data_variance: Any = "model",
) -> DataPulls:
    r"""Return the pull of each datum after a fit.

    With the covariances V of the data and :math:`J C J^\mathsf T` of the fitted
    expectation, the variances of the residuals are the diagonal elements of
    :math:`V - J C J^\mathsf T` (as in `yield_chi2`).

    Args:
        model: The Model.
        result: Its best fit.
        observation: The fitted data; None for the data of the Model.
        data_variance: As in `yield_chi2`.

    Raises:
        ArgumentTypeError: If `model` is not a Model.

    Example:
        >>> import numpy as np
        >>> import everwillow as ew
        >>> expected = lambda p: p["rate"] * jnp.ones(2)
        >>> nll = lambda p, n: jnp.sum(expected(p) - n * jnp.log(expected(p)))
        >>> counts = np.array([12.0, 20.0])
        >>> model = ew.Model(nll, {"rate": 10.0}, counts, expected=expected)
        >>> out = data_pulls(model, ew.fit(model))
        >>> print(out.pulls.round(3), out.standardised.round(3))
        [-1.  1.] [-1.414  1.414]
    """
    check(model, result, data_variance)
    covariance = covariance_for(model, result, observation, fitted=True)
    _, observation, point = likelihood_at(model, result, observation, None)
    data_variance = variance_arrays(data_variance, observation)
    args = (model, point, observation, data_variance, covariance)
    return DataPulls(**evaluate_at(_pulls, *args)[0])


def _pulls(
    task: Task, numbers: Numbers, data_variance: Any, covariance: Array
) -> dict[str, Any]:
    x, main = task.start(numbers), numbers.observation["main"]
    params = task.params(numbers, x)
    data_variance = variance_of(task.objective, params, data_variance)
    both, jacobian = yields(task, numbers, x, data_variance)
    is_matrix = both.variance.ndim == 2
    variance = jnp.diagonal(both.variance) if is_matrix else both.variance
    # The diagonal alone, without the covariance of all residuals.
    of_fit = jnp.sum((jacobian @ covariance) * jacobian, axis=1)
    left = variance - of_fit
    free = left > SINGULAR * variance
    away = both.data - both.expected
    own = jnp.where(free, away / jnp.sqrt(jnp.where(free, left, 1)), jnp.nan)
    pulls = away / jnp.sqrt(variance)
    deviances = pulls
    if both.counts.any():
        # Of other data, which may be negative, the deviance is not computed.
        data = jnp.where(both.counts, both.data, 1)
        mean = jnp.where(both.counts, both.expected, 1)
        size = jnp.maximum(poisson_deviance(data, mean), 0)
        safe = jnp.where(size > 0, size, 1)
        signed = jnp.sign(away) * jnp.where(size > 0, jnp.sqrt(safe), 0)
        deviances = jnp.where(both.counts, signed, pulls)
    expected = expected_like(task.objective, params, main)
    leaves = compared(main, expected, data_variance)
    like = lambda flat: _in_structure(flat, leaves, expected)
    return {
        "expected": expected,
        "residuals": like(away),
        "pulls": like(pulls),
        "standardised": like(own),
        "deviances": like(deviances),
    }


def _in_structure(flat: Array, leaves: Any, tree: Any) -> Any:
    """Divide a vector into the leaves that fluctuate, with None for the others."""
    out, start = [], 0
    below, structure = jax.tree.flatten(tree)
    for leaf, like in zip(leaves, below, strict=True):
        if leaf is None:
            out.append(None)
            continue
        shape = jnp.shape(like)
        out.append(flat[start : start + leaf.data.size].reshape(shape))
        start += leaf.data.size
    return structure.unflatten(out)
