"""Profile likelihood scans in one and two parameters."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from everwillow._errors import RESULTS, ArgumentValueError, ShapeMismatchError
from everwillow._html import Table, html_of
from everwillow._numerics import is_traced, namespace, select
from everwillow._progress import stage
from everwillow._rounding import alike, noiseless, plain
from everwillow._typing import Key
from everwillow.engine.adjoint import minimise
from everwillow.engine.core import Task
from everwillow.engine.layout import float_dtype
from everwillow.engine.outcome import Outcome
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.fitting.continuation import Foothold, follow_held, holding
from everwillow.fitting.options import FitOptions, takes_options
from everwillow.fitting.result import Values
from everwillow.profile._best_fit import BestFit, ProfileProblem, pose_profile
from everwillow.profile._lower_minima import (
    fit_from_below,
    lower_of,
    other_starts,
    scan_from_starts,
    slack,
)
from everwillow.statelib import State
from everwillow.statelib.state import Parameters


class ScanResult(eqx.Module):
    """The profile likelihood at some values of one parameter.

    -ln L is NaN at points whose fit failed; the status has the reason.

    Attributes:
        name: The parameter.
        values: The values at which it was held, shape ``(m,)``.
        nll: -ln L, minimised over the other parameters, shape ``(m,)``.
        slope: The derivative of `nll` in the parameter, shape ``(m,)``.
        params: All parameters at each point, entries of shape ``(m, ...)``.
        status: How each fit ended, to be compared with the members of `RESULTS`.
        success: Whether each fit ended at a minimum, shape ``(m,)``.
        minimum: The free fit, or the fit to a lower minimum if a point revealed one.
        held: The parameters that were held at their best fit.
        new_minimum: Whether a point was below the minimum of the free fit.
        other_start: At which points a fit from another start ended lower, shape
            ``(m,)``; None without other starts.
        bounds: The bounds of the parameter, infinite where there is none; None if they
            are unknown.
    """

    name: str = eqx.field(static=True)
    values: Float[Values, " m"]
    nll: Float[Values, " m"]
    slope: Float[Values, " m"]
    params: State
    status: RESULTS
    success: Bool[Values, " m"]
    minimum: FitResult
    held: tuple[str, ...] = eqx.field(static=True)
    new_minimum: bool = eqx.field(static=True, default=False)
    other_start: Bool[Values, " m"] | None = None
    bounds: tuple[Float[Values, ""], Float[Values, ""]] | None = None

    @property
    def twice_delta_nll(self) -> Float[Values, " m"]:
        """Twice the rise of -ln L above its minimum: the χ² of the profile."""
        return _twice_rise(self)

    def __repr__(self) -> str:
        """Return a line with the parameters and the number of successful fits."""
        if is_traced(self):
            return f"ScanResult({self.name}; traced)"
        good = int(np.sum(self.success))
        width = float(np.ptp(self.values))
        low, high = (
            plain(noiseless(float(end), width), 6)
            for end in (np.min(self.values), np.max(self.values))
        )
        return (
            f"ScanResult({self.name} in [{low}, {high}]; {good} of "
            f"{self.success.size} fits ended at a minimum)"
        )

    def _repr_html_(self) -> str:
        """Return a table of the points for notebooks."""
        if is_traced(self) or np.ndim(self.values) != 1:
            return html_of([repr(self)])
        return html_of([table_of_scans({"2 Δ(-ln L)": self}), repr(self)])


class Scan2DResult(eqx.Module):
    """The profile likelihood on a grid of two parameters.

    -ln L is NaN at points whose fit failed; the status has the reason.

    Attributes:
        names: The two parameters.
        values: The values at which they were held, shapes ``(k,)`` and ``(m,)``.
        nll: -ln L, minimised over the other parameters, shape ``(k, m)``.
        params: All parameters at each point, entries of shape ``(k, m, ...)``.
        status: How each fit ended.
        success: Whether each fit ended at a minimum, shape ``(k, m)``.
        minimum: The free fit, or the fit to a lower minimum if a point revealed one.
        held: The parameters that were held at their best fit.
        new_minimum: Whether a point was below the minimum of the free fit.
    """

    names: tuple[str, str] = eqx.field(static=True)
    values: tuple[Float[Values, " k"], Float[Values, " m"]]
    nll: Float[Values, "k m"]
    params: State
    status: RESULTS
    success: Bool[Values, "k m"]
    minimum: FitResult
    held: tuple[str, ...] = eqx.field(static=True)
    new_minimum: bool = eqx.field(static=True, default=False)

    @property
    def twice_delta_nll(self) -> Float[Values, "k m"]:
        """Twice the rise of -ln L above its minimum."""
        return _twice_rise(self)

    def __repr__(self) -> str:
        """Return a line with the parameters and the number of successful fits."""
        if is_traced(self):
            return f"Scan2DResult({self.names[0]}, {self.names[1]}; traced)"
        good = int(np.sum(self.success))
        return (
            f"Scan2DResult({self.names[0]}, {self.names[1]}; {good} of "
            f"{self.success.size} fits ended at a minimum)"
        )

    def _repr_html_(self) -> str:
        """Return a table of the ranges and of the lowest point for notebooks."""
        if is_traced(self) or np.ndim(self.nll) != 2 or np.isnan(self.nll).all():
            return html_of([repr(self)])
        lowest = np.unravel_index(np.nanargmin(self.nll), self.nll.shape)
        rows = [
            (name, *ends_of(values, values[i]), str(len(values)))
            for name, values, i in zip(self.names, self.values, lowest, strict=True)
        ]
        heads = ("parameter", "from", "to", "lowest -ln L at", "points")
        return html_of([Table([heads, *rows]), repr(self)])


def ends_of(values: Any, chosen: Any) -> list[str]:
    """Return the ends of a range and one value as text, rounded alike."""
    ends = float(np.nanmin(values)), float(np.nanmax(values))
    return alike([*ends, chosen], ends[1] - ends[0], 4)


def table_of_scans(scans: Mapping[str, ScanResult]) -> Table:
    """Return scans of one parameter at the same values as columns."""
    first = next(iter(scans.values()))
    values = alike(first.values, float(np.ptp(first.values)), 4)
    # Three decimals, as rises below 0.001 are no smaller than what fits leave.
    columns = [alike(one.twice_delta_nll, 0.01) for one in scans.values()]
    return Table([(first.name, *scans), *zip(values, *columns, strict=True)])


def _twice_rise(result: Any) -> Any:
    base = result.minimum.nll
    if result.new_minimum:
        # A fit from the lowest point may have failed.
        base = np.fmin(base, np.nanmin(result.nll))
    return 2 * (result.nll - base)


@takes_options(FitOptions)
def scan(
    nll_fn: Any,
    params: Parameters | FitResult | None = None,
    observation: Any = None,
    *,
    name: Key,
    values: Any,
    held: Iterable[str] = (),
    vectorised: bool = False,
    starts: int = 0,
    **options: Unpack[FitOptions],
) -> ScanResult:
    r"""Profile -ln L in one parameter.

    At each value the likelihood is minimised over all other parameters. The scan goes
    from the best fit outwards on both sides, each fit starting from the one before,
    and all of it is one compiled program. If a point is below the minimum of the free
    fit, that is fitted again from there and the scan is repeated from the lower
    minimum, which is in the result.

    Args:
        nll_fn: -ln L, or a Model, as in `fit`; likewise what is not listed here.
        params: Start values, or the result of the free fit, which is then not repeated.
        observation: Data.
        name: The parameter, or one element of it such as ``"gamma[3]"``.
        values: The values at which to hold it, shape ``(m,)``, in any order.
        held: Names or patterns (``"alpha*"``) of parameters to hold at their best fit:
            a scan without these systematic uncertainties.
        vectorised: Whether to fit all points at once, each from the best fit.
        starts: The number of other start values from which to fit at each point too,
            to look for lower minima: within 5, 10, 15 and 20 errors of the best fit in
            turn, or widths of constraints where these are larger.
        **options: `FitOptions`, as in `fit`: `fixed`, `bounds`, `solver`, `max_steps`.

    Returns:
        The scan; ``twice_delta_nll`` rises by 1 at one standard error.

    Raises:
        UnknownKeyError: If there is no parameter of such a name.
        ArgumentValueError: If the parameter is fixed or held, or a value is beyond its
            bounds or not finite; or if `starts` are given in a JAX transformation.
        FitError: If the free fit failed.

    Warns:
        UserWarning: If a point is below the minimum of the free fit, or another start
            led to a lower minimum at some points. Inside of JAX transformations nothing
            is checked.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.profile import scan
        >>> def nll(params, data):
        ...     return 0.5 * ((data - params["mu"] * params["eff"]) / 2) ** 2 + 50 * (
        ...         params["eff"] - 1) ** 2
        >>> start = ew.State.from_pytree({"mu": 1.0, "eff": 1.0})
        >>> result = scan(nll, start, 10.0, name="mu", values=[8.0, 11.0, 12.0])
        >>> print(result.twice_delta_nll.round(3))
        [0.862 0.192 0.735]
    """
    posed = pose_profile(nll_fn, params, observation, held=held, **options)
    place = posed.position(name)
    points = _points(posed, name, place, values, where="values")
    fitted = posed.best_fit()
    low, high = fitted.problem.range(np.array([place]))
    fitted = fitted.reaching(np.array([place]), points[:, None])
    label = fitted.problem.labels[place]
    program = _scan_at_once if vectorised else _scan_outwards
    with stage(f"scan of {label}"):
        scanned = _Scanned.of(fitted, program, jnp.asarray(place), points)
    other = None
    if starts:
        scanned, other = scanned.from_others(starts, label)
    if not is_traced(scanned.nll):
        scanned = scanned.checked(f"scan of {label}")
    slope = scanned.gradient[:, place]
    fields = scanned.fields()
    return ScanResult(
        label,
        points,
        slope=slope,
        other_start=other,
        bounds=(low[0], high[0]),
        **fields,
    )


@takes_options(FitOptions)
def scan_2d(
    nll_fn: Any,
    params: Parameters | FitResult | None = None,
    observation: Any = None,
    *,
    names: tuple[Key, Key],
    values: tuple[Any, Any],
    held: Iterable[str] = (),
    **options: Unpack[FitOptions],
) -> Scan2DResult:
    """Profile -ln L on a grid of two parameters.

    Arguments and errors are those of `scan`; `names` are two parameters and `values`
    the two axes of the grid, shapes ``(k,)`` and ``(m,)``.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.profile import scan_2d
        >>> def nll(params, data):
        ...     return 0.5 * (params["a"] - 1) ** 2 + 0.5 * (params["b"] - data) ** 2
        >>> start = ew.State.from_pytree({"a": 0.0, "b": 0.0})
        >>> grid = ([0.0, 1.0], [2.0, 3.0, 4.0])
        >>> result = scan_2d(nll, start, 3.0, names=("a", "b"), values=grid)
        >>> print((result.twice_delta_nll.round(6) + 0.0).tolist())
        [[2.0, 1.0, 2.0], [1.0, 0.0, 1.0]]
    """
    posed = pose_profile(nll_fn, params, observation, held=held, **options)
    first, second = pair(posed, names)
    if len(values) != 2:
        raise ArgumentValueError(
            f"values: expected the two axes of the grid, got {len(values)}."
        )
    axes = tuple(
        _points(posed, name, place, axis, where=f"values[{i}]")
        for i, (name, place, axis) in enumerate(
            zip(names, (first, second), values, strict=True)
        )
    )
    fitted = posed.best_fit()
    for place, axis in zip((first, second), axes, strict=True):
        fitted = fitted.reaching(np.array([place]), axis[:, None])
    places = jnp.asarray(first), jnp.asarray(second)
    labels = fitted.problem.labels[first], fitted.problem.labels[second]
    what = f"scan of {labels[0]} and {labels[1]}"
    with stage(what):
        scanned = _Scanned.of(fitted, _scan_grid, places, axes)
    if not is_traced(scanned.nll):
        scanned = scanned.checked(what)
    return Scan2DResult(labels, (axes[0], axes[1]), **scanned.fields())


class _Scanned(NamedTuple):
    """The fits of a scan, and how to repeat them.

    Attributes:
        fitted: The free fit.
        program: The program that scans.
        place: The positions of the parameters that are scanned.
        values: Their values.
        ends: Parameters, -ln L, gradient, status and success of each fit.
        new_minimum: Whether a fit was below the free fit.
    """

    fitted: BestFit
    program: Any
    place: Any
    values: Any
    ends: tuple[Any, Any, Any, Any, Any]
    new_minimum: bool = False

    @classmethod
    def of(cls, fitted: BestFit, program: Any, place: Any, values: Any) -> "_Scanned":
        """Run a scan."""
        return cls(fitted, program, place, values, fitted.call(program, place, values))

    @property
    def nll(self) -> Any:
        return self.ends[1]

    @property
    def gradient(self) -> Any:
        return self.ends[2]

    def fields(self) -> dict[str, Any]:
        """Return fields of the record."""
        x, nll, _, status, success = self.ends
        return {
            "nll": nll,
            "params": self.fitted.states(x),
            "status": status,
            "success": success,
            "minimum": self.fitted.minimum,
            "held": self.fitted.held_names,
            "new_minimum": self.new_minimum,
        }

    def from_others(self, count: int, label: str) -> tuple["_Scanned", Any]:
        """Fit each point from other starts too, and keep the lower minima."""
        if is_traced(self.nll):
            raise ArgumentValueError(
                "starts: other starts need errors that are numbers. Scan outside of "
                "JAX transformations."
            )
        starts = other_starts(self.fitted, count)
        with stage(f"scan of {label} from {count} other starts"):
            others = self.fitted.call(scan_from_starts, self.place, self.values, starts)
        ends, below = lower_of(self.ends, others, slack(self.fitted.minimum))
        if below.any():
            fall = float(np.max((self.nll - others[1])[below]))
            warnings.warn(
                f"scan of {label}: at {int(below.sum())} of {below.size} points a fit "
                f"from another start ended lower, by up to {fall:.4g} in -ln L. These "
                "are in the result; the profile may jump next to them.",
                stacklevel=4,
            )
        return self._replace(ends=ends), below

    def checked(self, what: str) -> "_Scanned":
        """Repeat a scan from a lower minimum that it reveals, and warn."""
        x, nll, _, _, success = self.ends
        flat = x.reshape(-1, x.shape[-1]), nll.ravel(), success.ravel()
        is_below, lower = fit_from_below(self.fitted, *flat)
        if not is_below:
            return self
        scanned = self._replace(new_minimum=True)
        before = float(self.fitted.minimum.nll)
        text = f"{what}: -ln L fell below its minimum, {before:.10g}"
        if lower is None:
            text += f", to {np.nanmin(nll):.10g}, and a fit from there failed."
        else:
            with stage(f"{what} from a lower minimum"):
                again = self.of(lower, self.program, self.place, self.values)
            # With others held at the old minimum the two profiles are different.
            ends = again.ends
            if not lower.held.any():
                ends, _ = lower_of(ends, self.ends, slack(lower.minimum))
            scanned = again._replace(ends=ends, new_minimum=True)
            text += (
                f", to {float(lower.minimum.nll):.10g}. The scan was repeated from the "
                "new minimum, which is in `result.minimum`."
            )
        warnings.warn(text, stacklevel=4)
        return scanned


def pair(posed: ProfileProblem, names: Any) -> tuple[int, int]:
    """Return the positions of two different parameters."""
    if isinstance(names, str) or len(names) != 2:
        raise ArgumentValueError(f"names: expected two parameters, got {names!r}.")
    first, second = (posed.position(name, where="names") for name in names)
    if first == second:
        raise ArgumentValueError(
            f"names: expected two different parameters, got {names[0]!r} twice."
        )
    return first, second


def _points(
    posed: ProfileProblem, name: Key, place: int, values: Any, *, where: str
) -> Any:
    xp = namespace(values)
    points = xp.asarray(values, float_dtype())
    if points.ndim != 1 or points.size == 0:
        raise ShapeMismatchError(
            f"{where}: expected one or more values in a row, got shape {points.shape}."
        )
    posed.check_inside(name, place, points, where=where)
    return points


def _kept(at: Foothold | Outcome) -> tuple[Array, Array, Array, Any, Array]:
    """Return the outcome of a fit without its Hessian."""
    value = jnp.where(at.success, at.value, jnp.nan)
    gradient = jnp.where(at.success, at.gradient, jnp.nan)
    return jnp.where(at.success, at.x, jnp.nan), value, gradient, at.status, at.success


def _scan_outwards(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    held: Bool[Array, " n"],
    place: Array,
    values: Float[Array, " m"],
) -> tuple[Any, ...]:
    """Fit at values of one parameter, from the nearest outwards, on both sides.

    Args:
        task: The structure of the fit.
        numbers: Its arguments.
        base: The best fit, from which both sides start.
        held: Which other parameters are held at the base, shape ``(n,)``.
        place: The position of the parameter.
        values: The values in any order.

    Returns:
        The results of `_kept` with a leading axis of the values, in their order.
    """
    held = jnp.asarray(held).at[place].set(True)
    order, turn = _outwards(values, base.x[place])

    def advance(last: Foothold, stop):
        value, again = stop
        last = select(again, constant, last)
        end = follow_held(task, numbers, last, held, base.x.at[place].set(value))
        # The next fit does not start from a failed one.
        return jax.lax.stop_gradient(select(end.success, end, last)), _kept(end)

    constant = jax.lax.stop_gradient(base)
    _, outcomes = jax.lax.scan(advance, constant, (values[order], turn))
    back = jnp.argsort(order)
    return jax.tree.map(lambda leaf: leaf[back], outcomes)


def _scan_grid(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    held: Bool[Array, " n"],
    places: tuple[Array, Array],
    values: tuple[Float[Array, " k"], Float[Array, " m"]],
) -> tuple[Any, ...]:
    """Fit on a grid: rows from the nearest outwards, and in each row the columns, too.

    Returns:
        The results of `_kept` with leading axes ``(k, m)``.
    """
    first, second = places
    held = jnp.asarray(held).at[first].set(True).at[second].set(True)
    rows, row_turn = _outwards(values[0], base.x[first])
    columns, column_turn = _outwards(values[1], base.x[second])
    # Each row begins with a point at the best fit of the second parameter.
    width = columns.size + 1
    ordered = jnp.concatenate([base.x[second][None], values[1][columns]])
    begins = jnp.arange(width) == 0
    stops = (
        jnp.repeat(values[0][rows], width),
        jnp.tile(ordered, rows.size),
        jnp.tile(begins, rows.size),
        jnp.where(
            jnp.tile(begins, rows.size),
            jnp.repeat(row_turn, width),
            jnp.tile(jnp.append(False, column_turn), rows.size),
        ),
    )

    def advance(carry, stop):
        row, last = carry
        one, other, is_row, turn = stop
        # Rows begin at the best fit, columns at the first point of their row.
        source = select(is_row, select(turn, constant, row), select(turn, row, last))
        target = base.x.at[first].set(one).at[second].set(other)
        end = follow_held(task, numbers, source, held, target)
        last = jax.lax.stop_gradient(select(end.success, end, source))
        return (select(is_row, last, row), last), _kept(end)

    constant = jax.lax.stop_gradient(base)
    _, outcomes = jax.lax.scan(advance, (constant, constant), stops)
    back = jnp.argsort(rows)[:, None], 1 + jnp.argsort(columns)[None, :]
    return jax.tree.map(
        lambda leaf: leaf.reshape(rows.size, width, *leaf.shape[1:])[back], outcomes
    )


def _outwards(values: Array, here: Array) -> tuple[Array, Array]:
    """Return the order from the nearest outwards, first above, and marks of starts."""
    below = values < here
    order = jnp.lexsort((jnp.abs(values - here), below))
    side = below[order]
    return order, jnp.concatenate([jnp.ones(1, bool), side[1:] != side[:-1]])


def _scan_at_once(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    held: Bool[Array, " n"],
    place: Array,
    values: Float[Array, " m"],
) -> tuple[Any, ...]:
    """Fit at values of one parameter all at once, each from the best fit.

    The arguments and results are those of `_scan_outwards`.
    """
    held = jnp.asarray(held).at[place].set(True)

    def at(value):
        start = holding(numbers, base.x.at[place].set(value), held)
        outcome, _ = minimise(task, start)
        return _kept(outcome)

    return jax.vmap(at)(values)
