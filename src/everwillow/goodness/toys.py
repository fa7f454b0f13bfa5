"""The p-value of the saturated test from pseudo-experiments."""

from typing import Any, Unpack

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

from everwillow.engine import programs
from everwillow.fitting import FitResult
from everwillow.fitting.options import FitOptions, takes_options
from everwillow.goodness.pvalues import GoodnessResult, ToyPValue, toy_pvalue
from everwillow.goodness.saturated import saturated_test
from everwillow.model import AbstractModel
from everwillow.toys import ToyFits, fit_toys, sample_toys


# The largest size of the toys that are in memory at once, in bytes.
MOST_BYTES = 64_000_000


class SaturatedToys(eqx.Module):
    """The saturated test of a fit, with the chi2 distribution and with toys.

    Attributes:
        asymptotic: Statistic, degrees of freedom and the p-value of a chi2.
        toys: The p-value from the toys.
        statistics: The statistic of each toy, NaN where its fit failed, shape
            ``(toys,)``.
        fits: The fits of the toys.
    """

    asymptotic: GoodnessResult
    toys: ToyPValue
    statistics: Float[np.ndarray, " toys"]
    fits: ToyFits

    def __repr__(self) -> str:
        """Return both p-values."""
        return (
            f"SaturatedToys({self.asymptotic!r}; from {int(self.toys.valid)} toys "
            f"pvalue={float(self.toys.pvalue):.4g}, 68 % interval "
            f"{float(self.toys.lower):.4g} to {float(self.toys.upper):.4g})"
        )

    def _repr_html_(self) -> str:
        """Return both tables for notebooks."""
        return f"<div>{self.asymptotic._repr_html_()}{self.toys._repr_html_()}</div>"


@takes_options(FitOptions)
def saturated_toys(
    model: AbstractModel,
    result: FitResult,
    *,
    ntoys: int,
    key: Any,
    data_variance: Any = "model",
    **options: Unpack[FitOptions],
) -> SaturatedToys:
    """Test a fit against the saturated model, with toys drawn at its minimum.

    For small counts the statistic of `saturated_test` does not follow a chi2
    distribution. Here main and auxiliary data are drawn at the best fit, each toy is
    fitted, and the p-value is the fraction of toys with a statistic at least as large.

    Args:
        model: The Model that was fitted.
        result: Its best fit.
        ntoys: The number of toys.
        key: PRNG key or integer seed; toy i has the key ``fold_in(key, i)``.
        data_variance: As in `saturated_test`.
        **options: `FitOptions` of the fit: `fixed`, `bounds`, `solver`, `max_steps`.

    Returns:
        `SaturatedToys`. Failed fits are NaN in it, are counted, and do not enter the
        p-value.

    Raises:
        ArgumentValueError: If `ntoys` is not positive, or as for `saturated_test`.

    Example:
        >>> import everwillow as ew
        >>> import jax.numpy as jnp
        >>> expected = lambda p: p["rate"] * jnp.ones(3)
        >>> nll = lambda p, n: jnp.sum(expected(p) - n * jnp.log(expected(p)))
        >>> counts = np.array([9.0, 12.0, 15.0])
        >>> draw = lambda p, key: jax.random.poisson(key, expected(p)).astype(float)
        >>> model = ew.Model(
        ...     nll, {"rate": 10.0}, counts, expected=expected, sample=draw
        ... )
        >>> out = saturated_toys(model, ew.fit(model), ntoys=1000, key=1)
        >>> print(f"{out.asymptotic.pvalue:.3f}", abs(out.toys.pvalue - 0.47) < 0.05)
        0.469 True
    """
    asymptotic = saturated_test(model, result, data_variance=data_variance)
    fits = fit_toys(model, result, ntoys=ntoys, key=key, **options)
    one_toy = sum(np.size(leaf) for leaf in jax.tree.leaves(model.observation)) * 8
    size = max(min(ntoys, MOST_BYTES // max(one_toy, 1)), 1)
    parts = []
    for first in range(0, ntoys, size):
        count = min(size, ntoys - first)
        toys = sample_toys(model, result, ntoys=count, key=key, first=first)
        params = jax.tree.map(lambda a, i=first: a[i : i + size], fits.params)
        parts.append(
            programs.call(_statistics, model, result, params, toys, data_variance)
        )
    statistics = np.concatenate([np.asarray(part) for part in parts])
    statistics = np.where(fits.success, statistics, np.nan)
    pvalue = toy_pvalue(np.asarray(asymptotic.statistic), statistics)
    return SaturatedToys(asymptotic, pvalue, statistics, fits)


def _statistics(
    model: AbstractModel, result: FitResult, params: Any, toys: Any, data_variance: Any
) -> Any:
    """Return the statistic of each toy; for `programs.call`."""

    def one(state: Any, toy: Any) -> Any:
        fitted = eqx.tree_at(lambda r: r.params, result, state)
        test = saturated_test(model, fitted, toy, data_variance=data_variance)
        return test.statistic

    return jax.vmap(one)(params, toys)


__all__ = ["SaturatedToys", "saturated_toys"]
