"""Small functions that hypothesis tests are made of."""

from typing import Any, Unpack

import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import ArrayLike

from everwillow._typing import Key
from everwillow.engine import programs
from everwillow.engine.layout import as_array, is_traced, namespace
from everwillow.fitting import FitResult
from everwillow.fitting.conditional import conditional_fit
from everwillow.fitting.options import FitOptions, takes_options
from everwillow.statelib import State


@takes_options(FitOptions)
def constrained_fit(
    nll_fn: Any,
    params: State | None = None,
    observation: Any = None,
    *,
    poi_key: Key,
    poi_value: Any,
    throw: bool = True,
    **options: Unpack[FitOptions],
) -> FitResult:
    """Fit with the POI held at a value, in the program of the free fit.

    Args:
        nll_fn: -ln L or a Model, as in `fit`.
        params: Start values; those of a Model if None.
        observation: The data; those of a Model if None.
        poi_key: The parameter of interest.
        poi_value: Where to hold it.
        throw: Whether to raise where there is no minimum.
        **options: `FitOptions`, as in `fit`: `fixed`, `bounds`, `solver`, `max_steps`.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.hypotest.utils import constrained_fit
        >>> def nll(params, data):
        ...     return 0.5 * ((data - params["a"] - params["b"]) ** 2 + params["b"]**2)
        >>> start = ew.State.from_pytree({"a": 0.0, "b": 0.0})
        >>> result = constrained_fit(nll, start, 3.0, poi_key="a", poi_value=1.0)
        >>> print(f"{result.params['b']:.3f}")
        1.000
    """
    return conditional_fit(
        nll_fn, params, observation, held={poi_key: poi_value}, throw=throw, **options
    )


def sigma_from_asimov(mu: ArrayLike, mu_asimov: ArrayLike, q_asimov: ArrayLike) -> Any:
    r"""Return the standard deviation of the best fit, from Asimov data.

    :math:`\sigma = |\mu - \mu'| / \sqrt{q_A}`, arXiv:1007.1727, eq. (30).

    Args:
        mu: The tested value.
        mu_asimov: The value in the Asimov data.
        q_asimov: Test statistic of the Asimov data.

    Example:
        >>> from everwillow.hypotest.utils import sigma_from_asimov
        >>> print(sigma_from_asimov(2.0, 0.0, 16.0))
        0.5
    """
    library = namespace(mu, mu_asimov, q_asimov)
    difference = library.asarray(mu) - library.asarray(mu_asimov)
    return library.abs(difference) / library.sqrt(q_asimov)


def significance(pvalue: ArrayLike) -> Any:
    r"""Return :math:`Z = \Phi^{-1}(1 - p)`, one-sided.

    Args:
        pvalue: A probability. For those that underflow use
            ``Distribution.null_significance``.

    Example:
        >>> from everwillow.hypotest.utils import significance
        >>> print(f"{significance(2.866515718791933e-07):.6f}")
        5.000000
    """
    out = programs.call(_significance, as_array(pvalue))
    return out if is_traced(out) else np.asarray(out)


def _significance(pvalue: Any) -> Any:
    return -ndtri(pvalue)


def cl_s(pnull: ArrayLike, palt: ArrayLike) -> Any:
    r"""Return :math:`\mathrm{CL_s} = p_\mathrm{null} / p_\mathrm{alt}`.

    Args:
        pnull: Probability of at least this test statistic under the tested value.
        palt: The same under the alternative hypothesis.

    Returns:
        The ratio, NaN where both are 0.

    Example:
        >>> from everwillow.hypotest.utils import cl_s
        >>> print(f"{cl_s(0.02, 0.4):.2f}")
        0.05
    """
    library = namespace(pnull, palt)
    null, alt = library.asarray(pnull), library.asarray(palt)
    return library.where(alt > 0, null, np.nan) / library.where(alt > 0, alt, 1)
