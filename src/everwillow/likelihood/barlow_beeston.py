r"""Simulated samples of finite size, their parameters profiled analytically.

A sample of W expected events and variance V in a bin is known to :math:`v = V / W^2`
relatively, as if it had :math:`k = 1/v` events. An auxiliary parameter β, one for a
bin (Barlow-Beeston "lite") or one for each process in a bin, moves the yields:

======== ========================== ==================================================
kind     yields                     -ln L of β with its auxiliary datum
======== ========================== ==================================================
gamma    :math:`\beta n`            :math:`k(\beta-\beta_0)-k\beta_0\ln(\beta/\beta_0)`
normal   :math:`\beta n`            :math:`\frac k2 (\beta-\beta_0)^2`
additive :math:`n + \sqrt V \beta`  :math:`\frac12 (\beta-\beta_0)^2`
======== ========================== ==================================================

The best β solves one equation for the slope :math:`t = h'(N)` of the data term, where
:math:`\beta = \beta_0 - t\,n\,v`, or :math:`\beta_0 / (1 + t\,n\,v)` for gamma. The
profiled likelihood then has the gradient :math:`t\beta_c` in the yield :math:`n_c`, and
the Hessian :math:`\omega\gamma\gamma^T - \mathrm{diag}(\delta)` with
:math:`\omega = dt/dM`, so that nothing is solved for its derivatives either.

Barlow and Beeston, Comput. Phys. Commun. 77 (1993) 219; Conway, arXiv:1103.0354.
"""

from typing import Literal, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.scipy as jsp
import numpy as np
from jaxtyping import Array, Bool, Float

from everwillow.likelihood.data_terms import (
    AbstractBinTerm,
    AbstractDataTerm,
    GaussianTerm,
)


Kind: TypeAlias = Literal["gamma", "normal", "additive"]

# The smallest auxiliary datum of a gamma: a toy may draw 0.
_LEAST = 1e-8
# From so many events on Stirling's formula is exact to rounding.
_MANY = 1e4
# Rounding error of differences from 1.
_ROUNDING = 1e-13
# A bracketed search of one number; Newton's method needs a fraction of these.
_ROUNDS = 60


class BinStatistics(eqx.Module):
    """Variances of the samples behind the templates, and the form of their constraint.

    One stream of yields shares each β: all processes of a bin that fluctuate, or a
    single one.

    Attributes:
        kind: The form of the constraint; None to take all templates as exact.
        per_process: Whether each process of a bin has its own β.
        follows: Which processes in which bin follow a β.
        spread: v, or √V for the additive kind; 0 where nothing fluctuates.
        held: Whether each β stays at its auxiliary datum.
    """

    kind: Kind | None = eqx.field(static=True)
    per_process: bool = eqx.field(static=True)
    follows: Bool[Array | np.ndarray, "bins slots"]
    spread: Float[Array | np.ndarray, "bins streams"]
    held: bool = eqx.field(static=True, default=False)

    @property
    def nominal(self) -> Float[Array, "bins streams"]:
        """The auxiliary data that prefer the templates as they are."""
        whole = jnp.zeros if self.kind == "additive" else jnp.ones
        return whole(jnp.shape(self.spread))

    @property
    def width(self) -> Float[Array, "bins streams"]:
        """The standard deviation of each β without the data of its bin."""
        if self.kind == "additive":
            return jnp.where(jnp.asarray(self.spread) > 0, 1.0, 0.0)
        return _root_of(jnp.asarray(self.spread))

    def variance_at(
        self, start: Float[Array, "bins streams"]
    ) -> Float[Array, "bins streams"]:
        """Return the variance of each auxiliary datum: of counts their own number."""
        return self.width**2 * (start if self.kind == "gamma" else 1)

    def constants(self, start: Float[Array, "bins streams"]) -> Float[Array, ""]:
        """Return -ln L of auxiliary data that agree with their β.

        The table at the top has the rest of it: these are the normalisations of the
        Poisson probabilities of k β₀ events, or of the Gaussian densities.
        """
        loose = jnp.asarray(self.spread) > 0
        spread = jnp.where(loose, self.spread, 1)
        if self.kind == "gamma":
            some = loose & (start > 0)
            count = jnp.where(some, start, 1) / spread
            # lnΓ of large counts has not the digits for the difference.
            few = jnp.minimum(count, _MANY)
            exact = few - few * jnp.log(few) + jsp.special.gammaln(few + 1)
            stirling = 0.5 * jnp.log(2 * jnp.pi * count) + 1 / (12 * count)
            return jnp.sum(
                jnp.where(some, jnp.where(count < _MANY, exact, stirling), 0)
            )
        square = jnp.ones_like(spread) if self.kind == "additive" else spread
        return jnp.sum(jnp.where(loose, 0.5 * jnp.log(2 * jnp.pi * square), 0))

    def sample(self, key: Array) -> Float[Array, "bins streams"]:
        """Draw auxiliary data."""
        shape = jnp.shape(self.spread)
        if self.kind == "additive":
            return jr.normal(key, shape)
        loose = self.spread > 0
        if self.kind == "normal":
            return 1 + jnp.sqrt(self.spread) * jr.normal(key, shape)
        events = 1 / jnp.where(loose, self.spread, 1)
        drawn = jr.poisson(key, events, shape).astype(events.dtype)
        return jnp.where(loose, drawn / events, 1)

    def streams(self, yields: Float[Array, "bins slots"]) -> Float[Array, "bins s"]:
        """Return the yields that follow each β."""
        moving = jnp.where(self.follows, yields, 0)
        return moving if self.per_process else jnp.sum(moving, 1, keepdims=True)

    def moved(
        self, yields: Float[Array, "bins slots"], beta: Float[Array, "bins streams"]
    ) -> Float[Array, "bins slots"]:
        """Return the yields at given β."""
        if self.kind is None:
            return yields
        if self.kind != "additive":
            return jnp.where(self.follows, yields * beta, yields)
        extra = self.spread * beta
        if self.per_process:
            return yields + jnp.where(self.follows, extra, 0)
        # One for the bin: shared in proportion to what fluctuates.
        whole = self.streams(yields)
        some = whole != 0
        share = jnp.where(self.follows, yields, 0) / jnp.where(some, whole, 1)
        even = jnp.asarray(self.follows, yields.dtype)
        even = even / jnp.maximum(jnp.sum(even, 1, keepdims=True), 1)
        return yields + jnp.where(some, share, even) * extra


class Profile(NamedTuple):
    """A bin-wise likelihood at its best β.

    Attributes:
        value: -ln L of the data and of β.
        beta: The best β.
        slope: t, the derivative by the yield of each bin as a whole.
        gradient: Derivatives by the yield of each process.
        yield_slope: γ; with the yield of each process t changes by ω γ.
        response: ω, in each bin, or a matrix of all bins.
        reduction: δ of each stream; profiling reduces the second derivative by it.
        width: Standard deviation of each β given the yields, without the data.
        beta_slope: Derivative of the yield of the bin by β.
    """

    value: Float[Array, ""]
    beta: Float[Array, "bins streams"]
    slope: Float[Array, " bins"]
    gradient: Float[Array, "bins slots"]
    yield_slope: Float[Array, "bins slots"]
    response: Array
    reduction: Float[Array, "bins streams"]
    width: Float[Array, "bins streams"]
    beta_slope: Float[Array, "bins streams"]


def fluctuation(
    profile: Profile, normals: Float[Array, "bins streams"]
) -> Float[Array, "bins streams"]:
    r"""Return how far β is off its best value, from numbers of a unit Gaussian each.

    They are mapped by a root of the inverse Hessian by β at fixed yields,
    :math:`D - D g\,\omega\, g^T D` with the squared widths D and the slopes g.
    """
    reach = profile.width * profile.beta_slope
    length = _root_of(jnp.sum(reach**2, 1))
    along = reach / jnp.where(length > 0, length, 1)[:, None]
    before = jnp.sum(along * normals, 1)
    if profile.response.ndim == 2:
        eye = jnp.eye(length.shape[0], dtype=length.dtype)
        inner = eye - length[:, None] * profile.response * length[None, :]
        after = jnp.linalg.cholesky(inner) @ before
    else:
        # Nothing is left where an empty bin holds the yield at 0, but for rounding.
        left = 1 - profile.response * length**2
        after = _root_of(jnp.where(left > _ROUNDING, left, 0)) * before
    return profile.width * (normals + along * (after - before)[:, None])


def profiled(
    statistics: BinStatistics,
    term: AbstractDataTerm,
    yields: Float[Array, "bins slots"],
    data: Float[Array, " bins"],
    nominal: Float[Array, "bins streams"] | None,
) -> Profile:
    """Evaluate the likelihood of the bins at the best β.

    Args:
        statistics: Variances of the samples.
        term: How the data enter.
        yields: Of each process in each bin.
        data: Of the bins.
        nominal: The auxiliary data β₀; None for those of `statistics`.
    """
    start = statistics.nominal if nominal is None else nominal
    if statistics.kind == "gamma":
        assert isinstance(term, AbstractBinTerm)
        return _gamma(statistics, term, yields, data, jnp.maximum(start, _LEAST))
    return _normal(statistics, term, yields, data, start)


def unprofiled(
    statistics: BinStatistics,
    term: AbstractDataTerm,
    yields: Float[Array, "bins slots"],
    data: Float[Array, " bins"],
    beta: Float[Array, "bins streams"],
) -> Profile:
    """Evaluate the likelihood of the data alone, at given β, as if these were exact.

    Args:
        statistics: Variances of the samples.
        term: How the data enter.
        yields: Of each process in each bin, at nominal β.
        data: Of the bins.
        beta: The auxiliary parameters.
    """
    spread = jnp.asarray(statistics.spread)
    moving = statistics.streams(yields)
    total = jnp.sum(statistics.moved(yields, beta), 1)
    none = jnp.zeros_like(spread)
    _, slope, response = term.settle(total, jnp.zeros_like(total), data)
    additive = statistics.kind == "additive"
    yield_slope = jnp.where(statistics.follows, 1 if additive else beta, 1)
    yield_slope = jnp.broadcast_to(yield_slope, yields.shape)
    beta_slope = spread if additive else jnp.where(spread > 0, moving, 0)
    value = term.value(total, data)
    gradient = slope[:, None] * yield_slope
    return Profile(
        value, beta, slope, gradient, yield_slope, response, none, none, beta_slope
    )


def _normal(
    statistics: BinStatistics, term: AbstractDataTerm, yields, data, start
) -> Profile:
    follows, spread = statistics.follows, jnp.asarray(statistics.spread)
    moving = statistics.streams(yields)
    if statistics.kind is None:
        beta_slope, width = jnp.zeros_like(spread), jnp.zeros_like(spread)
    elif statistics.kind == "additive":
        beta_slope, width = spread, (spread > 0).astype(spread.dtype)
    else:
        beta_slope, width = moving, _root_of(spread)
    if statistics.held:
        width = jnp.zeros_like(width)
    variance = jnp.sum((beta_slope * width) ** 2, 1)
    rest = jnp.sum(jnp.where(follows, 0, yields), 1)
    additive = statistics.kind in ("additive", None)
    fixed = moving if additive else jnp.zeros_like(moving)
    prior = rest + jnp.sum(fixed + beta_slope * start, 1)
    total, slope, response = term.settle(prior, variance, data)
    beta = start - slope[:, None] * beta_slope * width**2
    value = term.value(total, data) + 0.5 * jnp.sum(slope**2 * variance)
    reduction = jnp.zeros_like(spread)
    factor, yield_slope = jnp.ones_like(spread), jnp.ones_like(spread)
    if not additive:
        factor, yield_slope = beta, beta - slope[:, None] * beta_slope * width**2
        reduction = (slope[:, None] * width) ** 2
    gradient = slope[:, None] * jnp.where(follows, factor, 1)
    yield_slope = jnp.where(follows, yield_slope, 1)
    return Profile(
        value,
        beta,
        slope,
        gradient,
        yield_slope,
        response,
        reduction,
        width,
        beta_slope,
    )


def _gamma(
    statistics: BinStatistics, term: AbstractBinTerm, yields, data, start
) -> Profile:
    follows, spread = statistics.follows, statistics.spread
    if statistics.held:
        spread = jnp.zeros_like(spread)
    moving = statistics.streams(yields)
    rest = jnp.sum(jnp.where(follows, 0, yields), 1)
    if statistics.per_process:
        beta = _searched(term, spread, moving, rest, data, start)
    else:
        beta = _root(term, spread, moving, rest, data, start)
    total = rest + jnp.sum(moving * beta, 1)
    slope, bend = term.derivatives(total, data)
    loose = spread > 0
    excess = beta / start - 1
    cost = start * (excess - jnp.log1p(excess))
    penalty = jnp.where(loose, cost / jnp.where(loose, spread, 1), 0)
    yield_slope = beta**2 / start
    variance = spread * yield_slope
    response = bend / (1 + bend * jnp.sum(moving**2 * variance, 1))
    reduction = slope[:, None] ** 2 * variance
    gradient = slope[:, None] * jnp.where(follows, beta, 1)
    return Profile(
        term.value(total, data) + jnp.sum(penalty),
        beta,
        slope,
        gradient,
        jnp.where(follows, yield_slope, 1),
        response,
        reduction,
        beta * _root_of(spread / start),
        moving,
    )


def _root_of(square: Array) -> Array:
    """Return the square root, whose derivative is 0 at 0.

    What has no variance has none at other parameters either. The derivative of the
    root itself is infinite there, and times a change of 0 it is NaN.
    """
    some = square > 0
    return jnp.where(some, jnp.sqrt(jnp.where(some, square, 1)), 0)


def _root(term: AbstractBinTerm, spread, moving, rest, data, start) -> Array:
    """Return the best β of one stream a bin: the positive root of a quadratic."""
    v, n, start = spread[:, 0], moving[:, 0], start[:, 0]
    if isinstance(term, GaussianTerm):
        var = term.variance
        a, c = n**2 * v, -start * var
        b = var + (rest - data) * n * v
    else:
        a, c = n * (n * v + 1), -start * rest
        b = n * v * (rest - data) - n * start + rest
    inside = b**2 - 4 * a * c
    live = inside > 0
    root = jnp.sqrt(jnp.where(live, inside, 1))
    # Without cancellation on either side.
    over = jnp.where(live & (b < 0) & (a != 0), 2 * a, 1)
    under = jnp.where(live & (b >= 0), b + root, 1)
    found = jnp.where(b < 0, (root - b) / over, -2 * c / under)
    return jnp.where(live & (n != 0) & (v > 0), found, start)[:, None]


def _searched(term: AbstractBinTerm, spread, moving, rest, data, start) -> Array:
    """Return the best β of many streams a bin, by the slope t that they share.

    ``t - h'(N(t))`` grows with t, as N falls, so its zero is bracketed and found by
    Newton's method with bisection; two last steps from there carry derivatives up to
    the third.
    """
    move = spread * moving

    def betas(t):
        return start / (1 + t[:, None] * move)

    def gap(t):
        total = rest + jnp.sum(moving * betas(t), 1)
        slope, bend = term.derivatives(total, data)
        fall = jnp.sum(moving * move * betas(t) ** 2 / start, 1)
        return t - slope, 1 + bend * fall

    origin = jnp.zeros_like(rest)
    away = -gap(origin)[0]
    largest = jnp.max(move, 1)
    # There some β would be infinite.
    wall = jnp.where(largest > 0, -1 / jnp.where(largest > 0, largest, 1), -jnp.inf)
    low = jnp.where(away < 0, jnp.maximum(away, wall), 0)
    high = jnp.where(away > 0, away, 0)

    def step(_, state):
        t, low, high = state
        value, rise = gap(t)
        low, high = jnp.where(value < 0, t, low), jnp.where(value > 0, t, high)
        ahead = t - value / rise
        inside = (ahead > low) & (ahead < high)
        return jnp.where(inside, ahead, (low + high) / 2), low, high

    middle = (low + high) / 2
    t = jax.lax.stop_gradient(
        jax.lax.fori_loop(0, _ROUNDS, step, (middle, low, high))[0]
    )
    for _ in range(2):
        value, rise = gap(t)
        t = t - value / rise
    return betas(t)


__all__ = ["BinStatistics", "Kind", "Profile", "fluctuation", "profiled", "unprofiled"]
