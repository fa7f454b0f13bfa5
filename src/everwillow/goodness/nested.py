"""Likelihood-ratio test of two nested fits: one is a special case of the other."""

import jax.numpy as jnp
import numpy as np

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow._numerics import namespace
from everwillow._results import RESULTS
from everwillow.engine.covariance import flat_level, scaled_eigenvectors
from everwillow.fitting import FitResult
from everwillow.goodness.pvalues import GoodnessResult, with_pvalue
from everwillow.uncertainty.evaluation_point import refuse_batch


# A difference of -ln L below this comes from rounding or from the EDM.
NEAR = 1e-4


def nested_test(
    result: FitResult, wider: FitResult, *, ndof: float | None = None
) -> GoodnessResult:
    r"""Test a fit against a fit of the same data with more free parameters.

    The statistic is :math:`2 (\mathrm{nll} - \mathrm{nll}_\text{wider})`. If the
    special case is true it follows a chi2 distribution, for large samples and away from
    bounds; the degrees of freedom are the number of additional parameters (S. S. Wilks,
    Ann. Math. Statist. 9 (1938) 60).

    Both have to be fits of the same observation with the same constraints; only their
    parameters may differ. Outside of JAX transformations the wider fit may end with
    ``flat_direction``, if the additional parameters have no effect: its -ln L is known,
    and flat directions are not counted as degrees of freedom.

    Args:
        result: The fit with fewer free parameters.
        wider: The fit of which `result` is a special case.
        ndof: Degrees of freedom; by default the difference of the numbers of free
            parameters, without flat directions.

    Returns:
        `GoodnessResult`; NaN if one of the fits did not end at a minimum.

    Raises:
        ArgumentTypeError: If one of them is not a FitResult.
        ArgumentValueError: If `wider` has no additional free parameters, or a larger
            -ln L than `result`, which shows that it is not at its minimum.

    Example:
        >>> import everwillow as ew
        >>> nll = lambda p, y: jnp.sum((y - p["a"] - p["b"] * jnp.arange(3.0)) ** 2)
        >>> state = ew.State.from_pytree({"a": 0.0, "b": 0.0})
        >>> y = np.array([1.0, 2.0, 3.0])
        >>> constant = ew.fit(nll, state, y, fixed={"b": 0.0})
        >>> nested_test(constant, ew.fit(nll, state, y))
        GoodnessResult(statistic=4, ndof=1, pvalue=0.0455)
    """
    for name, fit in (("result", result), ("wider", wider)):
        if not isinstance(fit, FitResult):
            raise ArgumentTypeError(
                f"{name}: expected a FitResult, got {type(fit).__name__}."
            )
        refuse_batch(fit, "here")
    xp = namespace(result, wider)
    flat = 0 if xp is jnp else _flat_directions(wider)
    count = len(wider.free) - len(result.free) if ndof is None else ndof
    if count <= 0:
        raise ArgumentValueError(
            f"wider: it has {len(wider.free)} free parameters, and the other fit "
            f"{len(result.free)}. Give the fit with more freedom second."
        )
    if ndof is None:
        count = max(count - flat, 0)
    ended = xp.asarray(wider.success) | (flat > 0)
    good = xp.asarray(result.success) & ended
    statistic = 2 * (result.nll - wider.nll)
    # Minima are known up to the EDM.
    rounding = 1e-6 + 1e-12 * xp.abs(result.nll)
    if xp is np and good and statistic < -rounding:
        raise ArgumentValueError(
            f"wider: its -ln L is {float(-statistic) / 2:.3g} above that of the other "
            "fit. Either they are not fits of the same data, or it found another "
            "minimum: start it from the end of the other, fit(..., params=...)."
        )
    statistic = xp.maximum(statistic, 0)
    return with_pvalue(xp.where(good, statistic, xp.nan), float(count))


def _flat_directions(result: FitResult) -> int:
    """Return the number of flat directions at the end of a fit.

    It is 0 unless the fit is at a minimum in all other directions.
    """
    if not bool(result.status == RESULTS.flat_direction) or result.hessian is None:
        return 0
    hessian, gradient = np.asarray(result.hessian), np.asarray(result.gradient)
    inner = ~np.asarray(result.at_bound)
    hessian, gradient = hessian[np.ix_(inner, inner)], gradient[inner]
    if not (np.isfinite(hessian).all() and np.isfinite(gradient).all()):
        return 0
    values, vectors, scale = scaled_eigenvectors(hessian, np.zeros(len(gradient), bool))
    along = vectors.T @ (gradient * scale)
    level = flat_level(len(scale), hessian.dtype)
    flat = np.abs(values) < level
    left = np.sum(along[~flat] ** 2 / values[~flat]) / 2
    at_end = np.all(values > -level) and left < NEAR
    return int(flat.sum()) if at_end and np.all(np.abs(along[flat]) < NEAR) else 0
