r"""The response of a yield to one systematic parameter of a template fit.

With L the logarithm (or the difference) of a template to the nominal one, up and down,
and down with its sign turned,

.. math:: f(\theta) = \theta\,\mathrm{average} + s(\theta)\,\mathrm{half},
    \quad s(\theta) = \theta\, a(\theta),

where ``average`` and ``half`` are mean and half the difference of the two, so that
:math:`f(1) = L_u` and :math:`f(-1) = -L_d` exactly. The smooth sign is
:math:`a = \mathrm{clip}(u (u^2 (3 u^2 - 10) + 15) / 8, -1, 1)` with
:math:`u = 2 \theta`: it has two continuous derivatives.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def smooth_sign(theta: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return a(θ): the sign of θ, rounded off between -1/2 and 1/2.

    Example:
        >>> print(smooth_sign(jnp.array([-2.0, 0.0, 0.25, 0.5])))
        [-1.          0.          0.79296875  1.        ]
    """
    u = jnp.clip(2 * theta, -1, 1)
    return u * (u**2 * (3 * u**2 - 10) + 15) / 8


def bend(theta: Float[Array, "..."]) -> tuple[Array, Array, Array]:
    """Return s(θ) = θ a(θ) with its first two derivatives."""
    u = jnp.clip(2 * theta, -1, 1)
    sign = smooth_sign(theta)
    slope = 15 / 8 * (u**2 - 1) ** 2
    curve = 15 / 2 * u * (u**2 - 1)
    return theta * sign, sign + u * slope, 4 * slope + 2 * u * curve


__all__ = ["bend", "smooth_sign"]
