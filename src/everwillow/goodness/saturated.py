"""Likelihood-ratio test against the saturated model, which fits every datum exactly."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from everwillow._captures import up_to_date
from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow._numerics import is_traced
from everwillow._typing import Key, Nll
from everwillow.engine import programs
from everwillow.engine.core import Task
from everwillow.engine.layout import as_arrays
from everwillow.engine.prefit import constrained_elements
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.goodness._yields import (
    Compared,
    check,
    compared,
    expected_like,
    variance_arrays,
    variance_of,
)
from everwillow.goodness.pvalues import GoodnessResult, with_pvalue
from everwillow.model import AbstractModel
from everwillow.model.constraint_terms import summed_nll, values_by_key
from everwillow.parameters import (
    AbstractConstraint,
    LogNormal,
    MultivariateNormal,
    Normal,
    Poisson,
)
from everwillow.parameters.constraint_table import ConstraintTable
from everwillow.uncertainty.evaluation_point import evaluate_at
from everwillow.uncertainty.fisher_information import likelihood_at


# Relative difference of derivatives up to which two likelihoods count as equal.
AGREEMENT = 1e-5


class Live(NamedTuple):
    """Marks of the auxiliary observations that belong to fitted parameters.

    Attributes:
        packed: Marks of the observations of a `ConstraintTable`, in its order; empty
            without a table.
        single: Marks of the other observations by the name of the constraint, in the
            shape of its parameter; all equal for a joint constraint.
        number: The number of marked observations.
    """

    packed: np.ndarray
    single: dict[Key, np.ndarray]
    number: int


def saturated_test(
    nll_fn: Nll | AbstractModel,
    result: FitResult,
    observation: Any = None,
    *,
    data_variance: Any = "model",
    saturated: ArrayLike | Callable[[Any], ArrayLike] | None = None,
    ndof: float | None = None,
) -> GoodnessResult:
    r"""Test a fit against the saturated model, which describes every datum exactly.

    The statistic is :math:`2 (\mathrm{nll} - \mathrm{nll}_\text{saturated})`. Both
    terms contain the constraints: in the saturated model every auxiliary observation
    equals its expectation, too. For large counts the statistic follows a chi2
    distribution with as many degrees of freedom as there are data and auxiliary
    observations, less the free parameters (Baker and Cousins, Nucl. Instrum. Meth. 221
    (1984) 437). An empty bin with an expectation of exactly zero does not count as a
    datum, and each sum of data that a Model takes as given is one datum less (its
    attribute ``given_totals``, as for multinomials). The constraints of fixed
    parameters contribute neither to the statistic nor to the degrees of freedom.

    For Poisson counts n with expectations :math:`\nu` the main part is
    :math:`2 \sum (\nu - n + n \ln(n / \nu))`, for Gaussian data the chi2. It is
    computed from data and expectations, so that constant terms of ``main_nll`` cancel;
    the function checks that the likelihood is the assumed one.

    The statistic does not contain the penalty of a regularised template fit. The
    penalty reduces the effective number of free parameters, but the degrees of freedom
    are counted without it, so that p-values are rather too small.

    A statistic that is negative within rounding is set to 0. The p-value of a more
    negative one, as for a `saturated` that does not belong to the model, is NaN.

    Args:
        nll_fn: The Model that was fitted. A plain function needs `saturated` (-ln L of
            everything) and `ndof`.
        result: Its best fit.
        observation: The data; None for the data of the Model.
        data_variance: ``"model"`` for the variances that the Model defines, or Poisson
            variances without these; ``"poisson"`` for counts; or the variances of
            Gaussian data, like the main data (for a combination by the name of the
            model) or one for several of them, with a matrix for a vector of correlated
            data, ``"poisson"`` for a part that are counts, and None for data that do
            not fluctuate.
        saturated: -ln L of the main data in the saturated model, in the normalisation
            of ``main_nll``: a number, or a function of the main data. By default the
            Model's method ``saturated_nll(main)`` if it has one, else computed from
            `data_variance`.
        ndof: Degrees of freedom; by default counted.

    Returns:
        `GoodnessResult`.

    Raises:
        ArgumentValueError: If the likelihood of the main data is neither Poisson nor
            Gaussian, so that `saturated` is needed.
        ArgumentTypeError: If the saturated value of a constraint is not known.

    Example:
        >>> import everwillow as ew
        >>> expected = lambda p: p["rate"] * jnp.ones(3)
        >>> nll = lambda p, n: jnp.sum(expected(p) - n * jnp.log(expected(p)))
        >>> counts = np.array([9.0, 12.0, 15.0])
        >>> model = ew.Model(nll, {"rate": 10.0}, counts, expected=expected)
        >>> saturated_test(model, ew.fit(model))
        GoodnessResult(statistic=1.51603, ndof=2, pvalue=0.4686)
    """
    if not isinstance(nll_fn, AbstractModel):
        return _of_function(result, observation, saturated, ndof)
    check(nll_fn, result, data_variance)
    objective, observation, point = likelihood_at(nll_fn, result, observation, None)
    if saturated is None and hasattr(nll_fn, "saturated_nll"):
        saturated = programs.call(_saturated_nll, nll_fn, observation["main"])
    elif callable(saturated):
        with up_to_date(saturated):
            saturated = saturated(observation["main"])
    data_variance = variance_arrays(data_variance, observation)
    saturated = as_arrays(saturated, "saturated")
    live = _live_constraints(nll_fn, result)
    statistic, agrees, count = evaluate_at(
        _statistic, objective, point, observation, data_variance, saturated, live
    )[0]
    if not is_traced(agrees) and not np.all(agrees):
        kind = "Poisson counts" if isinstance(data_variance, str) else "Gaussian data"
        raise ArgumentValueError(
            f"data_variance: the likelihood of the main data is not that of {kind} "
            "with the expectation of the model, so the saturated model is not known. "
            "Give the right data_variance=..., or saturated=..., the -ln L of the main "
            "data in the saturated model."
        )
    if ndof is None:
        ndof = count + live.number - len(result.free)
    return with_pvalue(statistic, ndof)


def _of_function(
    result: FitResult, observation: Any, saturated: Any, ndof: float | None
) -> GoodnessResult:
    if saturated is None or ndof is None:
        raise ArgumentValueError(
            "saturated, ndof: a function alone does not tell what data it expects. "
            "Give saturated=... (-ln L of the saturated model) and ndof=... (data and "
            "constraints less free parameters), or build a Model."
        )
    if callable(saturated):
        with up_to_date(saturated):
            saturated = saturated(observation)
    nll = jnp.asarray(result.nll)
    return with_pvalue(_rounded(2 * (nll - jnp.asarray(saturated)), nll), float(ndof))


def _rounded(statistic: Array, nll: Array) -> Array:
    """Return 0 for a statistic that is negative within rounding."""
    level = 1e-6 + 1e-12 * jnp.abs(nll)
    return jnp.where((statistic < 0) & (statistic > -level), 0, statistic)


def _statistic(
    task: Task, numbers: Numbers, data_variance: Any, saturated: Any, live: Live
) -> tuple[Array, Array, Any]:
    """Return the statistic, whether the likelihood is the assumed one, and the count.

    The count is the number of data.
    """
    model, x = task.objective, task.start(numbers)
    main, aux = numbers.observation["main"], numbers.observation["aux"]
    params = task.params(numbers, x)
    auxiliary = _constraint_deviance(model, params, aux, live)
    data_variance = variance_of(model, params, data_variance)
    leaves = compared(main, expected_like(model, params, main), data_variance)
    diagnostics = getattr(model, "diagnostics", None)
    here = [leaf for leaf in leaves if leaf is not None]
    count: Any = sum(map(_measured, here), jnp.asarray(0))
    # The sums of multinomials do not fluctuate.
    count = count - getattr(model, "given_totals", 0)
    if diagnostics is not None:
        count = diagnostics.measured
    if saturated is not None:
        nll = model.main_nll(params, main)
        rest = nll - jnp.asarray(saturated)
        if diagnostics is not None:
            rest = rest - diagnostics.penalty(params, main)
        return _rounded(2 * (rest + auxiliary), nll), jnp.asarray(True), count

    def deviance(x):
        params = task.params(numbers, x)
        expected = expected_like(model, params, main)
        parts = compared(main, expected, data_variance)
        return sum(_deviance(p) for p in parts if p is not None)

    def own(x):
        return 2 * model.main_nll(task.params(numbers, x), main)

    total = deviance(x)
    agrees = _same_derivatives(deviance, own, x)
    return jnp.where(agrees, total + 2 * auxiliary, jnp.nan), agrees, count


def _saturated_nll(model: Any, main: Any) -> Any:
    return model.saturated_nll(main)


def _live_constraints(model: AbstractModel, result: FitResult) -> Live:
    """Mark the auxiliary observations of free parameters."""
    layout, constraints = result.layout, model.constraints
    free = np.zeros(layout.size, bool)
    free[np.asarray(result.free, int)] = True
    packed, rest = np.zeros(0, bool), constraints
    if isinstance(constraints, ConstraintTable):
        rest = constraints.others
        parts = [
            free[layout.elements(layout.where[key])]
            for key, _, _ in constraints.layout.entries
        ]
        packed = np.concatenate([packed, *parts])
    single = {}
    for name, constraint in rest.items():
        here = constrained_elements(name, constraint, layout)
        if isinstance(constraint, MultivariateNormal):
            single[name] = np.full(here.size, free[here].any())
        else:
            single[name] = free[here].reshape(layout.shapes[layout.where[name]])
    count = sum(int(mask.sum()) for mask in single.values())
    return Live(packed, single, count + int(packed.sum()))


def _constraint_deviance(
    model: AbstractModel, params: Any, aux: Mapping[Key, Any], live: Live
) -> Array:
    """Return -ln L of the constraints less that of the saturated model.

    In the saturated model every parameter has the value that its auxiliary observation
    prefers. Unmarked parameters have that value in both.
    """
    values, constraints = values_by_key(model.state, params), model.constraints
    total: Any = jnp.zeros(())
    if isinstance(constraints, ConstraintTable):
        table_aux = constraints.aux(aux)
        vector = constraints.layout.gathered(values)
        observed = jnp.asarray(table_aux.vector)
        best = observed
        for (_, part), group in zip(
            constraints.layout.parts(), constraints.groups, strict=True
        ):
            if isinstance(group, Poisson):
                best = best.at[part].set(observed[part] / jnp.asarray(group.tau))
        here = jnp.where(live.packed, vector, best)
        total = constraints.nll(here, observed) - constraints.nll(best, observed)
        constraints, aux = constraints.others, table_aux.others
    best, here = dict(values), dict(values)
    for name, constraint in constraints.items():
        preferred = _preferred(name, constraint, aux[name])
        best |= preferred
        for i, (key, value) in enumerate(preferred.items()):
            joint = isinstance(constraint, MultivariateNormal)
            mask = live.single[name][i] if joint else live.single[name]
            here[key] = jnp.where(mask, jnp.asarray(values[key]), value)
    return (
        total + summed_nll(constraints, here, aux) - summed_nll(constraints, best, aux)
    )


def _preferred(name: Key, constraint: AbstractConstraint, aux: Any) -> dict[Key, Any]:
    aux = jnp.asarray(aux, float)
    match constraint:
        case MultivariateNormal():
            return dict(zip(constraint.keys, aux, strict=True))
        case Normal() | LogNormal():
            return {name: aux}
        case Poisson():
            return {
                name: aux / jnp.broadcast_to(jnp.asarray(constraint.tau), aux.shape)
            }
    preferred = getattr(constraint, "preferred", None)
    if preferred is None:
        raise ArgumentTypeError(
            f"constraints[{name!r}]: {type(constraint).__name__} does not define which "
            "value of the parameter an auxiliary observation prefers. Give it a method "
            "preferred(aux) that returns the value where nll(value, aux) is smallest."
        )
    return {name: preferred(aux)}


def _deviance(part: Compared) -> Array:
    if part.counts.all():
        return jnp.sum(poisson_deviance(part.data, part.expected))
    away = part.data - part.expected
    variance = part.variance
    # A datum without variance contributes 0 if it is exact, and infinity otherwise.
    moving = (variance if variance.ndim == 1 else jnp.diagonal(variance)) > 0
    impossible = jnp.sum(jnp.where(moving | (away == 0), 0, jnp.inf))
    away = jnp.where(moving, away, 0)
    if variance.ndim == 2:
        whole = variance + jnp.diag(jnp.where(moving, 0.0, 1.0))
        return impossible + away @ jnp.linalg.solve(whole, away)
    return impossible + jnp.sum(away**2 / jnp.where(moving, variance, 1))


def _measured(part: Compared) -> Array:
    """Return the number of data, without empty bins whose expectation is zero."""
    spread = part.variance
    spread = spread if spread.ndim == 1 else jnp.diagonal(spread)
    return jnp.sum((spread != 0) | (part.data != part.expected))


def poisson_deviance(
    counts: Float[Array, " n"], expected: Float[Array, " n"]
) -> Float[Array, " n"]:
    r"""Return :math:`2 (\nu - n + n \ln(n / \nu))`, infinite if n is impossible."""
    away = counts - expected
    some = counts > 0
    # `log1p` is accurate for counts close to a large expectation. The expectation of an
    # empty bin may be zero, and both sides of a `where` are differentiated.
    logs = jnp.log1p(jnp.where(some, away, 0) / jnp.where(some, expected, 1))
    return 2 * (jnp.where(some, counts * logs, 0) - away)


def _same_derivatives(one: Any, other: Any, x: Array) -> Array:
    """Return whether two functions have the same gradient and curvature at a point."""
    if x.shape[0] == 0:
        return jnp.asarray(True)

    def derivatives(function):
        return jax.jvp(jax.grad(function), (x,), (jnp.ones_like(x),))

    def close(a, b):
        # Relative to the largest element, too: single elements may vanish.
        size = jnp.abs(a) + jnp.abs(b)
        return jnp.all(jnp.abs(a - b) <= AGREEMENT * (size + jnp.max(size)) + 1e-9)

    (slope, bend), (own_slope, own_bend) = derivatives(one), derivatives(other)
    return close(slope, own_slope) & close(bend, own_bend)


__all__ = ["saturated_test"]
