"""p-values of test statistics: from the chi2 distribution, and from toys."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from everwillow._errors import ArgumentValueError
from everwillow._html import Table, html_of
from everwillow._numerics import is_traced, namespace
from everwillow._rounding import alike, plain
from everwillow.engine import programs
from everwillow.engine.layout import as_array, on_host


class GoodnessResult(eqx.Module):
    """A test statistic that follows a chi2 distribution if the model is correct.

    Attributes:
        statistic: The value, large if the model does not describe the data.
        ndof: The number of degrees of freedom.
        pvalue: The probability of a value at least as large; NaN if `ndof` is not
            positive or the statistic is NaN.
    """

    statistic: Float[Array, ""]
    ndof: Float[Array, ""]
    pvalue: Float[Array, ""]

    def __repr__(self) -> str:
        """Return statistic, degrees of freedom and p-value."""
        if is_traced(self) or np.ndim(self.statistic):
            return "GoodnessResult(...)"
        return (
            f"GoodnessResult(statistic={float(self.statistic):.6g}, "
            f"ndof={float(self.ndof):g}, pvalue={float(self.pvalue):.4g})"
        )

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        if is_traced(self) or np.ndim(self.statistic):
            return html_of([repr(self)])
        numbers = (self.statistic, self.ndof, self.pvalue)
        row = tuple(plain(float(number)) for number in numbers)
        heads = ("statistic", "degrees of freedom", "p-value")
        return html_of([Table([heads, row])])


def chi2_survival(statistic: ArrayLike, ndof: ArrayLike) -> Array:
    """Return the probability that a chi2 variable exceeds a value."""
    statistic, ndof = jnp.asarray(statistic, float), jnp.asarray(ndof, float)
    good = (ndof > 0) & (statistic >= 0)
    half = jnp.where(good, ndof, 1) / 2
    tail = jsp.special.gammaincc(half, jnp.where(good, statistic, 0) / 2)
    return jnp.where(good, tail, jnp.nan)


def with_pvalue(statistic: Any, ndof: Any) -> GoodnessResult:
    """Return a statistic that follows a chi2 distribution with its p-value."""
    args = jax.tree.map(as_array, (statistic, ndof))
    return on_host(programs.call(chi2_result, *args))


def chi2_result(statistic: Any, ndof: Any) -> GoodnessResult:
    """Return the same as `with_pvalue`, inside of a compiled program."""
    statistic, ndof = jnp.asarray(statistic, float), jnp.asarray(ndof, float)
    return GoodnessResult(statistic, ndof, chi2_survival(statistic, ndof))


class ToyPValue(eqx.Module):
    """The fraction of toys that are at least as extreme as the data.

    Attributes:
        observed: The statistic of the data.
        pvalue: ``at_least / valid``; NaN if `valid` is zero.
        lower: Lower end of the 68.27 % interval for the p-value, from the finite number
            of toys (Wilson).
        upper: Upper end of that interval.
        at_least: Number of toys with a statistic at least as large as that of the data.
        valid: Number of toys whose statistic is not NaN.
        failed: Number of toys whose statistic is NaN. They do not enter `pvalue`; if
            all of them were extreme it would be ``(at_least + failed) / (valid +
            failed)``.
    """

    observed: Float[Array, ""]
    pvalue: Float[Array, ""]
    lower: Float[Array, ""]
    upper: Float[Array, ""]
    at_least: Int[Array, ""]
    valid: Int[Array, ""]
    failed: Int[Array, ""]

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        if is_traced(self) or np.ndim(self.pvalue):
            return html_of([repr(self)])
        error = float(self.upper - self.lower) / 2
        numbers = alike([self.pvalue, self.lower, self.upper], error)
        row = plain(round(float(self.observed), 9)), *numbers, str(int(self.valid))
        heads = ("statistic", "p-value", "from", "to", "toys")
        return html_of([Table([heads, row])])


def toy_pvalue(
    observed: ArrayLike,
    toys: Float[ArrayLike, " toys"] | Callable[[], Float[ArrayLike, " toys"]],
) -> ToyPValue:
    r"""Return the p-value of a statistic from pseudo-experiments.

    With k of n toys at least as extreme the p-value is k/n, and its interval is that of
    Wilson at one standard deviation, :math:`z = 1`:

    .. math:: \frac{k + z^2/2}{n + z^2}
              \pm \frac{z}{n + z^2} \sqrt{\frac{k (n - k)}{n} + \frac{z^2}{4}} .

    Its width is not zero if no toy is as extreme as the data.

    Args:
        observed: The statistic of the data, large if the model is wrong.
        toys: The statistics of the toys, of any shape, NaN for failed fits; or a
            function without arguments that returns them.

    Raises:
        ArgumentValueError: If there are no toys.

    Example:
        >>> print(toy_pvalue(2.0, [0.5, 1.5, 2.5, 3.5]).pvalue)
        0.5
    """
    values = toys() if callable(toys) else toys
    if np.size(values) == 0:
        raise ArgumentValueError(
            "toys: there is none, so there is no p-value. Generate at least one."
        )
    xp = namespace(observed, values)
    values = xp.ravel(xp.asarray(values))
    known = ~xp.isnan(values)
    extreme = xp.sum(known & (values >= observed))
    count = xp.sum(known)
    # If the observed statistic is NaN, no toy is as large: the p-value would be 0.
    good = (count > 0) & ~xp.isnan(xp.asarray(observed))
    hits = extreme.astype(float)
    safe = xp.where(count > 0, count, 1).astype(float)
    middle = (hits + 0.5) / (safe + 1.0)
    spread = xp.sqrt(hits * (safe - hits) / safe + 0.25) / (safe + 1.0)
    nan = xp.nan
    return ToyPValue(
        observed=xp.asarray(observed),
        pvalue=xp.where(good, hits / safe, nan),
        lower=xp.where(good, middle - spread, nan),
        upper=xp.where(good, middle + spread, nan),
        at_least=extreme,
        valid=count,
        failed=values.shape[0] - count,
    )


__all__ = ["GoodnessResult", "ToyPValue", "toy_pvalue"]
