"""Global impacts: the contribution of each fluctuation of the data to an error."""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from everwillow._data_variance import (
    contains_counts,
    like_data,
    with_expectations,
)
from everwillow._errors import ArgumentValueError
from everwillow._html import Part, Shown, Table
from everwillow._keywords import renamed_keywords
from everwillow._numerics import is_traced
from everwillow._rounding import alike
from everwillow._typing import Key, Nll
from everwillow.engine import programs
from everwillow.engine.core import Task
from everwillow.engine.layout import as_arrays, ravel_state
from everwillow.engine.prefit import constrained_elements
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.fitting.options import RefitOptions, takes_options
from everwillow.impacts._auxiliary_fluctuations import (
    Auxiliary,
    auxiliary_of,
    fluctuations,
    shifts_of,
)
from everwillow.impacts._data_derivatives import derivatives_by_data
from everwillow.impacts.best_fit import (
    Fitted,
    computed,
    fitted,
    positions,
    warn_if_held,
)
from everwillow.impacts.definitions import (
    DIGITS,
    covariance_from,
    errors_from,
    scattered,
    sum_in_quadrature,
    times_deviation,
    unless_held,
)
from everwillow.impacts.refits import RefitImpacts, posed, refit_auxiliary
from everwillow.model import AbstractModel
from everwillow.parameters import AbstractConstraint, MultivariateNormal
from everwillow.uncertainty.evaluation_point import evaluate_at, on_host
from everwillow.uncertainty.fisher_information import likelihood_at


# If the ratio of the sum in quadrature to the error is larger than this, or smaller
# than its inverse, the variances of the data are not those of the likelihood.
FAR_OFF = 2.0


class GlobalImpacts(Shown, eqx.Module):
    """Shifts of parameters of interest (POIs) for one fluctuation of each measurement.

    Fluctuations of different measurements are independent, so that the squares of all
    shifts add up to the variance of the POI: exactly in a linear Gaussian model and on
    Asimov data, and otherwise up to the difference of the observed and the expected
    information.

    Attributes:
        auxiliary: Shifts for each auxiliary measurement one standard deviation up,
            shape ``(pois, names)``.
        data: Shifts for each main datum one standard deviation up, in the structure of
            the data with a leading axis of POIs, None for data that do not fluctuate;
            None without `data_variance`.
        errors: The errors of the POIs from the covariance, shape ``(pois,)``.
        refits: The shifts for the auxiliary measurements from fits, down and up; None
            without `refit`.
        pois: Labels of the POIs.
        names: The label of the parameter of each auxiliary measurement.
    """

    auxiliary: Float[Array, "pois names"]
    data: PyTree
    errors: Float[Array, " pois"]
    refits: RefitImpacts | None
    pois: tuple[str, ...] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)

    @property
    def systematic(self) -> Float[Array, " pois"]:
        """The part of the error that comes from the auxiliary measurements."""
        return sum_in_quadrature(self.auxiliary)

    @property
    def statistical(self) -> Float[Array, " pois"] | None:
        """The part of the error that comes from the main data; None without `data`."""
        if self.data is None:
            return None
        return sum_in_quadrature(*jax.tree.leaves(self.data))

    @property
    def total(self) -> Float[Array, " pois"] | None:
        """The root of the sum of all squares, to compare with `errors`."""
        if self.data is None:
            return None
        return sum_in_quadrature(self.auxiliary, *jax.tree.leaves(self.data))

    def _parts(self) -> Sequence[Part]:
        if is_traced(self) or np.ndim(self.auxiliary) != 2:
            return [f"GlobalImpacts({', '.join(self.pois)}; {len(self.names)} names)"]
        rows = []
        for i, poi in enumerate(self.pois):
            parts = (self.systematic, self.statistical, self.total, self.errors)
            numbers = [p[i] for p in parts if p is not None]
            texts = iter(alike(numbers, float(self.errors[i]), DIGITS))
            rows.append((poi, *("" if p is None else next(texts) for p in parts)))
        heads = ("POI", "auxiliary data", "main data", "in quadrature", "error")
        return [Table([heads, *rows])]


@renamed_keywords(pois="poi")
@takes_options(RefitOptions)
def global_impacts(
    nll_fn: Nll | AbstractModel,
    result: FitResult,
    observation: Any = None,
    *,
    poi: Key | Collection[Key],
    data_variance: Any = "model",
    constraints: Mapping[Key, AbstractConstraint] | None = None,
    covariance: Float[Array, "free free"] | None = None,
    refit: bool = False,
    batch_size: int | None = None,
    throw: bool = True,
    **options: Unpack[RefitOptions],
) -> GlobalImpacts:
    r"""Return the shift of an estimate for a fluctuation of each measurement.

    With the covariance C and the data d, auxiliary ones included, the derivatives of
    the estimates are

    .. math:: \frac{d\hat\theta}{dd} = -C\,
              \frac{\partial^2 (-\ln L)}{\partial\theta\,\partial d} ,

    and an impact is this times the standard deviation of the datum: for an auxiliary
    measurement it follows from its constraint at the best fit, for the main data from
    `data_variance`. For correlated measurements the fluctuations are those uncorrelated
    ones that are most similar to the single measurements (arXiv:1512.00809, ZCA-cor).
    The computation takes one gradient of the likelihood for each POI. See
    arXiv:2307.04007, where these are the *global* impacts.

    Args:
        nll_fn: The fitted likelihood.
        result: Its best fit.
        observation: Second argument of `nll_fn`; None for the data of a Model.
        poi: Keys or labels of the parameters of interest.
        data_variance: The variances of the main data, or None to leave out the main
            data. ``"model"`` means the variances that the Model defines
            (`measurement_variance`), or ``"poisson"`` without these; ``"poisson"``
            means the expectation at the best fit, which is right for counts only.
            Otherwise variances like the main data, for a combination by the name of the
            model: arrays or lists that broadcast to the data, a matrix for a vector of
            correlated data, ``"poisson"`` for a part that are counts, None for data
            that do not fluctuate; or one of these for several data. The main data of a
            plain function are its whole observation.
        constraints: As in `rank`.
        covariance: As in `rank`.
        refit: Whether to shift each auxiliary observation and fit again, too; for
            Models.
        batch_size: As in `rank`.
        throw: As in `rank`.
        **options: `RefitOptions`: `bounds`, needed where `nll_fn` is a plain function;
            `solver` and `max_steps`.

    Raises:
        ArgumentValueError: If the variances of the data are not known, or for `refit`
            with a plain function.
        ShapeMismatchError: If the shape of `data_variance` does not fit the data.

    Warns:
        UserWarning: If the squares of the impacts with Poisson variances differ from
            the variance of the POI by more than a factor of four, so that the data are
            not counts. If a POI is held at a bound, without `refit`.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.parameters import Normal
        >>> model = ew.Model(
        ...     lambda p, y: 0.5 * ((y - p["mu"] - p["theta"]) / 3.0) ** 2,
        ...     {"mu": 0.0, "theta": 0.0},
        ...     5.0,
        ...     constraints={"theta": Normal(0.0, 4.0)},
        ... )
        >>> out = global_impacts(model, ew.fit(model), poi="mu", data_variance=9.0)
        >>> print(out.auxiliary.round(6), out.data.round(6), out.total.round(6))
        [[-4.]] [3.] [5.]
    """
    fit = fitted(result, constraints, covariance)
    place = positions(poi, fit, where="poi")
    is_model = isinstance(nll_fn, AbstractModel)
    _check_options(data_variance, is_model=is_model, refit=refit)
    measurements = auxiliary_of(fit)
    shifts = lambda fit: _auxiliary_shifts(fit, measurements, place)
    fit, (errors, rows, auxiliary) = computed(fit, shifts, throw=throw)
    data = None
    if data_variance is not None:
        data = _data_shifts(nll_fn, fit, observation, rows, data_variance)
    refits = None
    if refit:
        problem = posed(nll_fn, fit, observation, **options)
        refits = _refits(problem, fit, measurements, place, batch_size)
    else:
        cure = ", or move the data by fits, refit=True"
        warn_if_held(fit, place, errors, cure=cure, stacklevel=5)
    impacts = GlobalImpacts(
        auxiliary=auxiliary,
        data=data,
        errors=errors,
        refits=refits,
        pois=tuple(result.labels[i] for i in place),
        names=measurements.labels,
    )
    assumed = isinstance(data_variance, str)
    if assumed and _variance_method(nll_fn, data_variance) is None:
        _warn_if_far_off(impacts)
    return impacts


def _check_options(data_variance: Any, *, is_model: bool, refit: bool) -> None:
    if isinstance(data_variance, str) and data_variance not in ("model", "poisson"):
        raise ArgumentValueError(
            "data_variance: expected 'model', 'poisson', variances like the data, or "
            f"None, got {data_variance!r}."
        )
    if isinstance(data_variance, str) and not is_model:
        raise ArgumentValueError(
            "data_variance: a function alone does not tell what data it expects, so it "
            "has no Poisson variances. Give variances in the structure of the "
            "observation (None for what does not fluctuate), or data_variance=None."
        )
    if refit and not is_model:
        raise ArgumentValueError(
            "refit: a function alone does not tell which of its data are auxiliary "
            "ones, so they cannot be moved. Build a Model with constraints."
        )


def _auxiliary_shifts(fit: Fitted, known: Auxiliary, poi: np.ndarray) -> Any:
    _, vector, others = ravel_state(fit.result.params)
    args = (fit.curvature, known, vector, others, fit.free, poi)
    return on_host(programs.call(_compiled_auxiliary, *args))


def _compiled_auxiliary(curvature, known: Auxiliary, vector, others, free, poi):
    covariance = covariance_from(*curvature)
    errors = errors_from(covariance)[poi]
    rows = unless_held(covariance[poi], errors)
    shifts, _ = shifts_of(rows, known, vector, others, free)
    return errors, scattered(rows, free, known.layout.size), shifts


def _data_shifts(
    nll_fn: Any, fit: Fitted, observation: Any, rows: Any, data_variance: Any
) -> Any:
    objective, observation, point = likelihood_at(nll_fn, fit.result, observation, None)
    main = observation["main"] if isinstance(nll_fn, AbstractModel) else observation
    data_variance = as_arrays(like_data(data_variance, main), "data_variance")
    args = (objective, point, observation, rows, data_variance)
    return evaluate_at(_respond, *args)[0]


def _respond(task: Task, numbers: Numbers, rows: Array, data_variance: Any) -> Any:
    """Return the shifts for the main data."""
    model = task.objective
    params = task.params(numbers, task.start(numbers))
    if isinstance(data_variance, str):
        method = _variance_method(model, data_variance)
        data_variance = (
            model.expected(params)
            if method is None
            else method(params, numbers.observation)["main"]
        )
    elif contains_counts(data_variance):
        data_variance = with_expectations(data_variance, model.expected(params))
    return times_deviation(derivatives_by_data(task, numbers, rows), data_variance)


def _variance_method(model: Any, data_variance: str) -> Callable[..., Any] | None:
    """Return the method that returns variances, or None for Poisson variances."""
    return (
        getattr(model, "measurement_variance", None)
        if data_variance == "model"
        else None
    )


def _warn_if_far_off(impacts: GlobalImpacts) -> None:
    if is_traced(impacts):
        return
    total, errors = impacts.total, impacts.errors
    assert total is not None
    ratio = total / errors
    off = ~((ratio < FAR_OFF) & (ratio > 1 / FAR_OFF)) & np.isfinite(errors)
    if np.any(off):
        names = ", ".join(np.asarray(impacts.pois)[off])
        warnings.warn(
            f"global_impacts: with Poisson variances of the main data, the squares of "
            f"the impacts on {names} add up to {ratio[off][0] ** 2:.3g} times the "
            "variance instead of 1. If the main data are no counts, give their "
            "variances: data_variance=...",
            stacklevel=5,
        )


def _refits(
    posed_fit: Any, fit: Fitted, known: Auxiliary, poi: Any, batch_size: int | None
) -> RefitImpacts:
    problem, setting = posed_fit
    _, vector, others = ravel_state(fit.result.params)
    place, size = _observed_places(problem.numbers.observation["aux"], known)
    args = (fit.curvature, known, vector, others, fit.free, place, size)
    moves, steps = programs.call(_compiled_moves, *args)
    return refit_auxiliary(problem, setting, poi, moves, steps, batch_size)


def _observed_places(aux: Mapping[Key, Any], known: Auxiliary) -> tuple[Any, int]:
    """Return the first position of each name in the ravelled auxiliary observations.

    Returns:
        The positions, and the number of all observations.
    """
    leaves, structure = jax.tree.flatten(aux)
    ends = np.cumsum([0, *(np.size(leaf) for leaf in leaves)])
    numbered = [
        np.arange(start, end).reshape(np.shape(leaf))
        for start, end, leaf in zip(ends[:-1], ends[1:], leaves, strict=True)
    ]
    # The structure may be a table, which looks up the numbers of a name.
    numbers = structure.unflatten(numbered)
    names = (*known.single, *known.joint)
    return {name: int(np.ravel(numbers[name])[0]) for name in names}, int(ends[-1])


def _compiled_moves(
    curvature, known: Auxiliary, vector, others, free, place: dict[Any, int], size: int
) -> tuple[Array, Array]:
    """Return the shifts of the auxiliary observations, and those of the estimates."""
    covariance = covariance_from(*curvature)
    steps, information = shifts_of(covariance, known, vector, others, free)
    sizes = fluctuations(known, vector, others, information)
    moves = jnp.zeros((known.layout.size, size))
    for name, constraint in {**known.single, **known.joint}.items():
        joint = isinstance(constraint, MultivariateNormal)
        here = constrained_elements(name, constraint, known.layout)
        there = place[name] + np.arange(here.size)
        block = sizes[name].T if joint else jnp.diag(jnp.ravel(sizes[name]))
        moves = moves.at[np.ix_(here, there)].set(block)
    return moves[known.elements], steps.T
