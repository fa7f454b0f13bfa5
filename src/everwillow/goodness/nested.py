"""The likelihood ratio of two fits, of which one is a special case of the other."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow.fitting import FitResult
from everwillow.fitting._layout import is_traced
from everwillow.goodness.pvalues import GoodnessResult, judged
from everwillow.uncertainty._point import refuse_batch


def nested_test(
    result: FitResult, wider: FitResult, *, ndof: float | None = None
) -> GoodnessResult:
    r"""Test a fit against one of the same data with more freedom.

    The statistic is :math:`2 (\mathrm{nll} - \mathrm{nll}_\text{wider})`. If the
    special case is true it follows a chi2 distribution with as many degrees of freedom
    as there are more parameters, for large samples and away from bounds (S. S. Wilks,
    Ann. Math. Statist. 9 (1938) 60).

    Both have to be fits of the same observation, with the same constraints: only what
    the parameters are may differ.

    Args:
        result: The fit.
        wider: The fit of which it is a special case.
        ndof: Degrees of freedom; by default the difference of the numbers of free
            parameters.

    Returns:
        `GoodnessResult`; NaN if one of the fits did not end at a minimum.

    Raises:
        ArgumentTypeError: If one of them is no FitResult.
        ArgumentValueError: If the wider one has no more free parameters, or if it is
            the worse fit of the two, which a wider one cannot be.

    Example:
        >>> import everwillow as ew
        >>> nll = lambda p, y: jnp.sum((y - p["a"] - p["b"] * jnp.arange(3.0)) ** 2)
        >>> state = ew.State.from_pytree({"a": 0.0, "b": 0.0})
        >>> y = np.array([1.0, 2.0, 3.0])
        >>> constant = ew.fit(nll, state, y, fixed={"b": 0.0})
        >>> nested_test(constant, ew.fit(nll, state, y))
        GoodnessResult(statistic=4, ndof=1, pvalue=0.0455)
    """
    for name, given in (("result", result), ("wider", wider)):
        if not isinstance(given, FitResult):
            msg = f"{name}: expected a FitResult, got {type(given).__name__}."
            raise ArgumentTypeError(msg)
        refuse_batch(given, "here")
    count = len(wider.free) - len(result.free) if ndof is None else ndof
    if count <= 0:
        msg = (
            f"wider: it has {len(wider.free)} free parameters, and the other fit "
            f"{len(result.free)}. Give the fit with more freedom second."
        )
        raise ArgumentValueError(msg)
    library: Any = jnp if is_traced(result, wider) else np
    good = library.asarray(result.success) & library.asarray(wider.success)
    statistic = 2 * (result.nll - wider.nll)
    # Minima are found up to the EDM.
    rounding = 1e-6 + 1e-12 * library.abs(result.nll)
    if library is np and good and statistic < -rounding:
        msg = (
            f"wider: its -ln L is {float(-statistic) / 2:.3g} above that of the other "
            "fit. Either they are not fits of the same data, or it found another "
            "minimum: start it from the end of the other, fit(..., params=...)."
        )
        raise ArgumentValueError(msg)
    statistic = library.maximum(statistic, 0)
    return judged(library.where(good, statistic, library.nan), float(count))


__all__ = ["nested_test"]
