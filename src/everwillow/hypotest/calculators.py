"""Calculators: a test statistic and its distribution, applied to one data set."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from everwillow._errors import ArgumentTypeError, FitError
from everwillow._keywords import also_called, renamed_keywords
from everwillow._numerics import is_traced, namespace
from everwillow._typing import Key
from everwillow.hypotest.distributions import (
    Distribution,
    Q0Asymptotic,
    QMuAsymptotic,
    QTildeAsymptotic,
    TMuAsymptotic,
    TMuTildeAsymptotic,
)
from everwillow.hypotest.results import ExpectedBands, HypoTestResult, TestStatResult
from everwillow.hypotest.test_statistics import (
    Q0,
    CowanTestStatistic,
    QMu,
    QTilde,
    TestStatistic,
    TMu,
    TMuTilde,
    check_test_statistic,
    fits_of,
)
from everwillow.model import AbstractModel
from everwillow.statelib import State


C = TypeVar("C")

_ASYMPTOTIC: dict[type[TestStatistic], type[Distribution]] = {
    TMu: TMuAsymptotic,
    TMuTilde: TMuTildeAsymptotic,
    QMu: QMuAsymptotic,
    QTilde: QTildeAsymptotic,
    Q0: Q0Asymptotic,
}


def _named_poi(cls: type[C]) -> type[C]:
    """Make a calculator take its parameter of interest as ``poi``, too."""
    cls.__init__ = also_called(poi="poi_key")(cls.__init__)
    return cls


@dataclasses.dataclass(frozen=True, eq=False)
class _AbstractCalculator:
    """The fields and methods of all calculators.

    Attributes:
        nll_fn: -ln L or a Model, as in `fit`.
        params: Start values; those of a Model if None.
        observation: The data; those of a Model if None.
        poi_key: The parameter of interest.
        test_statistic: The test statistic, `QTilde` by default.
        distribution: The distribution of that test statistic; the asymptotic one if
            None.
        fit_kwargs: ``fixed``, ``bounds``, ``solver``, ``max_steps`` as in `fit`.
    """

    nll_fn: Any
    params: State | None
    observation: Any
    poi_key: Key
    test_statistic: TestStatistic = dataclasses.field(default_factory=QTilde)
    distribution: Any = None
    fit_kwargs: dict[str, Any] = dataclasses.field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        check_test_statistic(self.test_statistic)
        if self.distribution is None:
            matching = _ASYMPTOTIC.get(type(self.test_statistic))
            chosen = None if matching is None else matching()
            object.__setattr__(self, "distribution", chosen)
        if not isinstance(self.distribution, Distribution):
            raise ArgumentTypeError(
                "distribution: expected an instance of a Distribution such as "
                f"QTildeAsymptotic(), got {self.distribution!r}."
            )

    def _options(self) -> dict[str, Any]:
        """Return the keyword arguments of the test statistic."""
        return self.fit_kwargs

    @renamed_keywords(poi="poi_test")
    def test(self, poi_test: Any) -> HypoTestResult:
        """Test a value of the POI.

        Args:
            poi_test: The tested value.

        Raises:
            FitError: If fits failed, so that the test statistics of the data and of the
                Asimov data are not known. If one is known, the other is NaN; a trace
                raises no error.
        """
        result = self.test_statistic.compute(
            self.nll_fn,
            self.params,
            self.observation,
            self.poi_key,
            poi_test,
            **self._options(),
        )
        self._check(result)
        known = self.distribution._missing(result, alt=True) is None
        log_null, log_alt = self.distribution.log_pvalues(result, alt=known)
        xp = namespace(log_null, log_alt)
        alt = xp.exp(log_alt) if known else None
        return HypoTestResult(result.value, xp.exp(log_null), alt, result)

    def _check(self, result: TestStatResult) -> None:
        """Raise an error that names the failed fit if no test statistic is known."""
        value, asimov = result.value, result.q_asimov
        observed = _is_known(value)
        if asimov is not None and _is_known(asimov):
            return
        if observed and (asimov is None or not self.distribution._null_needs_alt()):
            return
        poi = f"{self.poi_key!r} = {result.test}"
        for name, fit in fits_of(result.extras).items():
            if not is_traced(fit.success) and not np.all(fit.success):
                raise FitError(
                    f"test: no test statistic for {poi}, as the fit {name!r} failed. "
                    f"{fit.message()}",
                    result=fit,
                )
        raise FitError(
            f"test: no test statistic for {poi}. The fit with the parameter held is "
            "lower than the free fit, also from there: give other start values."
        )

    def cls(self, result: HypoTestResult) -> Any:
        r"""Return :math:`\mathrm{CL_s} = p_\mathrm{null} / p_\mathrm{alt}`.

        It is computed from logarithms, and so correct if both p-values underflow.

        Args:
            result: A result of `test`.

        Raises:
            ArgumentValueError: If the alternative is not known.
        """
        null, alt = self.distribution.log_pvalues(result.test_stat_result)
        xp = namespace(null, alt)
        # If no toy of either hypothesis is as extreme, 0/0 is NaN.
        none = xp.isneginf(alt)
        return xp.where(none, xp.nan, xp.exp(null - xp.where(none, 0, alt)))

    def expected(self, result: HypoTestResult) -> ExpectedBands:
        """Return p-values and CLs expected for data of the alternative hypothesis.

        Args:
            result: A result of `test`.

        Raises:
            ArgumentValueError: If the alternative is not known.
        """
        return self.distribution.expected_pvalues(result.test_stat_result)


def _is_known(value: Any) -> bool:
    return is_traced(value) or bool(np.all(np.isfinite(value)))


@_named_poi
class HypoTestCalculator(_AbstractCalculator):
    """Tests values of the POI with any test statistic and distribution.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.hypotest import HypoTestCalculator, QMu, QMuAsymptotic
        >>> def nll(params, data):
        ...     return 0.5 * (data - params["mu"]) ** 2
        >>> start = ew.State.from_pytree({"mu": 0.0})
        >>> calculator = HypoTestCalculator(
        ...     nll, start, 1.0, "mu", QMu(), QMuAsymptotic()
        ... )
        >>> result = calculator.test(3.0)
        >>> print(f"{result.q_obs:.3f} {result.null_pvalue:.4f}")
        4.000 0.0228
    """


@_named_poi
@dataclasses.dataclass(frozen=True, eq=False)
class AsymptoticCalculator(_AbstractCalculator):
    """Tests values of the POI with asymptotic formulas and Asimov data.

    The free fit and the fit of the Asimov data are made once, for all tested values.

    Attributes:
        nll_fn: -ln L or a Model, as in `fit`.
        params: Start values; those of a Model if None.
        observation: The data; those of a Model if None.
        poi_key: The parameter of interest.
        test_statistic: One of arXiv:1007.1727.
        distribution: The distribution of that test statistic; the asymptotic one if
            None.
        predict_fn: From a State to the expected observation; None for the expectation
            of the Model.
        asimov_observation: The Asimov data, if they are given.
        mu_asimov: The POI of the Asimov data; that of the test statistic if None.
        nuisances: ``"a posteriori"`` or ``"a priori"``: the nuisance parameters of the
            Asimov data are those fitted to the data, or the start values.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.hypotest import AsymptoticCalculator, QMu
        >>> def nll(params, data):
        ...     return 0.5 * (data - params["mu"]) ** 2
        >>> start = ew.State.from_pytree({"mu": 0.0})
        >>> calculator = AsymptoticCalculator(
        ...     nll, start, 1.0, "mu", QMu(), predict_fn=lambda state: state["mu"]
        ... )
        >>> result = calculator.test(3.0)
        >>> print(f"{calculator.cls(result):.4f}")
        0.0270
        >>> print(f"{calculator.expected(result).cl_s.median:.4f}")
        0.0027
    """

    predict_fn: Callable[[State], Any] | None = None
    asimov_observation: Any = None
    mu_asimov: Any = None
    nuisances: str = dataclasses.field(default="a posteriori", kw_only=True)
    _shared: dict[str, Any] = dataclasses.field(
        default_factory=dict, kw_only=True, repr=False
    )

    def __post_init__(self) -> None:
        check_test_statistic(self.test_statistic)
        if not isinstance(self.test_statistic, CowanTestStatistic):
            raise ArgumentTypeError(
                "test_statistic: asymptotic formulas are known for those of "
                f"arXiv:1007.1727, not for {type(self.test_statistic).__name__}."
            )
        if self.mu_asimov is None:
            object.__setattr__(self, "mu_asimov", self.test_statistic.mu_asimov)
        super().__post_init__()

    def _options(self) -> dict[str, Any]:
        predict_fn = self.predict_fn
        missing = predict_fn is None and self.asimov_observation is None
        if missing and isinstance(self.nll_fn, AbstractModel):
            predict_fn = self.nll_fn.asimov
        return {
            **self.fit_kwargs,
            "predict_fn": predict_fn,
            "mu_asimov": self.mu_asimov,
            "asimov_observation": self.asimov_observation,
            "nuisances": self.nuisances,
            "shared": self._shared,
        }
