"""The density of events over the reference density."""

import dataclasses
from typing import Any

import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from everwillow._errors import ShapeMismatchError, unknown_key
from everwillow.models.nsbi.likelihood.packing import pack
from everwillow.models.nsbi.likelihood.sums import densities
from everwillow.models.nsbi.model import NsbiModel
from everwillow.models.nsbi.spec import Events, UnbinnedRegion
from everwillow.statelib import State


def density_ratio(
    model: NsbiModel,
    params: Any,
    events: Events | None = None,
    *,
    region: str | None = None,
) -> Float[Array, " n"]:
    r"""Return :math:`p(x_i | \mu, \alpha) / p_\mathrm{ref}(x_i)` of events.

    The density is that of all samples together; its integral is 1 if the model
    normalises densities. With it the reference sample can be reweighted to any values
    of the parameters.

    Args:
        model: The model.
        params: Pytree of parameters under their original names, or a `State`.
        events: Other events than those of the model, with the ratios of all samples and
            the changes by all nuisance parameters that the model has. For events that
            are given by features, `everwillow.models.nsbi.events_at` evaluates the
            networks of a configuration.
        region: The unbinned region; may be left out if there is only one.

    Returns:
        One number for each event: of `events`, or of the region in the order of
        ``observation["main"]["weights"]``.

    Raises:
        UnknownKeyError: If there is no such region.

    References:
        K. Cranmer, J. Pavez, G. Louppe, arXiv:1506.02169.
    """
    names = [name for name, *_ in model.regions]
    if region is None:
        region = names[0] if len(names) == 1 else ""
    place = model.events_of(region)
    number = names.index(region)
    tree = params.to_pytree() if isinstance(params, State) else params
    vector = ravel_pytree(tree)[0]
    total = model.terms.expected_events(vector)[number]
    if events is None:
        return model.terms.density(vector)[place] / total
    return _of_events(model, vector, events, number) / total


def _of_events(
    model: NsbiModel, vector: Array, events: Events, number: int
) -> Float[Array, " n"]:
    spec, table = model.spec, model.terms.events
    assert spec is not None
    assert table is not None
    region = spec.unbinned[number]
    _check(region, events)
    # Events may have changes by parameters that the model does not have.
    own_changes = {key: events.variations[key] for key in region.events.variations}
    alone = dataclasses.replace(
        region,
        events=dataclasses.replace(events, variations=own_changes),
        reference=None,
        reference_weights=np.zeros(events.weights.size),
    )
    names = sorted({name for _, name in region.events.variations})
    inside = pack(
        dataclasses.replace(spec, unbinned=(alone,)),
        dict.fromkeys(names, 0),
    )
    phi, _ = model.terms.at(vector)
    first = sum(len(samples) for samples in model.samples[:number])
    own = phi[first : first + len(region.samples)]
    local = np.asarray(table.region_parameter)[number, : len(names)]
    alpha = vector[table.places][local]
    return inside.flattened(densities(inside, own, alpha))


def _check(region: UnbinnedRegion, events: Events) -> None:
    """Check that events have what the samples of a region need.

    Raises:
        UnknownKeyError: If the ratios of a sample, or a change, are missing.
        ShapeMismatchError: If lengths do not agree.
    """
    for sample in region.samples:
        if sample.name not in events.ratios:
            raise unknown_key(sample.name, events.ratios, where="events.ratios")
    for key in region.events.variations:
        if key not in events.variations:
            raise unknown_key(key, events.variations, where="events.variations")
    size = np.shape(events.weights)
    changes = [end for change in events.variations.values() for end in change]
    for values in (*events.ratios.values(), *changes):
        if np.shape(values) != size:
            raise ShapeMismatchError(
                f"events: the weights have shape {size}, and ratios {np.shape(values)}."
            )
