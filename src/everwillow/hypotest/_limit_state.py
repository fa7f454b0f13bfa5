"""What the search for upper limits keeps from turn to turn, and returns."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow.fitting.follow import Foothold


# In the order of the search: each starts from the one named after it.
N_SIGMA = (0.0, 1.0, 2.0, -1.0, -2.0)
AFTER = (0, 0, 1, 0, 3)
OBSERVED = len(N_SIGMA)
# The root is taken after one more Newton step, which squares this.
TOLERANCE = 3e-4
# Of all limits, and of one. Two or three are usual.
MOST_FITS = 200
MOST_OF_ONE = 30
# So often a search steps back from a POI whose fit failed.
MOST_FAILURES = 8
# This close, in standard errors, to where fits begin to fail there is no limit.
NEAR_FAILURE = 1e-3
# Where the data are impossible without signal they are fitted with this part of one.
NEXT_TO_NOTHING = 1e-6
# Asimov data have their minimum where they were made, unless auxiliary data are
# missing in them. Then the free fit is made.
ASIMOV_EDM = 1e-8
BISECTIONS = 50
# How the search for a limit ended, in the order of the members of `LIMIT`.
END_FOUND, END_BEYOND, END_FAILED = range(3)


class Recipe(NamedTuple):
    """What kind of limits.

    Attributes:
        predict_fn: From a State to the expected observation; None asks the Model.
        a_posteriori: Whether the Asimov data have the nuisance parameters fitted to
            the data without signal; if not, their start values. An array.
        physical: Whether negative values of the POI are unphysical.
    """

    predict_fn: Any
    a_posteriori: Any
    physical: bool


class Roots(eqx.Module):
    """What the search returns.

    Attributes:
        values: The limits, in the order of `N_SIGMA`, then the observed one. NaN is
            beyond the upper bound of the POI, or not found where a fit failed.
        slopes: Of the functions whose roots they are.
        ends: How each search ended, one of the ``END_*`` integers of this module.
        failed_at: The POI where a fit failed last in each of them.
        status: How that fit ended, shape ``(limits,)``.
        fits: Number of conditional fits.
        asimov: The fit of the Asimov data.
        zero: The fit of the data without signal.
        possible: Whether the data are possible without signal.
        asimov_observation: The Asimov data.
        deepest: -ln L of the lowest conditional minimum of the data.
        deepest_x: The parameters there.
    """

    values: Float[Array, " limits"]
    slopes: Float[Array, " limits"]
    ends: Any
    failed_at: Any
    status: Any
    fits: Any
    asimov: Foothold
    zero: Foothold
    possible: Any
    asimov_observation: Any
    deepest: Any
    deepest_x: Any


class Progress(eqx.Module):
    """Where the search stands."""

    data: Foothold
    asimov: Foothold
    zero: Foothold
    best: Foothold
    observation: Any
    value: Float[Array, ""]
    target: Any
    phase: Any
    second: Any
    q_asimov: Float[Array, ""]
    slope_asimov: Float[Array, ""]
    inside: Float[Array, ""]
    outside: Float[Array, ""]
    values: Float[Array, " limits"]
    slopes: Float[Array, " limits"]
    aiming: Any
    fits: Any
    going: Any
    sigma: Any
    ends: Any
    failed_at: Any
    status: Any
    possible: Any
    deepest: Any
    deepest_x: Any
    attempt: Any
    spent: Any
    failures: Any
    ceiling: Any


# The phases: data without signal, the free fit of Asimov data, that with the POI at 0
# where negative ones are unphysical, roots.
PHASE_ZERO, PHASE_ASIMOV, PHASE_FLOOR, PHASE_ROOTS = range(4)


def root_of_parabola(
    excess: Callable[[Array, Array], Array],
    *,
    best: Array,
    sigma: Array,
    slope: Array,
    scale: Array,
) -> Array:
    """Return where the observed limit would be if -ln L were a parabola, by bisection.

    Args:
        excess: Of the test statistic of the data and that of the Asimov data; it grows
            with the POI, and vanishes at the limit.
        best: The best fit of the POI.
        sigma: Its standard error.
        slope: Of the profile at 0, which counts where the best fit is not above 0.
        scale: Root of the test statistic of the Asimov data over the POI.
    """

    def at(mu: Array) -> Array:
        below = 2 * slope * mu + (mu / sigma) ** 2
        q = jnp.where(best > 0, ((mu - best) / sigma) ** 2, below)
        return excess(jnp.maximum(q, 0), (scale * mu) ** 2)

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        above = at(middle) > 0
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    low = jnp.maximum(best, 0)
    high = low + 5 * jnp.maximum(sigma, 1 / jnp.abs(scale))
    low, high = jax.lax.fori_loop(0, BISECTIONS, halve, (low, high))
    return 0.5 * (low + high)
