r"""The factors of densities at the nuisance parameters, with two derivatives.

With the factors :math:`h` and :math:`l` of an event at ±1, the polynomial of code 4
(`everwillow.likelihood.interpolation`) is linear in :math:`h \ln^k h` and
:math:`l \ln^k l`, with coefficients that only depend on the parameter. So an event
needs two stored numbers, :math:`\ln h` and :math:`\ln l`, instead of six.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow.likelihood.interpolation import sixth_order_coefficients
from everwillow.models.nsbi.spec import RatioInterpolation


# Smallest factor used. With less, :math:`h \ln^k h` is zero within rounding, and
# beyond ±1 the density vanishes.
LEAST_FACTOR = 1e-12


class Response(NamedTuple):
    """Factors of densities, one row for each effect.

    Attributes:
        value: The factors.
        rate: Their first derivatives by the parameter, over the factor.
        bend: Their second derivatives, over the factor.
    """

    value: Float[Array, "effects events"]
    rate: Float[Array, "effects events"]
    bend: Float[Array, "effects events"]


def stored(
    interpolation: RatioInterpolation, factors: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Return the numbers that `response` needs in place of factors at 1 or -1."""
    if interpolation == "linear":
        return np.asarray(factors)
    return np.log(np.maximum(factors, LEAST_FACTOR))


def response(
    interpolation: RatioInterpolation,
    alpha: Float[Array, " effects"],
    up: Float[Array, "effects events"],
    down: Float[Array, "effects events"],
) -> Response:
    """Return the factors of all effects at their parameters.

    Args:
        interpolation: The interpolation.
        alpha: The parameter of each effect.
        up: From `stored`, for the factors at +1.
        down: The same for the factors at -1.
    """
    if interpolation == "linear":
        return _linear(alpha, up, down)
    inside = _polynomial(alpha, up, down)
    far = jnp.abs(alpha) >= 1

    def beyond() -> Response:
        exponent = jnp.where(alpha[:, None] >= 0, up, -down)
        outer = Response(jnp.exp(alpha[:, None] * exponent), exponent, exponent**2)
        return Response(
            *(
                jnp.where(far[:, None], there, here)
                for there, here in zip(outer, inside, strict=True)
            )
        )

    return jax.lax.cond(jnp.any(far), beyond, lambda: inside)


def _polynomial(alpha: Array, up: Array, down: Array) -> Response:
    within = jnp.where(jnp.abs(alpha) < 1, alpha, 0)
    powers = [jnp.ones_like(within)]
    for _ in range(6):
        powers.append(powers[-1] * within)
    first = [n * powers[n - 1] for n in range(1, 7)]
    second = [n * (n - 1) * powers[max(n - 2, 0)] for n in range(1, 7)]
    raised = [jnp.stack(each, 1) for each in (powers[1:], first, second)]
    constant, above, below = _basis()
    high, low = jnp.exp(up), jnp.exp(down)

    def at(power: Array) -> Array:
        u = [(power @ jnp.asarray(column, up.dtype))[:, None] for column in above]
        d = [(power @ jnp.asarray(column, up.dtype))[:, None] for column in below]
        top = high * (u[0] + up * (u[1] + up * u[2]))
        bottom = low * (d[0] + down * (d[1] + down * d[2]))
        return (power @ jnp.asarray(constant, up.dtype))[:, None] + top + bottom

    value = 1 + at(raised[0])
    safe = jnp.where(value == 0, LEAST_FACTOR, value)
    return Response(value, at(raised[1]) / safe, at(raised[2]) / safe)


def _basis() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the constant part of the coefficients, and their derivatives by `ends`."""
    units = np.eye(7)[:, :6].reshape(7, 3, 2)
    rows = np.array([sixth_order_coefficients([tuple(k) for k in u]) for u in units])
    constant = rows[6]
    slopes = (rows[:6] - constant).reshape(3, 2, 6)
    return constant, slopes[:, 0], slopes[:, 1]


def _linear(alpha: Array, up: Array, down: Array) -> Response:
    positive = (alpha >= 0)[:, None]
    slope = jnp.where(positive, up - 1, 1 - down)
    value = 1 + alpha[:, None] * slope
    safe = jnp.where(value == 0, LEAST_FACTOR, value)
    return Response(value, slope / safe, jnp.zeros_like(value))
