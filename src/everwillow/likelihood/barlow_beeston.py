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

# Smallest auxiliary datum of a gamma used, as a toy may draw 0.
_LEAST = 1e-8
# Number of events above which Stirling's formula is exact within rounding.
_MANY = 1e4
# Rounding error of differences from 1.
_ROUNDING = 1e-13
# Iterations of a bracketed search; Newton's method needs a fraction of these.
_ROUNDS = 60


class BinStatistics(eqx.Module):
    """Variances of the samples behind the templates, and the form of their constraint.

    The yields that share one β are a *stream*: all fluctuating processes of a bin, or a
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
        """The auxiliary data of the nominal templates."""
        fill = jnp.zeros if self.kind == "additive" else jnp.ones
        return fill(jnp.shape(self.spread))

    @property
    def width(self) -> Float[Array, "bins streams"]:
        """The standard deviation of each β without the data of its bin."""
        if self.kind == "additive":
            return jnp.where(jnp.asarray(self.spread) > 0, 1.0, 0.0)
        return _safe_root(jnp.asarray(self.spread))

    def variance_at(
        self, start: Float[Array, "bins streams"]
    ) -> Float[Array, "bins streams"]:
        """Return the variance of each auxiliary datum, for counts their number."""
        return self.width**2 * (start if self.kind == "gamma" else 1)

    def constants(self, start: Float[Array, "bins streams"]) -> Float[Array, ""]:
        """Return -ln L of auxiliary data that agree with their β.

        These are the normalisations of the Poisson probabilities of k β₀ events, or of
        the Gaussian densities. The table of this module has the remaining terms.
        """
        loose = jnp.asarray(self.spread) > 0
        spread = jnp.where(loose, self.spread, 1)
        if self.kind == "gamma":
            positive = loose & (start > 0)
            count = jnp.where(positive, start, 1) / spread
            # The difference with lnΓ of large counts would lose all digits.
            few = jnp.minimum(count, _MANY)
            exact = few - few * jnp.log(few) + jsp.special.gammaln(few + 1)
            stirling = 0.5 * jnp.log(2 * jnp.pi * count) + 1 / (12 * count)
            return jnp.sum(
                jnp.where(positive, jnp.where(count < _MANY, exact, stirling), 0)
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
        """Return the yields of each stream."""
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
        # One β for the bin: shared in proportion to the yields that fluctuate.
        total = self.streams(yields)
        nonzero = total != 0
        share = jnp.where(self.follows, yields, 0) / jnp.where(nonzero, total, 1)
        even = jnp.asarray(self.follows, yields.dtype)
        even = even / jnp.maximum(jnp.sum(even, 1, keepdims=True), 1)
        return yields + jnp.where(nonzero, share, even) * extra


class Profile(NamedTuple):
    """A bin-wise likelihood at its best β.

    Attributes:
        value: -ln L of the data and of β.
        beta: The best β.
        slope: t, the derivative by the total yield of each bin.
        gradient: Derivatives by the yield of each process.
        yield_slope: γ; the derivative of t by the yield of each process is ω γ.
        response: ω of each bin, or a matrix of all bins.
        reduction: δ of each stream, by which profiling reduces the second derivative.
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
    r"""Return deviations of β from its best value, from unit Gaussian numbers.

    The numbers are mapped by a root of the inverse Hessian by β at fixed yields,
    :math:`D - D g\,\omega\, g^T D` with the squared widths D and the slopes g.
    """
    reach = profile.width * profile.beta_slope
    length = _safe_root(jnp.sum(reach**2, 1))
    along = reach / jnp.where(length > 0, length, 1)[:, None]
    along_before = jnp.sum(along * normals, 1)
    if profile.response.ndim == 2:
        eye = jnp.eye(length.shape[0], dtype=length.dtype)
        inner = eye - length[:, None] * profile.response * length[None, :]
        along_after = jnp.linalg.cholesky(inner) @ along_before
    else:
        # Zero within rounding where an empty bin holds the yield at 0.
        remaining = 1 - profile.response * length**2
        along_after = (
            _safe_root(jnp.where(remaining > _ROUNDING, remaining, 0)) * along_before
        )
    return profile.width * (normals + along * (along_after - along_before)[:, None])


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
        term: The data term of the likelihood.
        yields: Yields of each process in each bin.
        data: Data of the bins.
        nominal: The auxiliary data β₀; None for those of `statistics`.
    """
    start = statistics.nominal if nominal is None else nominal
    if statistics.kind == "gamma":
        assert isinstance(term, AbstractBinTerm)
        return _profile_gamma(
            statistics, term, yields, data, jnp.maximum(start, _LEAST)
        )
    return _profile_normal(statistics, term, yields, data, start)


def unprofiled(
    statistics: BinStatistics,
    term: AbstractDataTerm,
    yields: Float[Array, "bins slots"],
    data: Float[Array, " bins"],
    beta: Float[Array, "bins streams"],
) -> Profile:
    """Evaluate the likelihood of the data alone, at fixed β.

    Args:
        statistics: Variances of the samples.
        term: The data term of the likelihood.
        yields: Yields of each process in each bin, at nominal β.
        data: Data of the bins.
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


def _profile_normal(
    statistics: BinStatistics, term: AbstractDataTerm, yields, data, start
) -> Profile:
    follows, spread = statistics.follows, jnp.asarray(statistics.spread)
    moving = statistics.streams(yields)
    if statistics.kind is None:
        beta_slope, width = jnp.zeros_like(spread), jnp.zeros_like(spread)
    elif statistics.kind == "additive":
        beta_slope, width = spread, (spread > 0).astype(spread.dtype)
    else:
        beta_slope, width = moving, _safe_root(spread)
    if statistics.held:
        width = jnp.zeros_like(width)
    variance = jnp.sum((beta_slope * width) ** 2, 1)
    fixed_yield = jnp.sum(jnp.where(follows, 0, yields), 1)
    additive = statistics.kind in ("additive", None)
    start_part = moving if additive else jnp.zeros_like(moving)
    prior = fixed_yield + jnp.sum(start_part + beta_slope * start, 1)
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


def _profile_gamma(
    statistics: BinStatistics, term: AbstractBinTerm, yields, data, start
) -> Profile:
    follows, spread = statistics.follows, statistics.spread
    if statistics.held:
        spread = jnp.zeros_like(spread)
    moving = statistics.streams(yields)
    fixed_yield = jnp.sum(jnp.where(follows, 0, yields), 1)
    if statistics.per_process:
        beta = _searched_beta(term, spread, moving, fixed_yield, data, start)
    else:
        beta = _closed_form_beta(term, spread, moving, fixed_yield, data, start)
    total = fixed_yield + jnp.sum(moving * beta, 1)
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
        beta * _safe_root(spread / start),
        moving,
    )


def _safe_root(square: Array) -> Array:
    """Return the square root, whose derivative is 0 at 0.

    A variance of 0 is 0 at other parameters too. The derivative of the root itself is
    infinite there, and its product with a change of 0 is NaN.
    """
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)


def _closed_form_beta(
    term: AbstractBinTerm, spread, moving, fixed_yield, data, start
) -> Array:
    """Return the best β of one stream per bin: the positive root of a quadratic."""
    v, n, start = spread[:, 0], moving[:, 0], start[:, 0]
    if isinstance(term, GaussianTerm):
        var = term.variance
        a, c = n**2 * v, -start * var
        b = var + (fixed_yield - data) * n * v
    else:
        a, c = n * (n * v + 1), -start * fixed_yield
        b = n * v * (fixed_yield - data) - n * start + fixed_yield
    inside = b**2 - 4 * a * c
    live = inside > 0
    root = jnp.sqrt(jnp.where(live, inside, 1))
    # Without cancellation on either side.
    over = jnp.where(live & (b < 0) & (a != 0), 2 * a, 1)
    under = jnp.where(live & (b >= 0), b + root, 1)
    positive_root = jnp.where(b < 0, (root - b) / over, -2 * c / under)
    return jnp.where(live & (n != 0) & (v > 0), positive_root, start)[:, None]


def _searched_beta(
    term: AbstractBinTerm, spread, moving, fixed_yield, data, start
) -> Array:
    """Return the best β of several streams per bin, from their common slope t.

    ``t - h'(N(t))`` increases with t, as N decreases, so its zero is bracketed and
    found by Newton's method with bisection. Two more steps, which are differentiated,
    give derivatives up to the third.
    """
    move = spread * moving

    def betas(t):
        return start / (1 + t[:, None] * move)

    def gap(t):
        total = fixed_yield + jnp.sum(moving * betas(t), 1)
        slope, bend = term.derivatives(total, data)
        fall = jnp.sum(moving * move * betas(t) ** 2 / start, 1)
        return t - slope, 1 + bend * fall

    origin = jnp.zeros_like(fixed_yield)
    first_gap = -gap(origin)[0]
    largest = jnp.max(move, 1)
    # The slope at which the first β becomes infinite.
    wall = jnp.where(largest > 0, -1 / jnp.where(largest > 0, largest, 1), -jnp.inf)
    low = jnp.where(first_gap < 0, jnp.maximum(first_gap, wall), 0)
    high = jnp.where(first_gap > 0, first_gap, 0)

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
