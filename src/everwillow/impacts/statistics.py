"""The statistical parts of errors, from the data and from simulated samples."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import ArgumentTypeError
from everwillow._html import Part, Shown, Table
from everwillow._keywords import renamed_keywords
from everwillow._numerics import is_traced, namespace
from everwillow._rounding import alike
from everwillow._typing import Key
from everwillow.engine import programs
from everwillow.engine.covariance import covariance_of
from everwillow.engine.layout import on_host
from everwillow.fitting import FitResult
from everwillow.impacts._auxiliary_fluctuations import auxiliary_of
from everwillow.impacts.best_fit import (
    computed,
    fitted,
    held_is_known,
    positions,
    warn_if_held,
)
from everwillow.impacts.definitions import (
    DIGITS,
    covariance_from,
    errors_from,
    group_variances,
    rest_in_quadrature,
)
from everwillow.impacts.fluctuations import global_impacts
from everwillow.model import AbstractModel
from everwillow.parameters import AbstractConstraint
from everwillow.uncertainty.fisher_information import likelihood_at, second_derivatives


class StatisticalImpacts(Shown, eqx.Module):
    """The parts of errors from the finite number of events in data and in simulation.

    Every array has the shape ``(pois,)``. The traditional impacts come from fits with
    the systematic parameters held: `data` is the error with the templates held, too,
    and `simulation` the increase in quadrature with templates that may fluctuate. The
    global impacts are the contributions of the fluctuations; with those of the
    auxiliary measurements they add up to the error in quadrature.

    Attributes:
        data: Traditional impact of the data.
        simulation: Traditional impact of the simulated samples.
        data_global: Global impact of the data: the rest of the error in quadrature.
        simulation_global: Global impact of the simulated samples.
        errors: The errors of the POIs.
        pois: Labels of the POIs.
    """

    data: Float[Array, " pois"]
    simulation: Float[Array, " pois"]
    data_global: Float[Array, " pois"]
    simulation_global: Float[Array, " pois"]
    errors: Float[Array, " pois"]
    pois: tuple[str, ...] = eqx.field(static=True)

    def _parts(self) -> Sequence[Part]:
        if is_traced(self) or np.ndim(self.errors) != 1:
            return [f"StatisticalImpacts({', '.join(self.pois)})"]
        heads = ("POI", "error", "data", "simulation", "data (global)")
        columns = (self.errors, self.data, self.simulation)
        columns += (self.data_global, self.simulation_global)
        rows = [
            (poi, *alike((c[i] for c in columns), float(self.errors[i]), DIGITS))
            for i, poi in enumerate(self.pois)
        ]
        return [Table([(*heads, "simulation (global)"), *rows])]


@renamed_keywords(pois="poi")
def statistical_impacts(
    model: AbstractModel,
    result: FitResult,
    observation: Any = None,
    *,
    poi: Key | Collection[Key],
    constraints: Mapping[Key, AbstractConstraint] | None = None,
    covariance: Float[Array, "free free"] | None = None,
    throw: bool = True,
) -> StatisticalImpacts:
    r"""Split statistical errors into those of the data and of the simulated samples.

    This is for models that profile the statistics of their templates inside the
    likelihood, such as `everwillow.models.templates.TemplateModel`; if these are
    parameters of the model, use `group_impacts`. With the Hessians H, in which the
    templates are profiled, and H', in which they are held, both without the rows of
    constrained parameters, the traditional impacts are

    .. math:: \sigma_\text{data} = \sqrt{(H'^{-1})_{ii}}, \qquad
              \sigma_\text{sim}^2 = (H^{-1})_{ii} - (H'^{-1})_{ii} .

    Args:
        model: The Model that was fitted.
        result: Its best fit.
        observation: The fitted data; None for the data of the Model.
        poi: Keys or labels of the parameters of interest.
        constraints: As in `rank`.
        covariance: As in `rank`.
        throw: As in `rank`.

    Raises:
        ArgumentTypeError: If `model` does not profile the statistics of templates.

    Warns:
        UserWarning: If a POI is held at a bound.

    Example:
        A signal of 100 events, known from a sample of 400, in 110 events of data:

        >>> import everwillow as ew
        >>> from everwillow.models.templates import TemplateBuilder
        >>> builder = TemplateBuilder()
        >>> builder.add_channel([("x", [0.0, 1.0])], "ch0")
        >>> signal, variance = np.array([100.0]), np.array([25.0])
        >>> builder.add_process(signal, "w", "ch0", signal=True, variances=variance)
        >>> builder.add_data(np.array([110.0]), "ch0")
        >>> model = builder.build()
        >>> statistical_impacts(model, ew.fit(model), poi="w")
        POI  error  data   simulation  data (global)  simulation (global)
        w    0.118  0.105  0.055       0.105          0.055
    """
    diagnostics = getattr(model, "diagnostics", None)
    if diagnostics is None or not diagnostics.simulated:
        raise ArgumentTypeError(
            f"model: this {type(model).__name__} does not profile the statistics of "
            "simulated samples. If it has parameters for them, name these as a group: "
            "group_impacts(result, groups={'simulation': 'staterror*'}, ...)."
        )
    fit = fitted(result, constraints, covariance)
    place = positions(poi, fit, where="poi")
    observed = model.observation if observation is None else observation
    held = diagnostics.with_simulation_held(result.params, observed)
    situation = likelihood_at(held, result, held.observation, None)
    without = second_derivatives(held, situation)
    constrained = np.isin(fit.free, auxiliary_of(fit).elements)
    constrained[place] = False

    def parts(fit: Any) -> Any:
        args = (fit.curvature, without, result.at_bound, place, constrained)
        return on_host(programs.call(_parts, *args))

    fit, (errors, data, simulation) = computed(fit, parts, throw=throw)
    warn_if_held(fit, place, errors)
    spread = diagnostics.simulation_variance()
    with held_is_known():
        moved = global_impacts(
            model,
            result,
            observed,
            poi=poi,
            data_variance=spread,
            constraints=constraints,
            covariance=covariance,
            throw=throw,
        )
    samples, auxiliary = moved.statistical, moved.systematic
    assert samples is not None
    xp = namespace(errors, samples)
    others = xp.sqrt(samples**2 + auxiliary**2)
    return StatisticalImpacts(
        data=data,
        simulation=simulation,
        data_global=rest_in_quadrature(errors, others),
        simulation_global=samples,
        errors=errors,
        pois=tuple(result.labels[i] for i in place),
    )


def _parts(curvature: Any, without: Any, at_bound: Any, poi: Any, constrained: Any):
    """Return the errors and their traditional parts."""
    covariance = covariance_from(*curvature)
    members = jnp.asarray(constrained)[None, :]
    variance = jnp.diagonal(covariance)[poi]
    left = variance - group_variances(covariance, poi, members)[:, 0]
    held = jnp.asarray(at_bound) | members[0]
    inside = jnp.diagonal(covariance_of(jnp.asarray(without), held))[poi]
    # Profiling makes an error smaller by rounding only.
    difference = jnp.maximum(left - inside, 0)
    errors = errors_from(covariance)[poi]
    # A POI at a bound has no error.
    parts = (jnp.where(jnp.isnan(errors), jnp.nan, v) for v in (inside, difference))
    return errors, *map(_root, parts)


def _root(square: Array) -> Array:
    """Return a root that has a derivative where it is zero."""
    positive = square > 0
    root = jnp.sqrt(jnp.where(positive, square, 1))
    return jnp.where(positive, root, jnp.where(square == 0, 0, jnp.nan))
