"""Decay times, with perfect or Gaussian resolution.

Spec: HS3 0.2, "Decay distribution"; convolved as RooFit's ``RooDecay``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow.likelihood.quadrature import log_sum
from everwillow.models.hs3.definition import Fields, Reference
from everwillow.models.hs3.distributions.base import AbstractClosed
from everwillow.models.hs3.distributions.special import (
    log1mexp,
    log_exponential_interval,
    log_ndtr,
)
from everwillow.models.hs3.functions.graph import Edge, Scope


@dataclass(frozen=True, slots=True)
class GaussianResolution:
    """A measured time is the true one plus a Gaussian error.

    Attributes:
        mean: The bias.
        sigma: The standard deviation.
    """

    mean: Reference
    sigma: Reference


@dataclass(frozen=True, slots=True)
class Resolution:
    """A weighted sum of resolutions, None for a perfect one.

    Attributes:
        parts: The resolutions.
        coefficients: Their weights, or all but the last, which is then 1 minus the
            others.
    """

    parts: tuple[GaussianResolution | None, ...]
    coefficients: tuple[Reference, ...] = (1.0,)


@final
class Decay(AbstractClosed):
    r"""An exponential of the decay time, convolved with a resolution.

    Attributes:
        t: The variable.
        tau: The lifetime :math:`\tau`.
        sides: The signs of decay times: 1 for :math:`e^{-t/\tau}` at positive times, -1
            for :math:`e^{t/\tau}` at negative times, or both.
        resolution: The resolution.
    """

    support: ClassVar[tuple[float, float] | None] = (-math.inf, math.inf)
    t: Reference = eqx.field(static=True)
    tau: Reference = eqx.field(static=True)
    sides: tuple[int, ...] = eqx.field(static=True)
    resolution: Resolution = eqx.field(static=True)

    def log_density(self, scope: Scope) -> Float[Array, "..."]:
        """Return the logarithm of the convolution, normalised over the real line."""
        t, tau = scope[self.t], scope[self.tau]
        logs = [
            jnp.where(side * t >= 0.0, -side * t / tau, -jnp.inf)[None]
            for side in self._exact_sides()
        ]
        if self._kernels():
            side, mean, sigma = self._stacked(scope, jnp.ndim(t))
            z = side * (t[None] - mean) / sigma
            logs.append(_log_convolved(z, sigma / tau))
        return self._sum(scope, logs) - jnp.log(tau)

    def log_closed(self, scope: Scope, lower: Edge, upper: Edge) -> Float[Array, "..."]:
        """Return differences of cumulative distributions."""
        tau = scope[self.tau]
        low, high = np.broadcast_arrays(lower, upper)
        ends = {1: (low, high), -1: (-high, -low)}
        logs = []
        for side in self._exact_sides():
            start, stop = (np.maximum(end, 0.0) for end in ends[side])
            exact = log_exponential_interval(1.0 / tau, start, stop)
            logs.append(exact[None] - jnp.log(tau))
        if self._kernels():
            side, mean, sigma = self._stacked(scope, low.ndim)
            start, stop = (
                np.stack([ends[side][i] for side, _ in self._kernels()]) for i in (0, 1)
            )
            logs.append(_log_interval(start, stop, side * mean, sigma, sigma / tau))
        return self._sum(scope, logs)

    def _exact_sides(self) -> list[int]:
        return [
            side
            for part in self.resolution.parts
            if part is None
            for side in self.sides
        ]

    def _kernels(self) -> list[tuple[int, GaussianResolution]]:
        parts = [part for part in self.resolution.parts if part is not None]
        return [(side, part) for part in parts for side in self.sides]

    def _stacked(self, scope: Scope, dimensions: int) -> tuple[Array, Array, Array]:
        """Return sides, biases and widths of all kernels along a new first axis.

        One evaluation for all of them is a smaller program than one for each.
        """
        column = (-1, *(1 for _ in range(dimensions)))
        kernels = self._kernels()
        mean = jnp.stack([scope[part.mean] for _, part in kernels])
        sigma = jnp.stack([scope[part.sigma] for _, part in kernels])
        side = jnp.asarray([float(side) for side, _ in kernels], mean.dtype)
        return side.reshape(column), mean.reshape(column), sigma.reshape(column)

    def _sum(self, scope: Scope, logs: list[Array]) -> Array:
        parts = self.resolution.parts
        weights = [scope[c] for c in self.resolution.coefficients]
        if len(weights) < len(parts):
            weights.append(1.0 - sum(weights[1:], weights[0]))
        # The exact ones come first.
        order = sorted(range(len(parts)), key=lambda i: parts[i] is not None)
        each = jnp.repeat(jnp.stack([weights[i] for i in order]), len(self.sides))
        stacked = jnp.concatenate(logs)
        each = each.reshape(-1, *(1 for _ in stacked.shape[1:])) / len(self.sides)
        return log_sum(stacked, each)


_EXACT = ("truth_model_function", "truth_model", "delta_resolution_model")
_GAUSSIAN = ("gauss_model_function", "gauss_model", "gaussian_resolution_model")
_MIXTURE = ("mixture_model", "mixture_resolution_model")

SIDES = {0: (1,), 1: (1, -1), 2: (-1,)}
"""The sides of each ``decayType`` of the standard."""


def _log_convolved(z: Array, k: Array) -> Array:
    """Return the logarithm of exponential times Gaussian, but for the scale."""
    return 0.5 * k**2 - k * z + log_ndtr(z - k)


def _log_interval(
    low: np.ndarray, high: np.ndarray, center: Array, sigma: Array, k: Array
) -> Array:
    """Return the logarithm of the probability of an interval, from the nearer tail."""
    ends = [np.isfinite(low), np.isfinite(high)]
    z = (jnp.where(np.stack(ends), np.stack([low, high]), 0.0) - center[None]) / sigma[
        None
    ]
    k = jnp.broadcast_to(k[None], z.shape)
    # One evaluation for all: it is the largest piece of the program.
    outside, shifted, inside = log_ndtr(jnp.stack([-z, z - k, z]))
    convolved = 0.5 * k**2 - k * z + shifted
    above = jnp.logaddexp(outside, convolved)
    below = inside + log1mexp(inside - convolved)
    # Beyond an open end one tail is complete and the other is zero.
    above_low = jnp.where(ends[0], above[0], 0.0)
    below_high = jnp.where(ends[1], below[1], 0.0)
    gap_above = jnp.where(ends[1], above_low - above[1], jnp.inf)
    some = np.asarray(ends[0]) & jnp.isfinite(below[0])
    gap_below = below_high - jnp.where(some, below[0], 0.0)
    gap_below = jnp.where(some, gap_below, jnp.inf)
    from_above = jnp.where(
        ends[0] & ends[1], z[0] + z[1] > 0.0, np.asarray(ends[0] & ~ends[1])
    )
    upper_tail = above_low + log1mexp(gap_above)
    lower_tail = below_high + log1mexp(gap_below)
    return jnp.where(from_above, upper_tail, lower_tail)


def read_resolution(fields: Fields, find: Callable[[str], Fields]) -> Resolution:
    """Make a resolution from its definition.

    Args:
        fields: The definition.
        find: Returns the definition of another resolution by name.

    Raises:
        SpecificationError: If it is not a resolution.
    """
    kind = fields.type
    if kind in _EXACT:
        fields.raw("x")
        return Resolution((None,))
    if kind in _GAUSSIAN:
        fields.raw("x")
        part = GaussianResolution(fields.get("mean"), fields.positive("sigma"))
        return Resolution((part,))
    if kind not in _MIXTURE:
        fields.refuse(f"{kind!r} is no resolution model")
    parts = []
    for name in fields.names_at("summands"):
        inner = find(name)
        if inner.type in _MIXTURE:
            inner.refuse("mixtures of mixtures of resolutions are not supported")
        parts.extend(read_resolution(inner, find).parts)
    coefficients = fields.list_at("coefficients")
    if len(coefficients) not in (len(parts), len(parts) - 1):
        fields.refuse(
            f"{len(parts)} summands need as many coefficients or one less, not "
            f"{len(coefficients)}"
        )
    fields.raw("extended")
    fields.raw("x")
    return Resolution(tuple(parts), coefficients)
