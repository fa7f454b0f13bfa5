"""The model of a run: its data, its parameters, and which of them are frozen."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from everwillow._errors import ArgumentValueError, nearest, unknown_key
from everwillow._typing import Key
from everwillow.likelihood.templates.spec import TemplateSpec
from everwillow.models.templates.model import TemplateModel
from everwillow.models.templates.rates import nominal_yields, rate_model_of
from everwillow.statelib.transform import update
from everwillow.toys import asimov_data
from everwillow.workflows.fixed import fixed_parameters
from everwillow.workflows.templates.fit_options import ModelOptions
from everwillow.workflows.templates.parameters import parse_parameters
from everwillow.workflows.templates.regularisation import curvatures_of


OBSERVED, ASIMOV, TOYS = "data", "asimov", "toys"


def model_of(spec: TemplateSpec, options: ModelOptions) -> tuple[TemplateModel, str]:
    """Return the model that is fitted, and the name of its data.

    Args:
        spec: The specification of the template fit.
        options: The options of the model and of its data.
    """
    if options.sparse is not None:
        spec = dataclasses.replace(spec, sparse=bool(options.sparse))
    data = _chosen_data(spec, options.data)
    parameters, starts = options.parameters, dict(options.starts or {})
    if isinstance(parameters, str):
        parameters = parse_parameters(parameters, spec)
    rates = rate_model_of(spec, parameters)
    known = rates.parameters()
    own = {name: value for name, value in starts.items() if name in known}
    if own:
        rates = rates.with_starts(own)
    others = {name: starts[name] for name in starts if name not in own}
    regularisation = curvatures_of(options.regularise, options.strength, spec.layout)

    def with_counts(counts: Any) -> TemplateModel:
        model = TemplateModel.from_spec(
            spec,
            parameters=rates,
            data=counts,
            likelihood=options.likelihood,
            statistics=options.statistics,
            per_process=options.per_process,
            profile=options.profile,
            regularisation=regularisation,
            blind=options.blind,
            unblind=options.unblind,
        )
        return _with_starts_and_frozen(model, others, options.fixed)

    if data in spec.pseudodata:
        return with_counts(data), data
    if data == OBSERVED:
        return with_counts(None), data
    empty = 0.0 if options.likelihood == "poisson" else 1.0
    asimov = _asimov(with_counts, spec, empty)
    model = with_counts(np.asarray(asimov["main"]["counts"]))
    # The auxiliary data are Asimov data as well; the minimum is elsewhere otherwise.
    return dataclasses.replace(model, observation=asimov), data


def _chosen_data(spec: TemplateSpec, data: str | None) -> str:
    """Return the name of the data; raise an error that lists all data otherwise."""
    missing = not np.all(np.isfinite(spec.observed))
    if data is None:
        data = OBSERVED
    names = [*spec.pseudodata, *([] if missing else [OBSERVED]), ASIMOV, TOYS]
    if data in names:
        return data
    if data == OBSERVED:
        raise ArgumentValueError(
            "data: there are no data, or not in all fitted channels. Add them with "
            f"add_data, or choose other data: {', '.join(names)}."
        )
    hint = nearest(data, names)
    raise ArgumentValueError(
        f"data: there are no data {data!r}.{hint} The data are: {', '.join(names)}."
    )


def _asimov(
    with_counts: Callable[[Any], TemplateModel], spec: TemplateSpec, empty: float
) -> dict[str, Any]:
    """Return the Asimov data at the start values, including auxiliary data.

    Args:
        with_counts: A function that makes the model of given counts.
        spec: The specification of the template fit.
        empty: Counts in bins without expected events.
    """
    # A model needs data, as their variances may be those of the data.
    nominal = nominal_yields(spec).sum(0)[: spec.layout.fitted]
    model = with_counts(np.where(nominal > 0, nominal, empty))
    held = {key: np.where(np.isnan(v), 0.0, v) for key, v in model.fixed.items()}
    state = update(model.state, held)
    return jax.tree.map(np.asarray, asimov_data(model, state))


def _with_starts_and_frozen(
    model: TemplateModel, starts: Mapping[str, float], fixed: Any
) -> TemplateModel:
    """Return the model with start values of systematics and frozen parameters."""
    for name in starts:
        if name not in model.state:
            raise unknown_key(name, model.state, where="starts")
    if starts:
        values: dict[Key, Any] = {
            name: np.asarray(_reported(model, name, value))
            for name, value in starts.items()
        }
        model = dataclasses.replace(model, state=update(model.state, values))
    fixed = (fixed,) if isinstance(fixed, str) else fixed
    settings = fixed if isinstance(fixed, Mapping) else dict.fromkeys(fixed)
    if not settings:
        return model
    held: dict[Key, Any] = {}
    for pattern, value in settings.items():
        for key, start in fixed_parameters(model, {pattern: None}).items():
            here = start if value is None else _reported(model, key, value)
            held[key] = np.asarray(here)
    return dataclasses.replace(model, fixed={**model.fixed, **held})


def _reported(model: TemplateModel, name: Key, value: float) -> float:
    """Return a physical value on the scale of the model, which may be hidden."""
    hidden = model.terms.hidden
    if hidden is None:
        return float(value)
    i = list(model.state).index(name)
    return float(value * np.asarray(hidden.factor)[i] + np.asarray(hidden.offset)[i])


def prefit_errors(model: TemplateModel, error: float | None) -> dict[Key, Any]:
    """Return the prefit errors of systematics without a constraint."""
    if error is None:
        return {}
    return {
        s.name: float(error)
        for s in model.spec.systematics
        if not s.constrained and s.name not in model.fixed
    }
