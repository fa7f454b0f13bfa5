r"""Test statistics: how incompatible data are with a value of the POI.

Those of Cowan, Cranmer, Gross and Vitells, arXiv:1007.1727, are twice -ln of a profile
likelihood ratio, :math:`-2\ln\lambda(\mu) = 2\,(\mathrm{nll}(\mu,
\hat{\hat\theta}(\mu)) - \mathrm{nll}(\hat\mu, \hat\theta))`.
"""

import abc
import operator
from collections.abc import Callable
from typing import Any, ClassVar, Unpack

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from everwillow._errors import ArgumentTypeError
from everwillow._typing import Key
from everwillow.engine.layout import is_traced, namespace
from everwillow.fitting import FitResult
from everwillow.fitting.conditional import conditional_fit, pose
from everwillow.fitting.options import FitOptions, takes_options
from everwillow.hypotest._likelihood_ratio import likelihood_ratio
from everwillow.hypotest.asimov import AsimovRecipe, check_nuisances
from everwillow.hypotest.results import TestStatResult
from everwillow.statelib import State


class TestStatistic(eqx.Module):
    """A number that grows with the incompatibility of data and a tested value.

    Subclasses implement `_compute`.
    """

    __test__ = False

    @abc.abstractmethod
    def _compute(
        self,
        nll_fn: Any,
        params: State | None,
        observation: Any,
        poi_key: Key,
        poi_test: Any,
        **fit_kwargs: Any,
    ) -> tuple[Any, dict[str, Any]]:
        """Return the value and a dictionary of further results.

        An entry ``"q_asimov"`` of the dictionary becomes that field of the result,
        ``"test"`` the value that was tested if it is not `poi_test`.
        """

    def compute(
        self,
        nll_fn: Any,
        params: State | None,
        observation: Any,
        poi_key: Key,
        poi_test: Any,
        **fit_kwargs: Any,
    ) -> TestStatResult:
        """Compute the test statistic of data.

        Works under `jax.jit`, `jax.vmap` and `jax.grad`, where fits never raise.

        Args:
            nll_fn: -ln L or a Model, as in `fit`.
            params: Start values; those of a Model if None.
            observation: The data; those of a Model if None.
            poi_key: The parameter of interest.
            poi_test: Its tested value.
            **fit_kwargs: ``fixed``, ``bounds``, ``solver``, ``max_steps`` as in `fit`,
                and what the test statistic itself takes.

        Returns:
            The value with what it was made of; NaN where a fit failed.
        """
        value, extras = self._compute(
            nll_fn, params, observation, poi_key, poi_test, **fit_kwargs
        )
        extras = dict(extras)
        test, q_asimov = extras.pop("test", poi_test), extras.pop("q_asimov", None)
        return TestStatResult(value, test, q_asimov, extras)


class CowanTestStatistic(TestStatistic):
    """A test statistic of arXiv:1007.1727, from a free and a conditional fit.

    `compute` takes more arguments than the base class, all by name:

    - ``asimov_observation``: Asimov data, for which ``q_asimov`` is filled; or
      ``predict_fn``, from a State to the expected observation, to make them with.
    - ``mu_asimov``: the POI of the Asimov data, by default 0.
    - ``nuisances``: ``"a posteriori"`` (default), the Asimov data are made with the
      nuisance parameters fitted to the data at `mu_asimov`; or ``"a priori"``, with
      the start values.
    - ``throw``: whether to raise when a fit fails, by default False.

    Where a conditional fit is lower than the free fit beyond rounding, the free fit is
    made again from there; and where a parameter has no effect in one of them, from
    other values of that parameter.
    Where negative values of the POI count for nothing, a free fit that fails below 0
    gives way to that over values from 0 on. Ranges of fits, as a workspace has them,
    are no bounds for the POI.
    """

    # What negative values of the POI count: as any others (None); nothing, as the
    # likelihood ratio is to the POI at 0 when the best one is negative ("zero"), eq.
    # (10); nothing, as it is 0 then ("held").
    floor: ClassVar[str | None] = None

    # Compares the best fit with the tested value: where the result is true, data are
    # not less compatible with the tested value, and the test statistic is 0. None
    # where deviations count either way.
    beyond: ClassVar[Callable[[Any, Any], Any] | None] = None

    def _of_ratio(self, twice_ratio: Any, mu_hat: Any, poi_test: Any) -> Any:
        """Return the test statistic of -2 ln(lambda) and the best fit."""
        if self.beyond is None:
            return twice_ratio
        beyond = self.beyond(mu_hat, poi_test)
        # A failed fit stays NaN on both sides.
        nothing = 0 * twice_ratio
        return namespace(beyond, twice_ratio).where(beyond, nothing, twice_ratio)

    def _tested(self, poi_test: Any) -> Any:
        """Return the value that is tested."""
        return poi_test

    def _asimov_poi(self, mu_asimov: Any) -> Any:
        """Return the POI of the Asimov data."""
        return mu_asimov

    def _compute(
        self,
        nll_fn: Any,
        params: State | None,
        observation: Any,
        poi_key: Key,
        poi_test: Any,
        *,
        asimov_observation: Any = None,
        predict_fn: Callable[[State], Any] | None = None,
        mu_asimov: Any = 0.0,
        nuisances: str = "a posteriori",
        throw: bool = False,
        shared: dict[str, Any] | None = None,
        arguments: tuple[str, str] = ("poi_key", "poi_test"),
        **fit_kwargs: Any,
    ) -> tuple[Any, dict[str, Any]]:
        shared = {} if shared is None else shared
        test, mu_asimov = self._tested(poi_test), self._asimov_poi(mu_asimov)
        problem = pose(nll_fn, params, observation, **fit_kwargs)
        posteriori = check_nuisances(nuisances)
        recipe = AsimovRecipe(asimov_observation, predict_fn, mu_asimov, posteriori)
        known = shared.get("asimov")
        values = (test, mu_asimov) if recipe.profiles and known is None else (test,)
        fits = likelihood_ratio(
            problem,
            poi_key,
            values,
            floor=self.floor,
            free=shared.get("free"),
            arguments=arguments,
        )
        extras: dict[str, Any] = {
            "test": test,
            "mu_hat": fits.mu_hat,
            "fit_free": fits.free,
            "fit_constrained": fits.held[0],
            "fit_zero": fits.zero,
        }
        if recipe.wanted:
            if known is None:
                known = recipe.apply(nll_fn, problem, poi_key, fits.held[1:])
            free = shared.get("asimov_free")
            asimov = likelihood_ratio(
                known, poi_key, (test,), floor=self.floor, free=free
            )
            extras |= {
                "mu_asimov": mu_asimov,
                "q_asimov": self._of_ratio(asimov.twice_ratio, asimov.mu_hat, test),
                "asimov_fit_free": asimov.free,
                "asimov_fit_constrained": asimov.held[0],
            }
            # What does not depend on the tested value; never anything traced.
            found = {"free": fits.free, "asimov": known, "asimov_free": asimov.free}
            if not is_traced(fits, asimov, known.task, known.numbers):
                shared |= found
        value = self._of_ratio(fits.twice_ratio, fits.mu_hat, test)
        if throw and not _are_known(value, extras.get("q_asimov", value)):
            check_fits(extras)
        return value, extras


def fits_of(extras: dict[str, Any]) -> dict[str, FitResult]:
    """Return the fits among the extras of a test statistic, by name."""
    return {k: v for k, v in extras.items() if isinstance(v, FitResult)}


def _are_known(*values: Any) -> bool:
    return is_traced(values) or all(np.all(np.isfinite(value)) for value in values)


def check_fits(extras: dict[str, Any]) -> None:
    """Raise `FitError` for the first fit that is no minimum, where that is known."""
    for fit in fits_of(extras).values():
        if not is_traced(fit.success):
            fit.check()


class TMu(CowanTestStatistic):
    r""":math:`t_\mu = -2\ln\lambda(\mu)`, two-sided; eq. (8)."""


class TMuTilde(CowanTestStatistic):
    r""":math:`\tilde t_\mu = -2\ln\tilde\lambda(\mu)`, for a POI >= 0; eq. (11).

    Where the best fit is negative, the ratio is to the fit with the POI at 0.
    """

    floor: ClassVar[str | None] = "zero"


class QMu(CowanTestStatistic):
    r""":math:`q_\mu`, for upper limits; 0 where the best fit is above; eq. (14)."""

    beyond: ClassVar[Callable[[Any, Any], Any] | None] = operator.gt


class QTilde(CowanTestStatistic):
    r""":math:`\tilde q_\mu`, for upper limits on a POI that is not negative; eq. (16).

    Where the best fit is negative, the ratio is to the fit with the POI at 0; where it
    is above the tested value, the test statistic is 0.
    """

    floor: ClassVar[str | None] = "zero"
    beyond: ClassVar[Callable[[Any, Any], Any] | None] = operator.gt


class Q0(CowanTestStatistic):
    r""":math:`q_0`, for discoveries; 0 where the best fit is negative; eq. (12).

    It always tests 0, whatever value it is given, and its Asimov data have the POI at
    1 unless ``mu_asimov`` is something else than 0.
    """

    floor: ClassVar[str | None] = "held"
    beyond: ClassVar[Callable[[Any, Any], Any] | None] = operator.le

    def _tested(self, poi_test: Any) -> Any:
        del poi_test
        return 0.0

    def _asimov_poi(self, mu_asimov: Any) -> Any:
        if is_traced(mu_asimov):
            return jnp.where(mu_asimov == 0, 1.0, mu_asimov)
        return mu_asimov if mu_asimov != 0 else 1.0


def check_test_statistic(test_statistic: Any) -> TestStatistic:
    """Return the test statistic, or raise if it is none."""
    if isinstance(test_statistic, TestStatistic):
        return test_statistic
    raise ArgumentTypeError(
        "test_statistic: expected an instance of a TestStatistic such as QTilde() of "
        f"everwillow.hypotest, got {test_statistic!r}."
    )


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
        >>> from everwillow.hypotest.test_statistics import constrained_fit
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
