r"""Test statistics for the incompatibility of data with a value of the POI.

Those of Cowan, Cranmer, Gross and Vitells, arXiv:1007.1727, are twice -ln of a profile
likelihood ratio, :math:`-2\ln\lambda(\mu) = 2\,(\mathrm{nll}(\mu,
\hat{\hat\theta}(\mu)) - \mathrm{nll}(\hat\mu, \hat\theta))`.
"""

import abc
import operator
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Unpack

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from everwillow._errors import ArgumentTypeError
from everwillow._keywords import also_called
from everwillow._numerics import is_traced, namespace
from everwillow._typing import Key
from everwillow.engine.problem import check_mapping
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

        The entry ``"q_asimov"`` of the dictionary becomes a field of the result;
        ``"test"`` replaces `poi_test` as the tested value.
        """

    @also_called(poi="poi_key")
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

        It works under `jax.jit`, `jax.vmap` and `jax.grad`, where failed fits raise no
        error.

        Args:
            nll_fn: -ln L or a Model, as in `fit`.
            params: Start values; those of a Model if None.
            observation: The data; those of a Model if None.
            poi_key: The parameter of interest.
            poi_test: Its tested value.
            **fit_kwargs: ``fixed``, ``bounds``, ``solver``, ``max_steps`` as in `fit`,
                and arguments of the test statistic.

        Returns:
            The value, NaN if a fit failed, with the fits.
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

    - ``asimov_observation``: Asimov data for ``q_asimov``; or ``predict_fn``, from a
      State to the expected observation, to make them.
    - ``mu_asimov``: the POI of the Asimov data, by default that of the test statistic.
    - ``nuisances``: ``"a posteriori"`` (default), the Asimov data are made with the
      nuisance parameters fitted to the data at `mu_asimov`; or ``"a priori"``, with
      the start values.
    - ``throw``: whether to raise when a fit fails, by default False.

    If a conditional fit is lower than the free fit beyond rounding, the free fit is
    repeated from there. If a parameter has no effect at the end of one of them, it is
    repeated from other values of that parameter.
    If negative values of the POI are unphysical, a failed free fit is repeated with a
    lower bound of 0. Ranges of fits, such as those of a workspace, do not bound the
    POI.

    Args:
        mu_asimov: The POI of the Asimov data.
    """

    mu_asimov: Any = 0.0

    # How to treat a negative best fit of the POI: like any other (None); the likelihood
    # ratio is to the POI at 0 ("zero"), eq. (10); the same, where the tested value is 0
    # ("held").
    floor: ClassVar[str | None] = None

    # Comparison of the best fit with the tested value that is true on the side where
    # the test statistic is 0; None for two-sided test statistics.
    beyond: ClassVar[Callable[[Any, Any], Any] | None] = None

    def _of_ratio(self, twice_ratio: Any, mu_hat: Any, poi_test: Any) -> Any:
        """Return the test statistic of -2 ln(lambda) and the best fit."""
        if self.beyond is None:
            return twice_ratio
        beyond = self.beyond(mu_hat, poi_test)
        # NaN, for a failed fit, on both sides.
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
        mu_asimov: Any = None,
        nuisances: str = "a posteriori",
        throw: bool = False,
        shared: dict[str, Any] | None = None,
        arguments: tuple[str, ...] = ("poi_key", "poi_test"),
        **fit_kwargs: Any,
    ) -> tuple[Any, dict[str, Any]]:
        shared = {} if shared is None else shared
        mu_asimov = self.mu_asimov if mu_asimov is None else mu_asimov
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
            # Keep results that do not depend on the tested value and are not traced.
            common = {"free": fits.free, "asimov": known, "asimov_free": asimov.free}
            if not is_traced(fits, asimov, known.task, known.numbers):
                shared |= common
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
    """Raise `FitError` for the first fit that is known to have failed."""
    for fit in fits_of(extras).values():
        if not is_traced(fit.success):
            fit.check()


class TMu(CowanTestStatistic):
    r""":math:`t_\mu = -2\ln\lambda(\mu)`, two-sided; eq. (8)."""


class TMuTilde(CowanTestStatistic):
    r""":math:`\tilde t_\mu = -2\ln\tilde\lambda(\mu)`, for a POI >= 0; eq. (11).

    If the best fit is negative, the ratio is to the fit with the POI at 0.
    """

    floor: ClassVar[str | None] = "zero"


class QMu(CowanTestStatistic):
    r""":math:`q_\mu`, for upper limits; 0 where the best fit is above; eq. (14)."""

    beyond: ClassVar[Callable[[Any, Any], Any] | None] = operator.gt


class QTilde(CowanTestStatistic):
    r""":math:`\tilde q_\mu`, for upper limits on a POI that is not negative; eq. (16).

    If the best fit is negative, the ratio is to the fit with the POI at 0; if it is
    above the tested value, the test statistic is 0.
    """

    floor: ClassVar[str | None] = "zero"
    beyond: ClassVar[Callable[[Any, Any], Any] | None] = operator.gt


class Q0(CowanTestStatistic):
    r""":math:`q_0`, for discoveries; 0 where the best fit is negative; eq. (12).

    It always tests 0 and ignores the given value. Its Asimov data have the POI at
    ``mu_asimov``, or at 1 if that is 0.
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
    """Check that an object is a test statistic and return it."""
    if isinstance(test_statistic, TestStatistic):
        return test_statistic
    raise ArgumentTypeError(
        "test_statistic: expected an instance of a TestStatistic such as QTilde() of "
        f"everwillow.hypotest, got {test_statistic!r}."
    )


@also_called(poi="poi_key")
@takes_options(FitOptions)
def constrained_fit(
    nll_fn: Any,
    params: State | None = None,
    observation: Any = None,
    poi_fixed: Mapping[Key, Any] | None = None,
    *,
    poi_key: Key | None = None,
    poi_value: Any = None,
    throw: bool = True,
    **options: Unpack[FitOptions],
) -> FitResult:
    """Fit with the POI held at a value, in the program of the free fit.

    The POI and its value are either `poi_fixed` or `poi_key` and `poi_value`.

    Args:
        nll_fn: -ln L or a Model, as in `fit`.
        params: Start values; those of a Model if None.
        observation: The data; those of a Model if None.
        poi_fixed: Key to value of one or several parameters to hold, a State or a dict;
            they need not be free in `fixed`.
        poi_key: The parameter of interest.
        poi_value: The value at which to hold it.
        throw: Whether to raise an error if there is no minimum.
        **options: `FitOptions`, as in `fit`: `fixed`, `bounds`, `solver`, `max_steps`.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.hypotest.test_statistics import constrained_fit
        >>> def nll(params, data):
        ...     return 0.5 * ((data - params["a"] - params["b"]) ** 2 + params["b"]**2)
        >>> start = ew.State.from_pytree({"a": 0.0, "b": 0.0})
        >>> result = constrained_fit(nll, start, 3.0, {"a": 1.0})
        >>> print(f"{result.params['b']:.3f}")
        1.000
    """
    held = _held(poi_fixed, poi_key, poi_value)
    fixed = check_mapping(options.get("fixed"), "fixed")
    options["fixed"] = {k: v for k, v in fixed.items() if k not in held}
    return conditional_fit(
        nll_fn, params, observation, held=held, throw=throw, **options
    )


def _held(poi_fixed: Any, poi_key: Key | None, poi_value: Any) -> dict[Key, Any]:
    """Return the parameters to hold, from the one or the other form of arguments."""
    pair = poi_key is not None, poi_value is not None
    if any(pair) != all(pair) or (poi_fixed is None) != all(pair):
        raise ArgumentTypeError(
            "constrained_fit: expected poi_fixed={'mu': 1.0}, or both poi_key and "
            "poi_value."
        )
    if poi_key is not None:
        return {poi_key: poi_value}
    held = check_mapping(poi_fixed, "poi_fixed")
    return {key: value for key, value in held.items() if value is not None}
