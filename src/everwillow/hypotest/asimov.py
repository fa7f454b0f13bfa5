"""The Asimov data of a hypothesis, with profiled or nominal nuisance parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple, Unpack

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow._keywords import also_called
from everwillow._typing import Key
from everwillow.fitting import FitResult
from everwillow.fitting.conditional import Problem, pose
from everwillow.fitting.options import FitOptions, takes_options
from everwillow.fitting.run import resolve
from everwillow.model import AbstractModel
from everwillow.statelib import State, update
from everwillow.statelib.state import as_state
from everwillow.toys.asimov import asimov_data, check_made, native_params


# The arguments that make Asimov data, in messages.
MADE_BY = "predict_fn, or expected of the Model"


@also_called(poi="poi_key")
@takes_options(FitOptions)
def make_asimov(
    nll_fn: Any = None,
    params: State | None = None,
    observation: Any = None,
    mu_asimov: Any = 0.0,
    *,
    poi_key: Key | None = None,
    predict_fn: Callable[[State], Any] | None = None,
    nuisances: str = "a posteriori",
    throw: bool = True,
    **options: Unpack[FitOptions],
) -> Any:
    """Return the Asimov data of a hypothesis.

    There are two forms. ``make_asimov(nll_fn, params, observation, poi_key=...)`` fits
    the nuisance parameters to the data. ``make_asimov(predict_fn, params, poi_key,
    mu_asimov)`` needs no data and takes all other parameters from `params`.

    Args:
        nll_fn: -ln L or a Model, as in `fit`; or the function `predict_fn`.
        params: Start values; those of a Model if None.
        observation: The data; those of a Model if None; or the parameter of interest.
        mu_asimov: The value of the parameter of interest in the Asimov data.
        poi_key: The parameter of interest.
        predict_fn: From a State to the expected observation; None for the expectation
            of the Model.
        nuisances: ``"a posteriori"``: the other parameters are fitted to the data with
            the POI at `mu_asimov`. ``"a priori"``: they have their start values.
        throw: Whether to raise an error if that fit finds no minimum.
        **options: `FitOptions`, as in `fit`: `fixed`, `bounds`, `solver`, `max_steps`.

    Raises:
        FitError: If that fit fails.
        ArgumentTypeError: If the parameter of interest is not given.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.hypotest.asimov import make_asimov
        >>> state = ew.State.from_pytree({"mu": 1.0})
        >>> predict = lambda s: 50.0 + 10.0 * s["mu"]
        >>> print(make_asimov(
        ...     lambda params, n: predict(params) - n * 4.0, state, 60.0, poi_key="mu",
        ...     predict_fn=predict, nuisances="a priori",
        ... ))
        50.0
        >>> print(make_asimov(predict, state, "mu", 2.0))
        70.0
    """
    if poi_key is None and _is_key(observation):
        return _predicted(nll_fn, params, observation, mu_asimov)
    if poi_key is None:
        raise ArgumentTypeError("make_asimov: which parameter is of interest? Give it.")
    if nll_fn is None:
        return _predicted(predict_fn, params, poi_key, mu_asimov)
    without_data = observation is None and predict_fn is None
    if without_data and not isinstance(nll_fn, AbstractModel):
        return _predicted(nll_fn, params, poi_key, mu_asimov)
    problem = pose(nll_fn, params, observation, **options).hold({poi_key: mu_asimov})
    profiled = check_nuisances(nuisances)
    at = problem.fit(throw=throw).params if profiled else problem.start
    return asimov_data(nll_fn, at, predict_fn=predict_fn)


def _is_key(value: Any) -> bool:
    parts = value if isinstance(value, tuple) and value else (value,)
    return all(isinstance(part, str) for part in parts)


def _predicted(
    source: Any, params: State | FitResult | None, poi: Key, mu_asimov: Any
) -> Any:
    """Return what a Model or a `predict_fn` expects with the POI at a value."""
    model = source if isinstance(source, AbstractModel) else None
    start = native_params(params)
    if model is not None and not isinstance(start, FitResult | State):
        start = resolve(model, start).params
    at = update(as_state(start), {poi: mu_asimov})
    return asimov_data(model, at, predict_fn=None if model is not None else source)


class AsimovRecipe(NamedTuple):
    """The arguments from which Asimov data are made.

    Attributes:
        observation: The Asimov data, if they are given.
        predict_fn: From a State to the expected observation.
        mu: The value of the POI.
        a_posteriori: Whether the other parameters are fitted to the data.
    """

    observation: Any
    predict_fn: Callable[[State], Any] | None
    mu: Any
    a_posteriori: bool

    @property
    def wanted(self) -> bool:
        """Whether there are Asimov data."""
        return self.observation is not None or self.predict_fn is not None

    @property
    def profiles(self) -> bool:
        """Whether they need a fit of the data with the POI held."""
        return self.wanted and self.observation is None and self.a_posteriori

    def apply(
        self, nll_fn: Any, problem: Problem, poi: Key, profiled: tuple[FitResult, ...]
    ) -> Problem:
        """Return the fit of the Asimov data, started at its minimum."""
        if profiled:
            at = profiled[0].params
        else:
            at = problem.hold({poi: self.mu}, where="mu_asimov").start
        data, where = self.observation, "asimov_observation"
        if data is None:
            data = asimov_data(nll_fn, at, predict_fn=self.predict_fn)
            where = MADE_BY
        check_made(data, problem.numbers.observation, where)
        return problem.at(at).given(data)


def check_nuisances(nuisances: str) -> bool:
    """Return whether Asimov data are made a posteriori.

    Raises:
        ArgumentValueError: If it is neither of the two words.
    """
    if nuisances not in ("a posteriori", "a priori"):
        raise ArgumentValueError(
            f'nuisances: expected "a posteriori" or "a priori", got {nuisances!r}.'
        )
    return nuisances == "a posteriori"
