"""Observed and expected upper limits of a Model in one call."""

import dataclasses
from collections.abc import Callable
from typing import Any, Unpack

import equinox as eqx
import jax
import numpy as np

from everwillow._captures import opened
from everwillow._errors import RESULTS, ArgumentValueError, FitError
from everwillow._html import Part, html_of, text_of
from everwillow._keywords import renamed_keywords
from everwillow._numerics import is_traced, namespace
from everwillow._progress import stage
from everwillow._typing import Key
from everwillow.engine import programs
from everwillow.engine.layout import float_dtype, on_host
from everwillow.fitting import FitResult
from everwillow.fitting.conditional import Problem, pose
from everwillow.fitting.continuation import foothold
from everwillow.fitting.options import FitOptions, takes_options
from everwillow.hypotest._likelihood_ratio import (
    best_fit,
    is_sound,
    own_poi,
    poi_place,
    tolerance,
    widened,
)
from everwillow.hypotest._limit_problem import (
    END_BEYOND,
    END_FOUND,
    N_SIGMA,
    OBSERVED,
    LimitKind,
)
from everwillow.hypotest._limit_search import search
from everwillow.hypotest.asimov import check_nuisances
from everwillow.hypotest.results import (
    BAND_TEXTS,
    LIMIT,
    BandValues,
    observed_and_expected,
)
from everwillow.hypotest.test_statistics import QMu, QTilde
from everwillow.model import AbstractModel
from everwillow.statelib import State
from everwillow.statelib.state import Parameters


# Smaller confidence levels are most likely levels of CLs: 0.05 instead of 0.95.
LEAST_CL = 0.5


class LimitsResult(eqx.Module):
    """Upper limits on a parameter of interest.

    Attributes:
        poi: Its name.
        level: The CLs of the limits, 0.05 for a confidence level of 0.95.
        observed: The observed limit; NaN if there is none.
        expected: The limits expected without signal; NaN if there is none.
        nuisances: ``"a posteriori"``: the expected limits have the nuisance parameters
            fitted to the data without signal; ``"a priori"``: their start values.
        minimum: The free fit of the data.
        fits: The number of conditional fits.
        observed_status: How the search for the observed limit ended, a member of
            `LIMIT`.
        expected_status: How the searches for the expected limits ended, members of
            `LIMIT` in the order of `BandValues`, shape ``(5,)``.
    """

    poi: str = eqx.field(static=True)
    level: Any
    observed: Any
    expected: BandValues
    nuisances: str = eqx.field(static=True)
    minimum: FitResult
    fits: Any
    observed_status: LIMIT
    expected_status: LIMIT

    def __repr__(self) -> str:
        """Return a table of the limits."""
        return text_of(self._parts())

    def _repr_html_(self) -> str:
        """Return the same for notebooks."""
        return html_of(self._parts())

    def _parts(self) -> list[Part]:
        if is_traced(self):
            return [f"LimitsResult({self.poi}; traced)"]
        head = f"{100 * (1 - float(self.level)):.4g} % CL upper limit on {self.poi}"
        table = observed_and_expected(head, self.observed, self.expected, digits=5)
        return [table, *self.reasons]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why limits are missing, one sentence each."""
        names = ("observed", *(f"expected {text}" for text in BAND_TEXTS))
        texts = (
            (LIMIT.fit_failed, f"no limit, as fits with {self.poi} held failed"),
            (LIMIT.beyond_bound, f"beyond the upper bound of {self.poi}"),
        )
        reasons = []
        for status, text in texts:
            which = self.observed_status == status, *(self.expected_status == status)
            missing = [name for name, is_so in zip(names, which, strict=True) if is_so]
            if missing:
                reasons.append(f"{', '.join(missing)}: {text}.")
        return tuple(reasons)


def _cl_of(level: Any) -> Any:
    """Return the confidence level of limits with a CLs, the argument of old versions.

    Raises:
        ArgumentValueError: If it looks like a confidence level.
    """
    if is_traced(level):
        return 1 - level
    if not 0 < level < 1 - LEAST_CL:
        raise ArgumentValueError(
            f"level: expected 1 - cl, such as 0.05 for limits at 95 % confidence, got "
            f"{level!r}. For limits at a confidence level of {level!r} write "
            f"cl={level!r}."
        )
    # Without the digits that the subtraction leaves.
    return round(1 - float(level), 12)


@renamed_keywords(level=("cl", _cl_of))
@takes_options(FitOptions)
def limits(
    nll_fn: Any,
    poi: Key | None = None,
    params: Parameters | FitResult | None = None,
    observation: Any = None,
    *,
    cl: Any = 0.95,
    nuisances: str = "a posteriori",
    test_statistic: QTilde | QMu | None = None,
    predict_fn: Callable[[State], Any] | None = None,
    throw: bool = True,
    **options: Unpack[FitOptions],
) -> LimitsResult:
    r"""Find the observed and the expected CLs upper limits on a POI.

    They come from the asymptotic formulas of arXiv:1007.1727 for
    :math:`\tilde q_\mu`, with Asimov data at 0. No bracket is needed: the search starts
    from the free fit. All limits together take one free fit and up to about twenty
    conditional ones, each of which starts from the last, in one compiled program. Under
    `jax.grad` the limits are differentiated by the implicit function theorem.

    Args:
        nll_fn: A Model; or -ln L, with `params`, `observation` and `predict_fn`.
        poi: The parameter of interest, of one element; that of the model if None. Upper
            bounds that the model declares as ranges of fits, such as all bounds of a
            workspace, are ignored: limits beyond them are found.
        params: Start values, or the result of the free fit, which is then not repeated.
        observation: The data; those of a Model if None.
        cl: The confidence level: one minus the CLs of the limits.
        nuisances: The nuisance parameters of the Asimov data: ``"a posteriori"`` for
            those fitted to the data without signal, ``"a priori"`` for the start
            values.
        test_statistic: ``QTilde()`` by default, for all bounds of the POI; ``QMu()``
            for negative best fits that are physical.
        predict_fn: From a State to the expected observation, for a plain function.
        throw: Whether to raise an error if there is no limit at all, or one is beyond a
            bound. If False, and always in compiled code, it is NaN then.
        **options: `FitOptions`, as in `fit`: `fixed`, `bounds`, `solver`, `max_steps`.

    Returns:
        The limits. A limit that needs a failed fit is NaN and has a status; the others
        are computed.

    Raises:
        FitError: If no limit was found, as fits failed.
        ArgumentValueError: If a limit is beyond the upper bound of the POI, or an
            argument is wrong.

    Example:
        >>> import everwillow as ew
        >>> import jax.numpy as jnp
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
    level = _level_of(cl)
    physical = _checked(nuisances, test_statistic)
    free_fit = params if isinstance(params, FitResult) else None
    poi = own_poi(nll_fn, poi, where="limits")
    problem = pose(
        nll_fn, start_state(nll_fn, params, nuisances), observation, **options
    )
    place = poi_place(problem, poi, where="poi")
    problem.check_inside(poi, np.zeros(1), np.array([place]), where="poi")
    problem = widened(problem, place)
    predict_fn = opened(predict_fn)
    eager = not is_traced(problem.task, problem.numbers, level)
    minimum = _free_fit(problem, place, free_fit, physical=physical, eager=eager)
    kind = LimitKind(predict_fn, np.asarray(check_nuisances(nuisances)), physical)
    if not is_traced(level):
        level = np.asarray(level, float_dtype())
    roots = _search(problem, place, minimum, level, kind)
    if eager:
        minimum, roots = _settled(nll_fn, problem, place, (minimum, level, kind), roots)
        if throw:
            _check(problem, place, minimum, roots)
    return _record(problem.labels[place], level, nuisances, minimum, roots)


def _free_fit(
    problem: Problem,
    place: int,
    known: FitResult | None,
    *,
    physical: bool,
    eager: bool,
) -> FitResult:
    """Return the free fit of the data, as in `best_fit`."""
    if not eager:
        return problem.fit(throw=False) if known is None else known
    if known is not None:
        labels = tuple(known.labels[i] for i in np.nonzero(known.at_bound)[0])
        # If a range of fits has stopped the POI, the minimum is beyond its end.
        inside = problem.ranges is None or problem.labels[place] not in labels
        if bool(known.success) and inside:
            return known
    return best_fit(problem, place, physical=physical)


def _search(
    problem, place: int, minimum: FitResult, level: Any, kind: LimitKind
) -> Any:
    """Run the search."""
    base = foothold(problem, minimum)
    if not is_traced(base) and not bool(base.success) and _is_number(base):
        sound = is_sound(problem, minimum, place)
        base = dataclasses.replace(base, success=np.asarray(sound))
    if not is_traced(base) and not _is_number(base):
        # Expected limits may be found without the free fit, which is not finite.
        blank = jax.tree.map(np.zeros_like, base)
        start = np.asarray(problem.numbers.vector)[np.asarray(problem.numbers.index)]
        base = dataclasses.replace(blank, x=start, status=base.status)
    where = np.asarray(place)
    with stage(f"limits on {problem.labels[place]}"):
        return on_host(
            programs.call(
                search, problem.task, problem.numbers, base, where, level, kind
            )
        )


def _is_number(base: Any) -> bool:
    arrays = (base.x, base.value, base.gradient, base.hessian)
    return all(np.all(np.isfinite(array)) for array in arrays)


def _settled(
    nll_fn: Any, problem: Problem, place: int, searched: tuple[Any, ...], roots: Any
) -> tuple[FitResult, Any]:
    """Repeat the search if it found a lower minimum or data that are impossible.

    Data may be impossible without signal: then the nuisance parameters of the Asimov
    data come from a fit with a tiny yield in the empty bins.
    """
    minimum, level, kind = searched
    if roots.deepest < minimum.nll - tolerance(minimum.nll):
        vector = np.array(problem.numbers.vector)
        vector[np.asarray(problem.numbers.index)] = roots.deepest_x
        state = problem.task.layout.state(vector, problem.numbers.others)
        again = best_fit(problem.at(state), place, physical=kind.physical)
        if bool(again.success) and again.nll < minimum.nll:
            minimum = again
            roots = _search(problem, place, minimum, level, kind)
    impossible = not bool(roots.possible) and bool(kind.a_posteriori)
    if impossible and hasattr(type(nll_fn), "filled"):
        task = dataclasses.replace(problem.task, objective=nll_fn.filled.bare)
        held = dataclasses.replace(problem, task=task).hold(
            {problem.labels[place]: 0.0}
        )
        without = held.fit(throw=False)
        if bool(without.success):
            kind = kind._replace(a_posteriori=np.asarray(False))
            roots = _search(problem.at(without), place, minimum, level, kind)
    return minimum, roots


def _record(
    poi: str, level: Any, nuisances: str, minimum: FitResult, roots: Any
) -> LimitsResult:
    """Make the record of the limits."""
    values, ends = roots.values, roots.ends
    xp = namespace(values)
    values, ends = xp.asarray(values), xp.asarray(ends)
    by_sigma = dict(zip(N_SIGMA, range(OBSERVED), strict=True))
    order = np.array([by_sigma[n] for n in sorted(N_SIGMA)])
    return LimitsResult(
        poi=poi,
        level=level,
        observed=values[OBSERVED],
        expected=BandValues(*(values[i] for i in order)),
        nuisances=nuisances,
        minimum=minimum,
        fits=roots.fits,
        observed_status=_status(ends[OBSERVED]),
        expected_status=_status(ends[order]),
    )


def _status(ends: Any) -> LIMIT:
    """Return the members of `LIMIT` for the ``END_*`` integers."""
    return jax.tree.map(lambda code: ends.astype(code.dtype), LIMIT.found)


def start_state(nll_fn: Any, params: Any, nuisances: str) -> Any:
    """Return the start values, which "a priori" Asimov data have, too.

    Args:
        nll_fn: -ln L or a Model.
        params: A State, a FitResult or None.
        nuisances: ``"a posteriori"`` or ``"a priori"``.

    Raises:
        ArgumentValueError: If start values are needed and `params` is a FitResult.
    """
    if not isinstance(params, FitResult):
        return params
    if check_nuisances(nuisances):
        return params.params
    if isinstance(nll_fn, AbstractModel):
        return None
    raise ArgumentValueError(
        'params: nuisances="a priori" makes the Asimov data with the start values, '
        "which a FitResult does not have. Give the State of start values."
    )


def _level_of(cl: Any) -> Any:
    """Return the CLs of limits at a confidence level."""
    if is_traced(cl):
        return 1 - cl
    if not LEAST_CL < cl < 1:
        raise ArgumentValueError(
            f"cl: expected a confidence level between {LEAST_CL} and 1, such as 0.95 "
            f"for limits at 95 % confidence, got {cl!r}."
        )
    # Without the digits that the subtraction leaves: 0.05 for 0.95.
    return round(1 - float(cl), 12)


def _checked(nuisances: str, test_statistic: Any) -> bool:
    """Check the arguments, and return whether a negative POI is unphysical."""
    check_nuisances(nuisances)
    if test_statistic is None or isinstance(test_statistic, QTilde):
        return True
    if isinstance(test_statistic, QMu):
        return False
    raise ArgumentValueError(
        "test_statistic: limits take QTilde() or QMu() of everwillow.hypotest, got "
        f"{test_statistic!r}."
    )


def _check(problem: Problem, place: int, minimum: FitResult, roots: Any) -> None:
    """Raise an error if a limit is beyond a bound, or if there is no limit."""
    poi, ends = problem.labels[place], np.asarray(roots.ends)
    texts = dict(zip(sorted(N_SIGMA), BAND_TEXTS, strict=True))
    which = [f"expected {texts[n]}" for n in N_SIGMA] + ["observed"]
    if np.any(ends == END_BEYOND):
        beyond = ", ".join(which[i] for i in np.nonzero(ends == END_BEYOND)[0])
        upper = float(problem.range(np.array([place]))[1][0])
        raise ArgumentValueError(
            f"limits: on {poi!r} beyond its upper bound {upper:g}: {beyond}. "
            f"Give it more room, bounds={{{poi!r}: Interval(0, ...)}}, or ask with "
            "throw=False for the others."
        )
    if np.any(ends == END_FOUND):
        return
    minimum.check()
    raise FitError(
        f"limits: none was found, as fits with {poi!r} held failed, also from the "
        "start values and after steps back; the last one in the search for the "
        f"{which[0]} limit at {float(roots.failed_at[0]):.4g}: {_words(roots.status)} "
        f"Look at profile.scan over {poi!r}."
    )


def _words(status: Any) -> str:
    """Return how the first of some fits ended."""
    first = jax.tree.map(lambda codes: np.asarray(codes)[0], status)
    return str(RESULTS[first])


__all__ = ["LimitsResult", "limits"]
