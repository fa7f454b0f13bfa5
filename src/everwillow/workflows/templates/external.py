"""Results of another fit, as start values or in place of a fit."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import RESULTS, ArgumentValueError, NameOnly
from everwillow.engine import programs
from everwillow.engine.core import Task
from everwillow.engine.layout import Layout, ravel_state
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.fitting.run import prepare_task, resolve
from everwillow.mappings import nominal_covariance
from everwillow.models.templates.model import TemplateModel
from everwillow.workflows.fixed import fixed_parameters, frozen_elements
from everwillow.workflows.report import FitSummary
from everwillow.workflows.templates.fit_records import template_summary
from everwillow.workflows.templates.model import OBSERVED
from everwillow.workflows.templates.results import TemplateResults


# The largest EDM, in units of -ln L, of values that count as a minimum of these data.
MAX_EDM = 1e-3
NOT_FITTED = "Values and covariance of another result, not fitted again."


class FitOutcome(NamedTuple):
    """The fit of a run, or the result of another fit in its place.

    Attributes:
        model: The fitted model; with the result of another fit, parameters without an
            error are frozen.
        result: The fit: values with their covariance.
        summary: The summary of the fit.
        remarks: Assumptions.
        at_minimum: Whether -ln L of the model has its minimum there.
    """

    model: TemplateModel
    result: FitResult
    summary: FitSummary
    remarks: tuple[str, ...]
    at_minimum: bool


def with_start_values_of(
    model: TemplateModel, other: TemplateResults, data: str
) -> TemplateModel:
    """Return the model with the values of another fit as start values.

    Args:
        model: The model.
        other: The other results. Parameters that only one of both has keep their start
            values, and so do hidden ones that are not hidden by the same number.
        data: The name of the data that are fitted.
    """
    layout, start, others = ravel_state(model.state)
    values = np.array(start, float)
    same = _same_source(other, data)
    hidden = set(map(str, model.hidden))
    for name, value, blinded in _rows(other):
        is_same = blinded == (name in hidden) and (same or not blinded)
        if name in layout.labels and np.isfinite(value) and is_same:
            values[layout.labels.index(name)] = value
    lower, upper = (np.asarray(b) for b in (model.bounds.lower, model.bounds.upper))
    inside = np.clip(values, lower, upper)
    return dataclasses.replace(model, state=layout.state(inside, others))


def _rows(other: TemplateResults) -> zip:
    table = other.parameters
    return zip(table.names, table.values.tolist(), table.blinded.tolist(), strict=True)


def _same_source(other: TemplateResults, data: str) -> bool:
    """Return whether the hidden numbers belong to the same kind of data."""
    return (other.data == OBSERVED) == (data == OBSERVED)


def outcome_of_other_fit(
    model: TemplateModel, other: TemplateResults, data: str
) -> FitOutcome:
    """Use the values and the covariance of another fit in place of a fit of the model.

    Args:
        model: The model. Its parameters that the other fit did not have keep their
            start value and the width of their constraint, and are frozen without one.
        other: The results. Parameters that the model does not have are left out, which
            integrates over them.
        data: The name of the data that are fitted.

    Raises:
        ArgumentValueError: If the fit failed or has no covariance, if its parameters
            are hidden by other numbers, or if one is frozen that it fitted.
    """
    if not other.fit.success or other.covariance is None:
        raise ArgumentValueError(
            "from_result: that fit failed, or has no covariance to be propagated."
        )
    _check_hidden(model, other, data)
    layout, start, others = ravel_state(model.state)
    values, rows = np.array(start, float), {}
    for name, value, _ in _rows(other):
        if name in layout.labels and np.isfinite(value):
            rows[name] = value
            values[layout.labels.index(name)] = value
    model, remarks = _frozen(model, layout, other, rows, values)
    free = [n for n in _free(model, layout) if n]
    covariance, at_bound = _covariance(model, other, free)
    state = layout.state(values, others)
    moved = dataclasses.replace(model, state=state)
    task, numbers = prepare_task(resolve(moved), max_steps=1)
    nll, slope = programs.call(_slope, task, numbers)
    index = np.asarray(numbers.index)[np.asarray(numbers.mask)]
    gradient = np.asarray(slope)[np.asarray(numbers.mask)]
    inner = np.where(at_bound, 0.0, gradient)
    edm = float(inner @ covariance @ inner) / 2
    result = FitResult.of(
        params=state,
        nll=np.asarray(nll),
        success=np.asarray(True),
        status=RESULTS.successful,
        edm=np.asarray(edm),
        num_steps=np.asarray(0),
        gradient=inner,
        hessian=_inverse(covariance, at_bound, _errors(other, free)),
        at_bound=at_bound,
        newton=-covariance @ inner,
        bound_distances=None,
        solver_result=None,
        constraints=model.constraints,
        free=tuple(index.tolist()),
        layout=task.layout,
    )
    at_minimum = edm < MAX_EDM
    if not at_minimum:
        remarks.append(
            f"The values are no minimum for these data (EDM {edm:.2g}): there is no "
            "goodness of fit."
        )
    summary = dataclasses.replace(template_summary(model, result), status=NOT_FITTED)
    if not at_minimum:
        summary = dataclasses.replace(summary, saturated=None)
    return FitOutcome(model, result, summary, tuple(remarks), at_minimum)


def _slope(task: Task, numbers: Numbers) -> tuple[Array, Array]:
    start = task.start(numbers)
    return jax.value_and_grad(lambda x: task.value(numbers, x))(jnp.asarray(start))


def _check_hidden(model: TemplateModel, other: TemplateResults, data: str) -> None:
    hidden = set(map(str, model.hidden))
    hidden_there = {name for name, _, blinded in _rows(other) if blinded}
    known = set(map(str, model.state))
    if hidden_there & known != hidden & set(other.parameters.names):
        raise ArgumentValueError(
            "from_result: other parameters are hidden there than here. Give the same "
            "{blind} and {unblind}.",
            settings=dict.fromkeys(("blind", "unblind"), NameOnly),
        )
    if hidden and not _same_source(other, data):
        raise ArgumentValueError(
            "from_result: fits of data and of simulated data have different hidden "
            "numbers."
        )


def _free(model: TemplateModel, layout: Layout) -> list[str]:
    """Return the labels of the free parameters, empty ones for the frozen."""
    return np.where(frozen_elements(model, layout), "", layout.labels).tolist()


def _frozen(
    model: TemplateModel,
    layout: Layout,
    other: TemplateResults,
    rows: Mapping[str, float],
    values: np.ndarray,
) -> tuple[TemplateModel, list[str]]:
    """Freeze what the other fit did not fit; return remarks on assumptions."""
    assert other.covariance is not None
    fitted, free = set(other.covariance.names), _free(model, layout)
    known = set(layout.labels)
    clash = sorted(fitted & (known - set(free)))
    if clash:
        raise ArgumentValueError(
            f"fixed: {', '.join(clash)} was fitted in the result of the other fit. "
            "Fix it in that fit."
        )
    constrained = {str(name) for name in model.constraints}
    added = [n for n in free if n and n not in rows and n.split("[")[0] in constrained]
    held = {
        name: float(value)
        for name, value in zip(free, values, strict=True)
        if name and name not in fitted and name not in added
    }
    remarks = ["Values and covariance are those of another result, without a fit."]
    unknown = sorted({n for n in free if n and n not in rows} - set(added))
    for names, text in (
        (added, "not in that result; they have the errors of their constraints"),
        (unknown, "not in that result and have no constraint; they count as known"),
        (sorted(fitted - known), "of that result have no effect here"),
    ):
        if names:
            remarks.append(f"{', '.join(names)}: {text}.")
    more = fixed_parameters(model, held)
    return dataclasses.replace(model, fixed={**model.fixed, **more}), remarks


def _covariance(
    model: TemplateModel, other: TemplateResults, free: list[str]
) -> tuple[Float[np.ndarray, "n n"], np.ndarray]:
    """Return the covariance of the free parameters, and which are at a bound."""
    assert other.covariance is not None
    matrix = np.array(nominal_covariance(model), float)
    place = {name: i for i, name in enumerate(other.covariance.names)}
    rows = [i for i, name in enumerate(free) if name in place]
    others = [place[free[i]] for i in rows]
    matrix[np.ix_(rows, rows)] = other.covariance.matrix[np.ix_(others, others)]
    table = other.parameters
    ended = {n for n, one in zip(table.names, table.at_bound, strict=True) if one}
    return matrix, np.array([name in ended for name in free], bool)


def _errors(other: TemplateResults, free: list[str]) -> np.ndarray:
    """Return the errors of parameters, one-sided ones at bounds."""
    table = other.parameters
    errors = dict(zip(table.names, table.errors.tolist(), strict=True))
    return np.array([errors.get(name, np.nan) for name in free])


def _inverse(
    covariance: np.ndarray, at_bound: np.ndarray, errors: np.ndarray
) -> np.ndarray:
    """Return the Hessian that belongs to a covariance, and to errors at bounds."""
    hessian = np.diag(np.where(at_bound & (errors > 0), 1 / errors**2, 1.0))
    inner = np.flatnonzero(~at_bound)
    scale = np.sqrt(np.diagonal(covariance)[inner])
    unit = covariance[np.ix_(inner, inner)] / np.outer(scale, scale)
    hessian[np.ix_(inner, inner)] = np.linalg.inv(unit) / np.outer(scale, scale)
    return hessian
