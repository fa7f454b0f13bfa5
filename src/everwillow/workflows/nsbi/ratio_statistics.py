r"""The statistical errors of density ratios, beside those of a fit.

A fit takes the ratios as exact. They are not: networks are trained with finitely many
events, and densities are normalised with a finite reference sample. Both change the
gradient of -ln L at the best fit by :math:`\delta g`, and the best fit, to first order,
by :math:`-C\,\delta g` with the covariance C of the fit.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias, final

import equinox as eqx
import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from everwillow._errors import ArgumentValueError
from everwillow._html import Table, html_of
from everwillow._rounding import alike
from everwillow.fitting import FitResult
from everwillow.models.nsbi.likelihood.reference import reference_weights
from everwillow.models.nsbi.model import NsbiModel
from everwillow.models.nsbi.spec import Events, NsbiSpec, UnbinnedRegion, Variation


Ensemble: TypeAlias = Literal["bootstrap", "independent"]


@final
class RatioErrors(eqx.Module):
    """Errors of parameters from the statistics of density ratios.

    All matrices are in the order of `labels`, shape ``(free, free)``.

    Attributes:
        labels: The names of the fitted parameters.
        fit: The covariance of the fit, without these errors.
        ensemble: The part from the networks; zero without ensembles.
        reference: The part from the reference sample; zero without normalisation.
    """

    labels: tuple[str, ...] = eqx.field(static=True)
    fit: Float[np.ndarray, "free free"]
    ensemble: Float[np.ndarray, "free free"]
    reference: Float[np.ndarray, "free free"]

    @property
    def total(self) -> Float[np.ndarray, "free free"]:
        """The covariance of the fit, with both parts added."""
        return self.fit + self.ensemble + self.reference

    @property
    def errors(self) -> dict[str, float]:
        """The total standard error of each parameter."""
        return self._roots(self.total)

    def __str__(self) -> str:
        """Return a table of the errors and their parts."""
        return str(self._table())

    def _repr_html_(self) -> str:
        """Return the same for notebooks."""
        return html_of([self._table()])

    def _table(self) -> Table:
        parts = [self._roots(m) for m in (self.fit, self.ensemble, self.reference)]
        rows: list[tuple[str, ...]] = []
        heads = ("parameter", "fit", "networks", "reference", "total")
        for name, total in self.errors.items():
            numbers = [*(part[name] for part in parts), total]
            rows.append((name, *alike(numbers, total, 3)))
        return Table([heads, *rows])

    def _roots(self, matrix: np.ndarray) -> dict[str, float]:
        roots = np.sqrt(np.diagonal(matrix))
        return dict(zip(self.labels, map(float, roots), strict=True))


def ratio_errors(
    model: NsbiModel,
    result: FitResult,
    *,
    observation: Any = None,
    ensemble: Ensemble = "bootstrap",
    samples: int = 100,
    seed: int = 0,
) -> RatioErrors:
    r"""Return the errors of a fit from the statistics of its density ratios.

    Args:
        model: The model of the fit, with its specification.
        result: The fit.
        observation: The data of the fit; those of the model if None.
        ensemble: The meaning of the members of an ensemble. ``"bootstrap"``: each was
            trained with a resampled set of the same events, so the spread of the
            members is the error of their mean. ``"independent"``: each had events of
            its own, so the error of the mean is smaller by the root of their number.
        samples: The number of resampled reference samples.
        seed: The seed of the resampling.

    Returns:
        The covariance of the fit, and both parts beside it.

    Raises:
        ArgumentValueError: If the fit has no covariance, or if events and reference
            sample have ensembles of different sizes.

    References:
        B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 6.
    """
    spec, covariance = model.spec, result.covariance
    if spec is None or covariance is None or not np.all(np.isfinite(covariance)):
        raise ArgumentValueError(
            "result: a fit with a covariance is needed, and a model with its "
            "specification. Fit the model again, and check result.message()."
        )
    data = model.observation if observation is None else observation
    at, _ = ravel_pytree(result.params.to_pytree())
    free = np.asarray(result.free, int)
    nominal = _gradient(model.flat, at, data)

    def moved(changed: NsbiModel) -> np.ndarray:
        change = np.asarray(_gradient(changed.flat, at, data) - nominal)
        return -np.asarray(covariance) @ change[free]

    return RatioErrors(
        labels=result.labels,
        fit=np.asarray(covariance),
        ensemble=_of_ensembles(model, spec, moved, ensemble, free.size),
        reference=_of_reference(model, spec, moved, samples, seed, free.size),
    )


@eqx.filter_jit
def _gradient(flat: Any, at: Array, data: Any) -> Array:
    return jax.grad(lambda x: flat.nll(x, data))(at)


def _of_ensembles(
    model: NsbiModel, spec: NsbiSpec, moved: Any, meaning: Ensemble, size: int
) -> np.ndarray:
    total = np.zeros((size, size))
    for specs in _member_specs(spec):
        shifts = np.array([moved(_alike(model, one)) for one in specs])
        centred = shifts - shifts.mean(0)
        covariance = centred.T @ centred / (len(shifts) - 1)
        total += covariance / (len(shifts) if meaning == "independent" else 1)
    return total


def _member_specs(spec: NsbiSpec) -> Iterator[list[NsbiSpec]]:
    """Yield for each ensemble the specifications with one member in place of all."""
    for number, region in enumerate(spec.unbinned):
        sets = (region.events.members, region.simulated.members)
        for key in dict.fromkeys((*sets[0], *sets[1])):
            counts = {len(members[key]) for members in sets if key in members}
            if len(counts) > 1:
                raise ArgumentValueError(
                    f"model: the density of sample {key[0]!r} in region "
                    f"{region.name!r} is the mean of "
                    f"{' and of '.join(map(str, sorted(counts)))} networks for events "
                    "and reference sample. Use the same networks for both."
                )
            yield [
                _with_member(spec, number, region, key, place)
                for place in range(counts.pop())
            ]


def _with_member(
    spec: NsbiSpec,
    number: int,
    region: UnbinnedRegion,
    key: tuple[str, str, str],
    place: int,
) -> NsbiSpec:
    changed = dataclasses.replace(
        region,
        events=_replaced(region.events, key, place),
        reference=None
        if region.reference is None
        else _replaced(region.reference, key, place),
        reference_weights=None,
    )
    regions = (*spec.unbinned[:number], changed, *spec.unbinned[number + 1 :])
    return dataclasses.replace(spec, unbinned=regions)


def _replaced(events: Events, key: tuple[str, str, str], place: int) -> Events:
    """Return events with one network for a density, if the ensemble is known there."""
    if key not in events.members:
        return events
    sample, parameter, end = key
    values = events.members[key][place]
    if not parameter:
        return dataclasses.replace(events, ratios={**events.ratios, sample: values})
    change = events.variations[sample, parameter]
    changed = Variation(
        values if end == "down" else change.down, values if end == "up" else change.up
    )
    variations = {**events.variations, (sample, parameter): changed}
    return dataclasses.replace(events, variations=variations)


def _alike(model: NsbiModel, spec: NsbiSpec) -> NsbiModel:
    """Return the model of a specification, with the options of a model."""
    table = model.terms.events
    storage: Any = "float64" if table is None else str(table.ratios.dtype)
    return NsbiModel.from_spec(spec, normalize=model.terms.normalize, storage=storage)


def _of_reference(
    model: NsbiModel, spec: NsbiSpec, moved: Any, samples: int, seed: int, size: int
) -> np.ndarray:
    if not model.terms.normalize or not spec.unbinned:
        return np.zeros((size, size))
    generator = np.random.default_rng(seed)
    shifts = []
    for _ in range(samples):
        weights = {}
        for region in spec.unbinned:
            events = region.simulated
            times = generator.poisson(1.0, np.shape(events.weights))
            drawn = dataclasses.replace(events, weights=events.weights * times)
            named = "events" if region.reference is None else "reference"
            changed: Any = {named: drawn, "reference_weights": None}
            weights[region.name] = reference_weights(
                dataclasses.replace(region, **changed)
            )
        shifts.append(moved(model.with_reference_weights(weights)))
    return np.atleast_2d(np.cov(np.array(shifts).T))
