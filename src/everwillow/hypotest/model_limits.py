"""One line on a Model: the observed and the expected upper limits."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optimistix as optx

from everwillow._errors import ArgumentValueError, FitError
from everwillow._tree import format_table
from everwillow._typing import Key
from everwillow.fitting import FitResult, _execute
from everwillow.fitting._layout import closes_over_tracer, float_dtype, is_traced
from everwillow.fitting._problem import Numbers
from everwillow.fitting.conditional import Problem, pose
from everwillow.fitting.follow import foothold
from everwillow.fitting.run import Unset
from everwillow.hypotest._chain import own_poi, poi_place
from everwillow.hypotest._limit_search import search
from everwillow.hypotest._limit_state import CODE_DONE, N_SIGMA, OBSERVED, Recipe
from everwillow.hypotest.results import BAND_TEXTS, BandValues
from everwillow.hypotest.test_statistics import (
    QMu,
    QTilde,
    check_nuisances,
)
from everwillow.model import AbstractModel
from everwillow.statelib import State


# Without signal CLs falls from 1; half of it is no limit, and 0.95 is a slip for 0.05.
LARGEST_LEVEL = 0.5


class LimitsResult(eqx.Module):
    """Upper limits on a parameter of interest.

    Attributes:
        poi: Its name.
        level: The CLs of the limits, 0.05 for 95 % confidence.
        observed: The observed limit.
        expected: The limits expected without signal.
        nuisances: ``"a posteriori"``: the expected limits have the nuisance parameters
            fitted to the data without signal; ``"a priori"``: their start values.
        minimum: The free fit of the data.
        fits: Number of conditional fits that it took.
    """

    poi: str = eqx.field(static=True)
    level: Any
    observed: Any
    expected: BandValues
    nuisances: str = eqx.field(static=True)
    minimum: FitResult
    fits: Any

    def __repr__(self) -> str:
        """Return a table of the limits."""
        if is_traced(self):
            return f"LimitsResult({self.poi}; traced)"
        head = f"{100 * (1 - float(self.level)):.4g} % CL upper limit on {self.poi}"
        rows = [(head, ""), ("observed", f"{float(self.observed):.5g}")]
        rows += [
            (f"expected {text}", f"{float(value):.5g}")
            for text, (_, value) in zip(BAND_TEXTS, self.expected, strict=True)
        ]
        return format_table(rows)


def limits(
    nll_fn: Any,
    poi: Key | None = None,
    params: State | FitResult | None = None,
    observation: Any = Unset,
    *,
    level: Any = 0.05,
    nuisances: str = "a posteriori",
    test_statistic: QTilde | QMu | None = None,
    predict_fn: Callable[[State], Any] | None = None,
    fixed: Mapping[Key, Any] | None = None,
    bounds: Mapping[Key, Any] | None = None,
    solver: optx.AbstractMinimiser | None = None,
    max_steps: int = 256,
    throw: bool = True,
) -> LimitsResult:
    r"""Find the observed and the expected CLs upper limits on a POI.

    By the asymptotic formulas of arXiv:1007.1727 for :math:`\tilde q_\mu`, with Asimov
    data at 0. No bracket is needed: the free fit tells where to look. All limits
    together take one free fit and at most some twenty conditional ones, each of which
    starts from the last, in one compiled program. Under `jax.grad` the limits are
    differentiated by the implicit function theorem.

    Args:
        nll_fn: A Model; or -ln L, with `params`, `observation` and `predict_fn`.
        poi: The parameter of interest, of one element; that of the model if None. An
            upper bound that its model calls a range of fits (as all of a workspace
            are) holds the free fit only: limits beyond it are found.
        params: Start values, or the end of the free fit, which is then not repeated.
        observation: The data; those of a Model if not given.
        level: The CLs of the limits.
        nuisances: ``"a posteriori"`` or ``"a priori"``: with which nuisance parameters
            the Asimov data are made, those fitted to the data without signal or their
            start values.
        test_statistic: ``QTilde()`` by default, whatever bounds the POI has;
            ``QMu()`` lets a negative best fit count.
        predict_fn: From a State to the expected observation, for a plain function.
        fixed: As in `fit`.
        bounds: As in `fit`.
        solver: As in `fit`.
        max_steps: As in `fit`.
        throw: Whether to raise where there is no limit; if False, and always in
            compiled code, it is NaN.

    Raises:
        FitError: If a fit failed.
        ArgumentValueError: If a limit is beyond the upper bound of the POI, or an
            argument is wrong.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.hypotest.model_limits import limits
        >>> def nll(params, n):
        ...     rate = 50.0 + params["mu"]
        ...     return rate - n * jnp.log(rate)
        >>> result = limits(
        ...     nll, "mu", ew.State.from_pytree({"mu": 1.0}), 52.0,
        ...     predict_fn=lambda state: 50.0 + state["mu"],
        ... )
        >>> print(f"{result.observed:.3f} {result.expected.median:.3f}")
        16.732 15.168
    """
    kind = _checked(level, nuisances, test_statistic)
    given = params if isinstance(params, FitResult) else None
    poi = own_poi(nll_fn, poi, where="limits")
    problem = pose(
        nll_fn,
        start_state(nll_fn, params, nuisances),
        observation,
        fixed=fixed,
        bounds=bounds,
        solver=solver,
        max_steps=max_steps,
    )
    place = poi_place(problem, poi, where="poi")
    problem.check_inside(poi, np.zeros(1), np.array([place]), where="poi")
    predict_fn = _opened(predict_fn, problem)
    eager = not is_traced(problem.task, problem.numbers, level)
    minimum = given if given is not None else problem.fit(throw=throw and eager)
    ranges = isinstance(nll_fn, AbstractModel) and nll_fn.bounds_are_ranges
    numbers = _unbounded_above(problem.numbers, place) if ranges else problem.numbers
    roots = _execute.call(
        search,
        problem.task,
        numbers,
        foothold(problem, minimum),
        np.asarray(place),
        level if is_traced(level) else np.asarray(level, float_dtype()),
        Recipe(predict_fn, check_nuisances(nuisances), kind),
    )
    values = roots.values
    if not is_traced(values):
        if throw:
            _check(poi, roots, problem.range(np.array([place]))[1])
        values = np.asarray(values)
    by_sigma = dict(zip(N_SIGMA, range(OBSERVED), strict=True))
    bands = [values[by_sigma[n]] for n in sorted(N_SIGMA)]
    return LimitsResult(
        poi=problem.labels[place],
        level=level,
        observed=values[OBSERVED],
        expected=BandValues(*bands),
        nuisances=nuisances,
        minimum=minimum,
        fits=roots.fits,
    )


def _opened(predict_fn: Any, problem: Problem) -> Any:
    """Make arguments of tracers that a function closes over: then they have slopes."""
    if predict_fn is None or not closes_over_tracer(predict_fn):
        return predict_fn
    numbers = problem.numbers
    example = problem.task.layout.state(jnp.asarray(numbers.vector), numbers.others)
    return eqx.filter_closure_convert(predict_fn, example)


def _unbounded_above(numbers: Numbers, place: int) -> Numbers:
    """Take away the upper bound of one parameter."""
    if numbers.upper is None:
        return numbers
    library: Any = jnp if is_traced(numbers.upper) else np
    upper = library.where(np.arange(len(numbers.upper)) == place, np.inf, numbers.upper)
    return dataclasses.replace(numbers, upper=upper)


def start_state(nll_fn: Any, params: Any, nuisances: str) -> Any:
    """Return the start values, which "a priori" makes the Asimov data with.

    Args:
        nll_fn: -ln L or a Model.
        params: State, or the end of a fit, or None.
        nuisances: ``"a posteriori"`` or ``"a priori"``.

    Raises:
        ArgumentValueError: If start values are needed, and only their fit is known.
    """
    if not isinstance(params, FitResult):
        return params
    if check_nuisances(nuisances):
        return params.params
    if isinstance(nll_fn, AbstractModel):
        return None
    msg = (
        'params: nuisances="a priori" makes the Asimov data with the start values, '
        "which a FitResult does not have. Give the State of start values."
    )
    raise ArgumentValueError(msg)


def _checked(level: Any, nuisances: str, test_statistic: Any) -> bool:
    """Check the arguments, and return whether the POI is not negative."""
    check_nuisances(nuisances)
    if not is_traced(level) and not 0 < level < LARGEST_LEVEL:
        msg = (
            f"level: expected a CLs between 0 and {LARGEST_LEVEL}, such as 0.05 for "
            f"limits at 95 % confidence, got {level!r}."
        )
        raise ArgumentValueError(msg)
    if test_statistic is None or isinstance(test_statistic, QTilde):
        return True
    if isinstance(test_statistic, QMu):
        return False
    msg = (
        "test_statistic: limits take QTilde() or QMu() of everwillow.hypotest, got "
        f"{test_statistic!r}."
    )
    raise ArgumentValueError(msg)


def _check(poi: Key, roots: Any, upper: Any) -> None:
    """Raise where the search did not end at limits."""
    code, target = int(roots.code), int(roots.target)
    missing = np.isnan(roots.values)
    if code == CODE_DONE and not missing.any():
        return
    texts = dict(zip(sorted(N_SIGMA), BAND_TEXTS, strict=True))
    which = [f"expected {texts[n]}" for n in N_SIGMA] + ["observed"]
    if code == CODE_DONE:
        beyond = ", ".join(which[i] for i in np.nonzero(missing)[0])
        msg = (
            f"limits: on {poi!r} beyond its upper bound {float(upper[0]):g}: {beyond}. "
            f"Give it more room, bounds={{{poi!r}: Interval(0, ...)}}, or ask with "
            "throw=False for the others."
        )
        raise ArgumentValueError(msg)
    msg = (
        f"limits: a fit with {poi!r} held failed in the search for the "
        f"{which[min(target, OBSERVED)]} limit, after {int(roots.fits)} fits. Look at "
        f"profile.scan over {poi!r}."
    )
    raise FitError(msg)


__all__ = ["LimitsResult", "limits"]
