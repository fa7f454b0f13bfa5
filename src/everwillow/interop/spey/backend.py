"""Models as back-ends of spey."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, final

import jax.random as jr
import numpy as np
from jaxtyping import Float

from everwillow._errors import (
    ArgumentTypeError,
    ConflictError,
    NonFiniteError,
    missing_package,
)
from everwillow._typing import Key
from everwillow.interop.spey._analysis import UNBOUNDED, Analysis, joint_model
from everwillow.interop.spey._data import batch_flattened, flattened
from everwillow.interop.spey._programs import (
    pseudo_experiments,
    second_derivatives,
    value_and_slope,
)
from everwillow.model import AbstractModel


try:
    from spey import BackendBase, ExpectationType
    from spey.base import ModelConfig
except ImportError as error:
    raise missing_package(
        "everwillow.interop.spey has back-ends of spey", "spey"
    ) from error


Pars = Float[np.ndarray, " pars"]
_OBSERVED = ExpectationType.observed


# More than twelve methods, as spey requires them.
class AbstractBackend(BackendBase):
    """A model as a back-end of spey.

    `pars` are the parameters that float, in the order of `config().parameter_names`;
    those that the model fixes are left out, so that second derivatives can be inverted.
    Data are vectors: main data, then auxiliary data, by default the observed ones.

    In fits of this class the POI has no upper bound, even if it has one in the file,
    and the lower bound of the test statistic.

    Args:
        model: The model.
        poi: Key of its parameter of interest.
        auxiliary_asimov: ``"fitted"``: Asimov data contain the auxiliary data expected
            at their parameters, the frequentist convention (arXiv:1007.1727, section
            3.2). ``"nominal"``: they contain the observed auxiliary data, as in some
            published tutorials; limits are then biased if the data pull a nuisance
            parameter. To reproduce these to all digits, a `spey.StatisticalModel` then
            fits with spey's optimiser.
        seed: Random seed for the pseudo-experiments; None for a new one each time.
    """

    name: str
    version = version("everwillow")
    author = "The everwillow developers"
    spey_requires = ">=0.2.6,<0.3.0"
    doi: list[str] = []  # noqa: RUF012
    arXiv: list[str] = []  # noqa: RUF012
    zenodo: list[str] = []  # noqa: RUF012
    inspire: list[str] = []  # noqa: RUF012

    def __init__(
        self,
        model: AbstractModel,
        poi: Key,
        *,
        auxiliary_asimov: str = "fitted",
        seed: int | None = None,
    ) -> None:
        self._analysis = Analysis(model, poi, auxiliary_asimov=auxiliary_asimov)
        self._random = np.random.default_rng(seed)

    @property
    def model(self) -> AbstractModel:
        """The model."""
        return self._analysis.model

    @property
    def is_alive(self) -> bool:
        """Whether the expected data depend on the POI."""
        return self._analysis.is_alive

    def config(
        self,
        allow_negative_signal: bool = True,  # noqa: FBT001, FBT002
        poi_upper_bound: float = 10.0,
    ) -> ModelConfig:
        """Return names, start values and bounds of the floating parameters.

        Args:
            allow_negative_signal: Whether the lower bound of the POI is the value at
                which the expected data of a bin vanish, for nominal values of the
                nuisance parameters; 0 if not.
            poi_upper_bound: The upper bound of the POI.
        """
        analysis, fits = self._analysis, self._analysis.fits
        numbers, free, here = fits.problem.numbers, fits.problem.free, fits.index
        lowest = analysis.minimum_poi if allow_negative_signal else 0.0
        highest = np.inf if poi_upper_bound is None else float(poi_upper_bound)
        lower, upper = numbers.lower[free].copy(), numbers.upper[free].copy()
        lower[here], upper[here] = lowest, highest
        start = fits.start[fits.free]
        start[here] = min(max(start[here], lowest), highest)
        return ModelConfig(
            poi_index=here,
            minimum_poi=analysis.minimum_poi,
            suggested_init=start.tolist(),
            suggested_bounds=list(zip(lower.tolist(), upper.tolist(), strict=True)),
            parameter_names=list(fits.labels),
            suggested_fixed=[False] * len(fits.labels),
        )

    def get_logpdf_func(
        self, expected: Any = _OBSERVED, data: Any = None
    ) -> Callable[[Pars], float]:
        """Return a function of the parameters: ln L, all constants included.

        It is ``-inf`` if the data are impossible, and raises `NonFiniteError` instead
        of returning NaN.
        """
        evaluate = self.get_objective_function(expected, data, do_grad=True)
        return lambda pars: -evaluate(pars)[0]

    def get_objective_function(
        self,
        expected: Any = _OBSERVED,
        data: Any = None,
        do_grad: bool = True,  # noqa: FBT001, FBT002
    ) -> Callable[[Pars], Any]:
        """Return a function of the parameters: -ln L, and its gradient if wanted."""
        observation = self._analysis.data(expected, data).observation
        fits = self._analysis.fits

        def evaluate(pars: Pars) -> Any:
            numbers = fits.numbers(fits.vector(pars), observation)
            value, slope = fits.run(value_and_slope, numbers)
            if np.isnan(value):
                raise NonFiniteError(f"ln L is NaN at {fits.shown(fits.vector(pars))}.")
            gradient = slope[fits.problem.free]
            return (float(value), gradient) if do_grad else float(value)

        return evaluate

    def get_hessian_logpdf_func(
        self, expected: Any = _OBSERVED, data: Any = None
    ) -> Callable[[Pars], np.ndarray]:
        """Return a function of the parameters: the second derivatives of ln L."""
        observation = self._analysis.data(expected, data).observation
        fits = self._analysis.fits
        free = fits.problem.free

        def evaluate(pars: Pars) -> np.ndarray:
            numbers = fits.numbers(fits.vector(pars), observation)
            return -fits.run(second_derivatives, numbers)[np.ix_(free, free)]

        return evaluate

    def expected_data(self, pars: Any) -> list[float]:
        """Return the Asimov data of some parameters.

        They contain the auxiliary data expected at these parameters, so that a fit of
        them ends there; with ``auxiliary_asimov="nominal"`` they are main data only.
        """
        fits = self._analysis.fits
        made = fits.asimov(fits.vector(pars))
        return flattened(made, auxiliary=self._analysis.auxiliary_fitted).tolist()

    def get_sampler(self, pars: Any) -> Callable[..., np.ndarray]:
        """Return a function that draws pseudo-experiments.

        It takes their number and returns a row for each: main data and, unless
        ``include_auxiliary=False``, auxiliary data. ``key=`` is a `jax.random` key; by
        default each call has a new one, from the `seed` of the back-end.
        """
        fits = self._analysis.fits
        numbers = fits.numbers(fits.vector(pars))

        def sample(
            number_of_samples: int,
            include_auxiliary: bool = True,  # noqa: FBT001, FBT002
            key: Any = None,
        ) -> np.ndarray:
            if key is None:
                key = jr.key(int(self._random.integers(2**32)))
            keys = jr.split(key, number_of_samples)
            drawn = fits.run(pseudo_experiments, numbers, keys)
            return batch_flattened(drawn, auxiliary=include_auxiliary)

        return sample

    def combine(self, other: Any, **kwargs: Any) -> "AbstractBackend":
        """Return the back-end of the joint likelihood.

        Parameters of the same name become one parameter, whose constraint counts once;
        the two parameters of interest always become one.

        Args:
            other: Another back-end of everwillow.
            **kwargs: Options of `everwillow.combine`.

        Raises:
            ArgumentTypeError: If the other one is of another package.
            ConflictError: If the definitions of a parameter or the conventions for
                Asimov data differ.
        """
        if not isinstance(other, AbstractBackend):
            raise ArgumentTypeError(
                f"combine: {self.name} combines with back-ends of everwillow, got "
                f"{getattr(other, 'name', type(other).__name__)}. Independent analyses "
                "are combined by spey.UnCorrStatisticsCombiner."
            )
        own, theirs = self._analysis, other._analysis
        if own.auxiliary_fitted != theirs.auxiliary_fitted:
            raise ConflictError(
                "combine: the two back-ends have different auxiliary_asimov."
            )
        return JointBackend(
            joint_model(own, theirs, kwargs),
            own.poi,
            auxiliary_asimov=own.auxiliary_asimov,
            seed=int(self._random.integers(2**32)),
        )

    def negative_loglikelihood(
        self, poi_test: Any = 1.0, expected: Any = _OBSERVED, **kwargs: Any
    ) -> Any:
        """Minimise -ln L with the POI held, in the program compiled once.

        Args:
            poi_test: Its value, or a mapping of indices or names to values.
            expected: The data: observed, or expected a priori or a posteriori.
            **kwargs: ``data``, ``init_pars``, ``par_bounds``, ``return_parameters``.

        Returns:
            ``(nll, pars)``; for calls by `spey.StatisticalModel`, ``nll``.

        Raises:
            FitError: If there is no minimum.
        """
        analysis = self._analysis
        request = analysis.request(kwargs)
        data = analysis.data(expected, request.data)
        return analysis.profiled(data, poi_test, request)

    def asimov_negative_loglikelihood(
        self,
        poi_test: Any = 1.0,
        expected: Any = _OBSERVED,
        test_statistics: str = "qtilde",
        **kwargs: Any,
    ) -> Any:
        """Minimise -ln L of Asimov data with the POI held; see the method above."""
        analysis = self._analysis
        request = analysis.request(kwargs)
        data = analysis.asimov(expected, test_statistics)
        return analysis.profiled(data, poi_test, request)

    def minimize_negative_loglikelihood(
        self,
        expected: Any = _OBSERVED,
        allow_negative_signal: bool = True,  # noqa: FBT001, FBT002
        **kwargs: Any,
    ) -> Any:
        """Minimise -ln L, in the program compiled once.

        Args:
            expected: The data: observed, or expected a priori or a posteriori.
            allow_negative_signal: Whether the POI may be negative.
            **kwargs: ``data``, ``init_pars``, ``par_bounds``, ``poi_indices``,
                ``fixed_poi_value``.

        Returns:
            ``(nll, pars)``; for calls by `spey.StatisticalModel`, ``(best POI, nll)``.

        Raises:
            FitError: If there is no minimum.
        """
        analysis = self._analysis
        request = analysis.request(kwargs)
        data = analysis.data(expected, request.data)
        return analysis.minimised(data, request, negative=allow_negative_signal)

    def minimize_asimov_negative_loglikelihood(
        self, expected: Any = _OBSERVED, test_statistics: str = "qtilde", **kwargs: Any
    ) -> Any:
        """Minimise -ln L of Asimov data; see the method above."""
        analysis = self._analysis
        request = analysis.request(kwargs)
        data = analysis.asimov(expected, test_statistics)
        negative = test_statistics in UNBOUNDED
        return analysis.minimised(data, request, negative=negative)


@final
class JointBackend(AbstractBackend):
    """The joint back-end of two back-ends, the result of `combine`."""

    name = "everwillow.joint"
