"""Upper limits: where a p-value, mostly CLs, falls to a level."""

import inspect
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx

from everwillow._bands import BAND_NAMES
from everwillow._errors import ArgumentTypeError, ArgumentValueError, NoLimitError
from everwillow._keywords import also_called, renamed_keywords
from everwillow._numerics import is_traced
from everwillow.hypotest._root_finding import host_root, traced_root
from everwillow.hypotest.results import BandValues, ExpectedBands


RTOL, ATOL, MAX_STEPS = 1e-9, 1e-10, 100


@renamed_keywords(objective="objective_fn")
@also_called(fn="objective_fn")
def upper_limit(
    objective_fn: Callable[[Any], Any],
    bounds: Sequence[Any],
    level: float = 0.05,
    *,
    solver: optx.AbstractRootFinder[Any, Any, Any, Any] | None = None,
    rtol: float = RTOL,
    atol: float = ATOL,
    max_steps: int = MAX_STEPS,
) -> Any:
    """Return where an objective falls to a level.

    Where the objective can be traced, the limit is differentiable in whatever the
    objective depends on.

    Args:
        objective_fn: ``objective_fn(poi)``, for example CLs.
        bounds: Two values of the POI with the limit between them.
        level: One minus the confidence level.
        solver: A root finder of optimistix, with its own `rtol` and `atol`.
            By default Chandrupatla's method.
        rtol: Relative accuracy of the limit.
        atol: Absolute accuracy of the limit.
        max_steps: Largest number of evaluations.

    Raises:
        NoLimitError: If there is no limit between the bounds, or the objective is NaN.
            In a trace the limit is NaN instead.

    Example:
        >>> import jax.numpy as jnp
        >>> from everwillow.hypotest.upper_limit import upper_limit
        >>> print(f"{upper_limit(lambda poi: jnp.exp(-poi), (0.0, 10.0)):.5f}")
        2.99573
    """
    low, high = _checked_bounds(bounds)
    _check_level(level)

    def excess(poi: Any) -> Any:
        return objective_fn(poi) - level

    if solver is not None:
        return _with_solver(excess, (low, high), level, solver, max_steps)
    at_low = excess(low)
    options = {"rtol": rtol, "atol": atol, "max_steps": max_steps}
    if is_traced(low, high, at_low):
        return traced_root(excess, low, high, **options)
    at_high = excess(high)
    _check_signs((low, high), (at_low, at_high), level, "upper_limit")
    root = host_root(excess, (low, at_low), (high, at_high), **options)
    return _checked_root(root, "upper_limit")


def _with_solver(excess, ends, level, solver, max_steps) -> Any:
    """Find the root with a solver of optimistix."""
    if not isinstance(solver, optx.AbstractRootFinder):
        raise ArgumentTypeError(
            "solver: expected an optimistix.AbstractRootFinder such as "
            f"optimistix.Bisection(rtol, atol), got {type(solver).__name__}."
        )
    low, high = (jnp.asarray(v, jnp.result_type(float)) for v in ends)
    at_low, at_high = excess(low), excess(high)
    traced = is_traced(low, high, at_low, at_high)
    if not traced:
        _check_signs(ends, (at_low, at_high), level, "upper_limit")
    solution = optx.root_find(
        lambda poi, _: jnp.asarray(excess(poi)),
        solver,
        0.5 * (low + high),
        options={"lower": low, "upper": high},
        max_steps=max_steps,
        throw=False,
    )
    root = solution.value
    inside = (root >= low) & (root <= high) & ((at_low > 0) != (at_high > 0))
    root = jnp.where(
        inside & (solution.result == optx.RESULTS.successful), root, np.nan
    )
    return root if traced else _checked_root(float(root), "upper_limit")


@renamed_keywords(band_objective="band_objective_fn")
@also_called(fn="band_objective_fn")
def expected_upper_limit(
    band_objective_fn: Callable[[Any], BandValues | ExpectedBands],
    bounds: Sequence[Any],
    level: float = 0.05,
    *,
    rtol: float = RTOL,
    atol: float = ATOL,
    max_steps: int = MAX_STEPS,
) -> BandValues:
    """Return the expected limit with its bands.

    Args:
        band_objective_fn: ``band_objective_fn(poi)``, the expected CLs: `BandValues`,
            or `ExpectedBands`, of which ``cl_s`` is taken. What it returns for one
            value of the POI serves all five limits.
        bounds: Two values of the POI with all five limits between them.
        level: One minus the confidence level.
        rtol: Relative accuracy of the limits.
        atol: Absolute accuracy of the limits.
        max_steps: Largest number of evaluations for each.

    Raises:
        NoLimitError: If one of them is not between the bounds, or the objective is NaN.
            In a trace that limit is NaN instead.

    Example:
        >>> from everwillow.hypotest import expected_upper_limit
        >>> from everwillow.hypotest.formulas import expected_cls
        >>> limits = expected_upper_limit(lambda mu: expected_cls(mu**2), (0.01, 9.0))
        >>> print(" ".join(f"{limit:.3f}" for _, limit in limits))
        1.052 1.412 1.960 2.727 3.656
    """
    low, high = _checked_bounds(bounds)
    _check_level(level)
    options = {"rtol": rtol, "atol": atol, "max_steps": max_steps}
    known: dict[float, list[Any]] = {}

    def excess(poi: Any) -> list[Any]:
        bands = band_objective_fn(poi)
        bands = bands.cl_s if isinstance(bands, ExpectedBands) else bands
        return [value - level for _, value in bands]

    at_low = excess(low)
    if is_traced(low, high, at_low):

        def one(band: Any) -> Any:
            return traced_root(
                lambda poi: jnp.stack(excess(poi))[band], low, high, **options
            )

        return BandValues(*jax.lax.map(one, jnp.arange(len(BAND_NAMES))))

    def remembered(poi: float) -> list[Any]:
        if poi not in known:
            known[poi] = excess(poi)
        return known[poi]

    at_high, limits = excess(high), []
    for i, name in enumerate(BAND_NAMES):
        where = f"expected_upper_limit, {name}"
        _check_signs((low, high), (at_low[i], at_high[i]), level, where)
        root = host_root(
            lambda poi, i=i: remembered(poi)[i],
            (low, at_low[i]),
            (high, at_high[i]),
            **options,
        )
        limits.append(_checked_root(root, where))
    return BandValues(*limits)


@renamed_keywords(objective="objective_fn")
@also_called(fn="objective_fn")
def upper_limit_scan(
    objective_fn: Callable[[Any], Any], scan: Any, level: float = 0.05
) -> float:
    """Return the limit by linear interpolation between the points of a scan.

    Where the objective crosses the level several times, the largest limit is taken.

    Args:
        objective_fn: ``objective_fn(poi)``, for example CLs.
        scan: Increasing values of the POI, shape ``(points,)``.
        level: One minus the confidence level.

    Raises:
        NoLimitError: If the objective does not fall below the level within the scan,
            or is NaN at one of its points.

    Example:
        >>> import numpy as np
        >>> from everwillow.hypotest import upper_limit_scan
        >>> upper_limit_scan(lambda poi: 1 - poi / 4, np.array([0.0, 1.0, 3.0, 4.0]))
        3.8
    """
    _check_level(level)
    points = np.asarray(scan, float)
    increasing = points.ndim == 1 and points.size > 1 and np.all(np.diff(points) > 0)
    if not increasing or not np.all(np.isfinite(points)):
        raise ArgumentValueError(
            "scan: expected two or more finite values in increasing order."
        )
    values = np.array([float(objective_fn(point)) for point in points])
    if np.any(np.isnan(values)):
        wrong = ", ".join(f"{p:g}" for p in points[np.isnan(values)][:10])
        raise NoLimitError(
            f"upper_limit_scan: the objective is NaN at {wrong}; probably a fit failed "
            "there."
        )
    (falls,) = np.nonzero((values[:-1] >= level) & (values[1:] < level))
    if falls.size == 0:
        raise NoLimitError(
            f"upper_limit_scan: the objective does not fall below {level:g} between "
            f"{points[0]:g} and {points[-1]:g}; its values are from {values.min():.4g} "
            f"to {values.max():.4g}. Scan a wider range."
        )
    i = falls[-1]
    part = (values[i] - level) / (values[i] - values[i + 1])
    return float(points[i] + part * (points[i + 1] - points[i]))


@renamed_keywords(objective="objective_fn")
@also_called(fn="objective_fn")
def upper_limit_toys(
    objective_fn: Callable[[Any, Any], Any],
    bounds: Sequence[Any],
    key: Any,
    level: float = 0.05,
    *,
    tol: float = 1e-2,
    max_iterations: int = 100,
) -> float:
    """Return the limit of an objective that is computed with toys, by bisection.

    All values of the POI get the same key. The objective is then an ordinary function
    of the POI, without noise from one value to the next that could mislead the search;
    the limit still has the statistical error of the toys, which other keys show.

    Args:
        objective_fn: ``objective_fn(poi, key)``, for example CLs from toys.
        bounds: Two values of the POI with the limit between them.
        key: PRNG key.
        level: One minus the confidence level.
        tol: Absolute accuracy of the limit.
        max_iterations: Largest number of bisections.

    Raises:
        NoLimitError: If there is no limit between the bounds, the objective is NaN, or
            the bisections do not suffice.

    Example:
        >>> import jax.numpy as jnp
        >>> from everwillow.hypotest import upper_limit_toys
        >>> limit = upper_limit_toys(lambda poi, key: jnp.exp(-poi), (0.0, 8.0), None)
        >>> print(f"{limit:.2f}")
        3.00
    """
    low, high = _checked_bounds(bounds)
    _check_level(level)
    if not tol > 0:
        raise ArgumentValueError(f"tol: expected a positive number, got {tol!r}.")
    ends = [float(objective_fn(poi, key)) - level for poi in (low, high)]
    _check_signs((low, high), ends, level, "upper_limit_toys")
    count = 0
    while high - low > tol:
        if count == max_iterations:
            raise NoLimitError(
                f"upper_limit_toys: after {max_iterations} bisections the limit is "
                f"only known to be between {low:g} and {high:g}. Raise max_iterations "
                "or tol."
            )
        count += 1
        middle = 0.5 * (low + high)
        value = float(objective_fn(middle, key)) - level
        if np.isnan(value):
            return _checked_root(value, "upper_limit_toys")
        if (value > 0) == (ends[0] > 0):
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def _checked_bounds(bounds: Sequence[Any]) -> tuple[Any, Any]:
    """Return both ends, finite and in order."""
    try:
        low, high = bounds
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(
            f"bounds: expected two values of the POI, got {bounds!r}."
        ) from error
    if is_traced(low, high):
        return low, high
    low, high = float(low), float(high)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ArgumentValueError(
            f"bounds: expected two finite values in order, got ({low:g}, {high:g})."
        )
    return low, high


def _check_level(level: Any) -> None:
    if not is_traced(level) and not 0 < level < 1:
        raise ArgumentValueError(
            f"level: expected a number between 0 and 1, got {level!r}."
        )


def _check_signs(ends, values, level: float, where: str) -> None:
    """Refuse bounds that do not have the limit between them."""
    first, second = (float(value) + level for value in values)
    if np.isnan(first) or np.isnan(second):
        wrong = ends[0] if np.isnan(first) else ends[1]
        raise NoLimitError(
            f"{where}: the objective is NaN at {wrong:g}; probably a fit failed there."
        )
    if (first > level) != (second > level) or level in (first, second):
        return
    side = "above" if first > level else "below"
    mend = "Raise the upper bound." if first > level else "Lower the lower bound."
    raise NoLimitError(
        f"{where}: the limit is not inside the bounds. At both {ends[0]:g} and "
        f"{ends[1]:g} the objective is {side} {level:g}: {first:.4g} and {second:.4g}. "
        f"{mend}"
    )


def _checked_root(root: float, where: str) -> float:
    if np.isnan(root):
        raise NoLimitError(
            f"{where}: no limit was found. The objective is NaN between the bounds, as "
            "where fits fail, or more max_steps are needed."
        )
    return root


class _CallableModule(types.ModuleType):
    """The module, which is called like its function of the same name.

    ``from everwillow.hypotest import upper_limit`` gives the module.
    """

    __call__ = staticmethod(upper_limit)


sys.modules[__name__].__class__ = _CallableModule
# Otherwise `inspect` takes the first argument for `self`.
__signature__ = inspect.signature(upper_limit)
