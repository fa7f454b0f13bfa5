"""Which symbols of an auxiliary distribution are observed, and in which range."""

import dataclasses
import math
from collections.abc import Mapping

from everwillow._errors import SpecificationError
from everwillow.models.hs3.definition import Reference
from everwillow.models.hs3.distributions.base import AbstractDistribution
from everwillow.models.hs3.distributions.composite import (
    ExtendedMixture,
    Mixture,
    RateExtended,
)
from everwillow.models.hs3.distributions.elementary import Gaussian


def swapped(
    distribution: AbstractDistribution, observed: Mapping[str, float]
) -> AbstractDistribution:
    """Exchange variable and mean of a Gaussian if the mean is what was observed."""
    if not isinstance(distribution, Gaussian):
        return distribution
    x, mean = distribution.x, distribution.mean
    is_datum = isinstance(x, float) or x in observed
    if is_datum or not (isinstance(mean, float) or mean in observed):
        return distribution
    return dataclasses.replace(distribution, x=mean, mean=x)


def natural_range(
    distribution: AbstractDistribution, *, observed: bool
) -> tuple[float, float]:
    """Return the range over which it is normalised by itself; NaN if it is not."""
    support = _support(distribution)
    if support is not None:
        return support
    if observed:
        raise SpecificationError(
            f"distributions/{distribution.name}: it can only be normalised over a "
            "finite range; give its datum an axis with a min and a max."
        )
    return (math.nan, math.nan)


def _support(distribution: AbstractDistribution) -> tuple[float, float] | None:
    parts: tuple[AbstractDistribution, ...] = ()
    if isinstance(distribution, Mixture | ExtendedMixture):
        parts = distribution.summands
    elif isinstance(distribution, RateExtended):
        parts = (distribution.dist,)
    if not parts:
        return distribution.support
    supports = [_support(part) for part in parts]
    known = [support for support in supports if support is not None]
    if len(known) < len(supports):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def all_bound(
    originals: Mapping[str, Reference], bound: tuple[tuple[str, Reference], ...]
) -> tuple[tuple[str, Reference], ...]:
    """Bind all variates to what the definition has for them."""
    extra = [pair for pair in originals.items() if pair[0] not in dict(bound)]
    return (*bound, *extra)
