"""The model of a run: which data, which parameters, which of them are held."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

from everwillow._errors import ArgumentValueError, nearest, unknown_key
from everwillow._typing import Key
from everwillow.likelihood.templates.spec import TemplateSpec
from everwillow.models.templates.likelihood.compilation import rate_model_of
from everwillow.models.templates.model import TemplateModel
from everwillow.models.templates.rates.nominal import nominal_yields
from everwillow.statelib.transform import update
from everwillow.toys import asimov_data
from everwillow.workflows.histfactory import fixed_parameters
from everwillow.workflows.templates.parameters import parse_parameters


Starts: TypeAlias = Mapping[str, float]
OBSERVED, ASIMOV, TOYS = "data", "asimov", "toys"


def model_of(
    spec: TemplateSpec,
    *,
    data: str | None,
    parameters: Any,
    starts: Starts | None,
    freeze: Sequence[str] | Mapping[str, float | None],
    **options: Any,
) -> tuple[TemplateModel, str]:
    """Return the model that is fitted, and what its data are called.

    Args:
        spec: What the builder says.
        data: As in `everwillow.workflows.templates.run`, as is what follows.
        parameters: See there.
        starts: See there.
        freeze: See there.
        options: Of `TemplateModel.from_spec`.
    """
    what = _chosen(spec, data)
    if isinstance(parameters, str):
        parameters = parse_parameters(parameters, spec)
    starts = dict(starts or {})
    rates = rate_model_of(spec, parameters)
    known = rates.parameters()
    own = {name: value for name, value in starts.items() if name in known}
    if own:
        rates = rates.with_starts(own)
    others = {name: starts[name] for name in starts if name not in own}

    def made(counts: Any) -> TemplateModel:
        model = TemplateModel.from_spec(spec, parameters=rates, data=counts, **options)
        return _arranged(model, others, freeze)

    if what in spec.pseudodata:
        return made(what), what
    if what == OBSERVED:
        return made(None), what
    poisson = options.get("likelihood", "poisson") == "poisson"
    asimov = _asimov(made, spec, 0.0 if poisson else 1.0)
    model = made(np.asarray(asimov["main"]["counts"]))
    # With the auxiliary data there too, or the fit would end between both.
    return dataclasses.replace(model, observation=asimov), what


def _chosen(spec: TemplateSpec, data: str | None) -> str:
    """Return what to fit, or say what there is."""
    missing = not np.all(np.isfinite(spec.observed))
    if data is None:
        data = OBSERVED
    names = [*spec.pseudodata, *([] if missing else [OBSERVED]), ASIMOV, TOYS]
    if data in names:
        return data
    if data == OBSERVED:
        raise ArgumentValueError(
            "data: there are no data, or not in all fitted channels. Add them with "
            f"add_data, or say what to fit: {', '.join(names)}."
        )
    hint = nearest(data, names)
    raise ArgumentValueError(
        f"data: there is no {data!r}.{hint} There are: {', '.join(names)}."
    )


def _asimov(made: Any, spec: TemplateSpec, nothing: float) -> dict[str, Any]:
    """Return the Asimov data at the start values, auxiliary ones included.

    Args:
        made: Makes the model of given counts.
        spec: What the builder says.
        nothing: Counts where nothing is expected.
    """
    # Variances may be those of the data, so there have to be some for a model to be.
    nominal = nominal_yields(spec).sum(0)[: spec.layout.fitted]
    model = made(np.where(nominal > 0, nominal, nothing))
    held = {key: np.where(np.isnan(v), 0.0, v) for key, v in model.fixed.items()}
    state = update(model.state, held)
    return jax.tree.map(np.asarray, asimov_data(model, state))


def _arranged(model: TemplateModel, starts: Mapping[str, float], freeze: Any):
    """Move the start values of systematics, and hold what is frozen."""
    for name in starts:
        if name not in model.state:
            raise unknown_key(name, model.state, where="starts")
    if starts:
        values: dict[Key, Any] = {
            name: np.asarray(_reported(model, name, value))
            for name, value in starts.items()
        }
        model = dataclasses.replace(model, state=update(model.state, values))
    freeze = (freeze,) if isinstance(freeze, str) else freeze
    settings = freeze if isinstance(freeze, Mapping) else dict.fromkeys(freeze)
    if not settings:
        return model
    held: dict[Key, Any] = {}
    for pattern, value in settings.items():
        for key, start in fixed_parameters(model, {pattern: None}).items():
            here = start if value is None else _reported(model, key, value)
            held[key] = np.asarray(here)
    return dataclasses.replace(model, fixed={**model.fixed, **held})


def _reported(model: TemplateModel, name: Key, value: float) -> float:
    """Return a physical value on the scale of the model, which may be a hidden one."""
    hidden = model.terms.hidden
    if hidden is None:
        return float(value)
    i = list(model.state).index(name)
    return float(value * np.asarray(hidden.factor)[i] + np.asarray(hidden.offset)[i])


def prefit_errors(model: TemplateModel, error: float | None) -> dict[Key, Any]:
    """Return the errors before the fit of systematics without a constraint."""
    if error is None:
        return {}
    return {
        s.name: float(error)
        for s in model.spec.systematics
        if not s.constrained and s.name not in model.fixed
    }


__all__ = ["ASIMOV", "OBSERVED", "TOYS", "Starts", "model_of", "prefit_errors"]
