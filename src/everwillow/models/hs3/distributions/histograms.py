"""Densities made of histograms and of sums of functions, as ROOT writes them."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow.models.hs3.definition import Fields, Reference
from everwillow.models.hs3.distributions.base import (
    AbstractIntensity,
    AbstractNumeric,
    AbstractShape,
    integrate,
)
from everwillow.models.hs3.expressions.evaluation import safe_log
from everwillow.models.hs3.functions.base import Binning, read_histogram
from everwillow.models.hs3.functions.graph import Edge, Region, Scope
from everwillow.models.hs3.functions.interpolations import WeightedSum


@final
class HistogramDensity(AbstractShape):
    """A density that is constant in each bin, 0 outside of them: RooHistPdf.

    Attributes:
        binning: The bins.
        contents: Probabilities of the bins up to a common factor, so that the density
            is a content over the volume of its bin.
    """

    binning: Binning = eqx.field(static=True)
    contents: tuple[float, ...] = eqx.field(static=True)

    @property
    def variates(self) -> tuple[Reference, ...]:
        """The variables."""
        return self.binning.names

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm, ``-inf`` outside and in bins without content."""
        index, inside = scope.place(self.binning)
        density = jnp.asarray(np.array(self.contents) / self.binning.volumes)
        return safe_log(jnp.where(inside, density[index], 0.0))

    def log_integral(self, scope: Scope, region: Region) -> Float[Array, "..."]:
        """Return the logarithm of the contents times the shares of their bins."""
        observables = scope.observables(self.references)
        if observables != self.binning.names:
            return integrate(self, scope, region)
        ends = [region[name] for name in self.binning.names]
        shares = [
            _shares(np.array(edges), *pair)
            for (_, edges), pair in zip(self.binning.axes, ends, strict=True)
        ]
        shape = shares[0].shape[1:]
        flat = [share.reshape(len(share), -1) for share in shares]
        letters = "abcdefghijklm"[: len(flat)]
        terms = ",".join([letters, *(f"{letter}z" for letter in letters)])
        contents = np.reshape(self.contents, self.binning.shape)
        total = np.einsum(f"{terms}->z", contents, *flat, optimize=True)
        return safe_log(jnp.asarray(total.reshape(shape)))

    @classmethod
    def read(cls, fields: Fields) -> "HistogramDensity":
        """Make one from its definition."""
        binning, contents = read_histogram(fields)
        if min(contents) < 0.0 or not max(contents) > 0.0:
            fields.refuse(
                "the contents of a density are not negative, and not all of them 0"
            )
        return cls(fields.name, binning, contents)


def _shares(edges: np.ndarray, lower: Edge, upper: Edge) -> np.ndarray:
    """Return the fraction of each bin inside of intervals, ``(bins, *shape)``."""
    low, high = np.broadcast_arrays(np.asarray(lower, float), upper)
    column = (-1, *(1 for _ in low.shape))
    start, stop = edges[:-1].reshape(column), edges[1:].reshape(column)
    inside = np.minimum(stop, high) - np.maximum(start, low)
    return np.maximum(inside, 0.0) / (stop - start)


@final
class WeightedSumDensity(AbstractNumeric):
    """A sum of functions with coefficients, normalised: RooRealSumPdf.

    Attributes:
        total: The sum.
    """

    total: WeightedSum = eqx.field(static=True)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the sum, ``-inf`` where it is not positive."""
        return self.total.log(scope)


@final
class ExtendedWeightedSum(AbstractIntensity):
    """A sum of functions with coefficients, whose integral is the expected number.

    Attributes:
        total: The sum.
    """

    total: WeightedSum = eqx.field(static=True)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the sum, ``-inf`` where it is not positive."""
        return self.total.log(scope)
