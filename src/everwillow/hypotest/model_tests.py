"""The CLs of a value and the significance of a signal of a Model in one call."""

from collections.abc import Callable
from typing import Any, Unpack

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from everwillow._html import Part, Table, html_of, text_of
from everwillow._numerics import is_traced, namespace
from everwillow._rounding import named_pvalue, plain, pvalue_text
from everwillow._typing import Key
from everwillow.fitting import FitResult
from everwillow.fitting.options import FitOptions, takes_options
from everwillow.hypotest._likelihood_ratio import own_poi
from everwillow.hypotest.calculators import AsymptoticCalculator
from everwillow.hypotest.formulas import safe_root
from everwillow.hypotest.model_limits import start_state
from everwillow.hypotest.results import (
    AbstractPvalues,
    BandValues,
    observed_and_expected,
)
from everwillow.hypotest.test_statistics import Q0, CowanTestStatistic, QTilde
from everwillow.statelib import State
from everwillow.statelib.state import Parameters


class ClsResult(AbstractPvalues):
    """The CLs of one value of a parameter of interest.

    Attributes:
        poi: Its name.
        value: The tested value.
        observed: CLs of the data.
        expected: CLs expected without signal.
        null_pvalue: Probability of data at least as extreme with the tested value
            (CLs+b).
        alt_pvalue: Probability of data at least as extreme without signal (CLb).
        mu_hat: The best fit.
        nuisances: The nuisance parameters of the Asimov data, as in `limits`.
    """

    poi: str = eqx.field(static=True)
    value: Any
    observed: Any
    expected: BandValues
    null_pvalue: Any
    alt_pvalue: Any
    mu_hat: Any
    nuisances: str = eqx.field(static=True)

    def __repr__(self) -> str:
        """Return a table of CLs."""
        return text_of(self._parts())

    def _repr_html_(self) -> str:
        """Return the same for notebooks."""
        return html_of(self._parts())

    def _parts(self) -> list[Part]:
        if is_traced(self):
            return [f"ClsResult({self.poi}; traced)"]
        head = f"CLs of {self.poi} = {float(self.value):g}"
        return [observed_and_expected(head, self.observed, self.expected, digits=4)]


@takes_options(FitOptions)
def cls(
    nll_fn: Any,
    poi: Key,
    value: Any,
    params: Parameters | FitResult | None = None,
    observation: Any = None,
    *,
    nuisances: str = "a posteriori",
    test_statistic: CowanTestStatistic | None = None,
    predict_fn: Callable[[State], Any] | None = None,
    **options: Unpack[FitOptions],
) -> ClsResult:
    r"""Return the CLs of one value of a POI, observed and expected.

    It comes from the asymptotic formulas of arXiv:1007.1727 for :math:`\tilde q_\mu`,
    with Asimov data at 0. For many values make an `AsymptoticCalculator`, which keeps
    the common fits; for a limit call `limits`.

    Args:
        nll_fn: A Model; or -ln L, with `params`, `observation` and `predict_fn`.
        poi: The parameter of interest.
        value: Its tested value.
        params: Start values, or a FitResult; those of a Model if None.
        observation: The data; those of a Model if None.
        nuisances: ``"a posteriori"`` or ``"a priori"``, as in `limits`.
        test_statistic: ``QTilde()`` by default.
        predict_fn: From a State to the expected observation, for a plain function.
        **options: `FitOptions`, as in `fit`: `fixed`, `bounds`, `solver`, `max_steps`.

    A result that needs a failed fit is NaN; the others are computed.

    Raises:
        FitError: If fits failed, so that there is no result.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.hypotest.model_tests import cls
        >>> def nll(params, n):
        ...     rate = 50.0 + params["mu"]
        ...     return rate - n * jnp.log(rate)
        >>> start = ew.State.from_pytree({"mu": 1.0})
        >>> predict = lambda state: 50.0 + state["mu"]
        >>> result = cls(nll, "mu", 16.732, start, 52.0, predict_fn=predict)
        >>> print(f"{result.observed:.4f}")
        0.0500
    """
    calculator = AsymptoticCalculator(
        nll_fn,
        start_state(nll_fn, params, nuisances),
        observation,
        poi,
        QTilde() if test_statistic is None else test_statistic,
        predict_fn=predict_fn,
        nuisances=nuisances,
        fit_kwargs={**options, "arguments": ("poi", "value")},
    )
    result = calculator.test(value)
    return ClsResult(
        poi=_text(poi),
        value=value,
        observed=calculator.cls(result),
        expected=calculator.expected(result).cl_s,
        null_pvalue=result.null_pvalue,
        alt_pvalue=result.alt_pvalue,
        mu_hat=result.test_stat_result.extras["mu_hat"],
        nuisances=nuisances,
    )


class DiscoveryResult(eqx.Module):
    """The significance of a signal.

    Attributes:
        poi: The parameter of the signal.
        significance: Z, one-sided; 0 where the best fit is negative.
        pvalue: Probability of data at least as extreme without signal.
        expected: The median significance for data with the signal at 1.
        mu_hat: The best fit.
        q0: The test statistic.
        nuisances: The nuisance parameters of the Asimov data, as in `limits`.
    """

    poi: str = eqx.field(static=True)
    significance: Any
    pvalue: Any
    expected: Any
    mu_hat: Any
    q0: Any
    nuisances: str = eqx.field(static=True)

    def __repr__(self) -> str:
        """Return a line with the significances."""
        if is_traced(self):
            return f"DiscoveryResult({self.poi}; traced)"
        return (
            f"DiscoveryResult({self.poi} = {float(self.mu_hat):.4g}: "
            f"{float(self.significance):.3g} standard deviations, "
            f"{named_pvalue(float(self.pvalue))}; expected {float(self.expected):.3g})"
        )

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        if is_traced(self):
            return html_of([repr(self)])
        rows = [
            (f"discovery of {self.poi}", ""),
            ("significance", plain(float(self.significance), 3)),
            ("p-value", pvalue_text(float(self.pvalue))),
            ("expected significance", plain(float(self.expected), 3)),
            (f"best fit of {self.poi}", plain(float(self.mu_hat), 4)),
        ]
        return html_of([Table(rows)])


@takes_options(FitOptions)
def discovery(
    nll_fn: Any,
    poi: Key | None = None,
    params: Parameters | FitResult | None = None,
    observation: Any = None,
    *,
    mu_asimov: Any = 1.0,
    nuisances: str = "a posteriori",
    predict_fn: Callable[[State], Any] | None = None,
    **options: Unpack[FitOptions],
) -> DiscoveryResult:
    r"""Return the significance of a signal, observed and expected.

    It comes from the asymptotic formulas of arXiv:1007.1727 for :math:`q_0`:
    :math:`Z = \sqrt{q_0}`, and the median expected significance is
    :math:`\sqrt{q_{0,A}}` of Asimov data with the signal at `mu_asimov`. Both are
    differentiable by `jax.grad`.

    A parameter such as the mass of a peak has no effect without the signal. Outside of
    JAX transformations fits start from several values of it. Inside, they start from
    `params` only: give a positive signal, and a value close to the best fit.

    Args:
        nll_fn: A Model; or -ln L, with `params`, `observation` and `predict_fn`.
        poi: The parameter of the signal; that of the model if None.
        params: Start values, or a FitResult; those of a Model if None.
        observation: The data; those of a Model if None.
        mu_asimov: The signal of the Asimov data.
        nuisances: ``"a posteriori"`` or ``"a priori"``, as in `limits`.
        predict_fn: From a State to the expected observation, for a plain function.
        **options: `FitOptions`, as in `fit`: `fixed`, `bounds`, `solver`, `max_steps`.

    A result that needs a failed fit is NaN; the others are computed.

    Raises:
        FitError: If fits failed, so that there is no result.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.hypotest.model_tests import discovery
        >>> def nll(params, n):
        ...     rate = 50.0 + 10.0 * params["mu"]
        ...     return rate - n * jnp.log(rate)
        >>> start = ew.State.from_pytree({"mu": 1.0})
        >>> predict = lambda state: 50.0 + 10.0 * state["mu"]
        >>> result = discovery(nll, "mu", start, 70.0, predict_fn=predict)
        >>> print(f"{result.significance:.3f} {result.expected:.3f}")
        2.666 1.371
    """
    poi = own_poi(nll_fn, poi, where="discovery")
    calculator = AsymptoticCalculator(
        nll_fn,
        start_state(nll_fn, params, nuisances),
        observation,
        poi,
        Q0(),
        predict_fn=predict_fn,
        mu_asimov=mu_asimov,
        nuisances=nuisances,
        fit_kwargs={**options, "arguments": ("poi", "poi", "mu_asimov")},
    )
    result = calculator.test(0.0)
    test = result.test_stat_result
    xp = namespace(test.value, test.q_asimov)
    return DiscoveryResult(
        poi=_text(poi),
        significance=_root(xp, test.value),
        pvalue=result.null_pvalue,
        expected=_root(xp, test.q_asimov),
        mu_hat=test.extras["mu_hat"],
        q0=test.value,
        nuisances=nuisances,
    )


def _root(xp: Any, q: Any) -> Any:
    return safe_root(q) if xp is jnp else np.sqrt(q)


def _text(key: Key) -> str:
    return key if isinstance(key, str) else ".".join(key)
