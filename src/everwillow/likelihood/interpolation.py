r"""Interpolation between templates, with its derivatives in closed form.

The effect of a systematic uncertainty is known at :math:`\alpha = -1, 0, 1`; the codes
of HistFactory define the interpolation and the extrapolation (CERN-OPEN-2012-016,
section 4.1; code 4p as in RooFit). With the yields :math:`d, n, u` there, let
:math:`B = (u - d)/2` and :math:`A = (u + d)/2 - n`.

====== ====================================== =======================================
code   for :math:`|\alpha| < 1`               beyond
====== ====================================== =======================================
0      as beyond                              change linear, kink at 0
1      as beyond                              factor exponential, kink at 0
2      change :math:`B\alpha + A\alpha^2`     change linear, smooth
4      factor a polynomial of sixth order     as code 1, two derivatives continuous
4p     change :math:`B\alpha + A\alpha^2      as code 0, two derivatives continuous
       (15 - 10\alpha^2 + 3\alpha^4)/8`
6      factor 1 + change of 4p over n         likewise
====== ====================================== =======================================

All additive codes are ``change = B alpha + A bend(alpha)``: one `Bend` for each
parameter, and two templates for each effect.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow._numerics import namespace
from everwillow.likelihood.binned.spec import Interpolation


MULTIPLICATIVE: tuple[Interpolation, ...] = ("code1", "code4", "code6")
EXPONENTIAL: tuple[Interpolation, ...] = ("code1", "code4")

# For each additive code: the range of the inner form; its coefficients of the second,
# fourth and sixth power; constant and slope in |alpha| beyond.
_BENDS: dict[str, tuple[float, ...]] = {
    "code0": (0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
    "code2": (1.0, 1.0, 0.0, 0.0, -1.0, 2.0),
    "code4p": (1.0, 15 / 8, -10 / 8, 3 / 8, 0.0, 1.0),
}
_BENDS["code6"] = _BENDS["code4p"]


class Bend(eqx.Module):
    """The symmetric part of additive interpolations, one for each of n parameters.

    Attributes:
        numbers: Shape ``(n, 6)``: reach, three inner coefficients, outer constant and
            slope.
    """

    numbers: Float[Array, "n 6"]

    @classmethod
    def of(cls, codes: Sequence[Interpolation]) -> "Bend":
        """Return the bends of additive codes."""
        rows = [_BENDS[code] for code in codes]
        return cls(np.array(rows, float).reshape(len(rows), 6))  # pyright: ignore[reportArgumentType]

    def __call__(self, alpha: Float[Array, " n"]) -> tuple[Array, Array, Array]:
        """Return the bend at each parameter's value, and two derivatives."""
        reach, c2, c4, c6, constant, slope = jnp.moveaxis(
            jnp.asarray(self.numbers), -1, 0
        )
        size = jnp.abs(alpha)
        inside = size < reach
        sign = jnp.where(alpha < 0, -1.0, 1.0)
        x = jnp.where(inside, alpha, 0)
        square = x * x
        value = square * (c2 + square * (c4 + square * c6))
        first = x * (2 * c2 + square * (4 * c4 + square * 6 * c6))
        second = 2 * c2 + square * (12 * c4 + square * 30 * c6)
        return (
            jnp.where(inside, value, constant + slope * size),
            jnp.where(inside, first, sign * slope),
            jnp.where(inside, second, 0),
        )


class NormFactors(eqx.Module):
    r"""Interpolated factors, one for each of n effects.

    Within its reach a factor is :math:`1 + \sum_k c_k \alpha^k`, beyond it
    :math:`(a + b|\alpha|) e^{r|\alpha|}`, with other numbers on either side.

    Attributes:
        inner: Coefficients of the powers 1 to 6, shape ``(n, 6)``.
        reach: Shape ``(n,)``.
        above: Constant, slope and rate for positive parameters, shape ``(n, 3)``.
        below: The same for negative ones.
    """

    inner: Float[Array, "n 6"]
    reach: Float[Array, " n"]
    above: Float[Array, "n 3"]
    below: Float[Array, "n 3"]

    @classmethod
    def of(cls, code: Interpolation, down: Any, up: Any) -> "NormFactors":
        """Return the factors of one code.

        Args:
            code: Any of the codes.
            down: Factors at -1, shape ``(n,)``; positive for codes 1 and 4.
            up: Factors at +1.
        """
        make = _exponential if code in EXPONENTIAL else _additive
        return make(code, down, up)

    @classmethod
    def joined(cls, parts: Sequence["NormFactors"], order: np.ndarray) -> "NormFactors":
        """Concatenate factors, and reorder them."""
        rows = [[p.inner, p.reach, p.above, p.below] for p in parts]
        xp = namespace(*[array for row in rows for array in row])
        return cls(
            *[xp.concatenate(column)[order] for column in zip(*rows, strict=True)]
        )

    def __call__(self, alpha: Float[Array, " n"]) -> tuple[Array, Array, Array]:
        """Return the factor of each effect at its parameter, and two derivatives."""
        size = jnp.abs(alpha)
        inside = size < self.reach
        positive = alpha >= 0
        x = jnp.where(inside, alpha, 0)
        c = jnp.moveaxis(jnp.asarray(self.inner), -1, 0)
        value = first = second = jnp.zeros_like(x)
        for power in range(6, 0, -1):
            second = second * x + 2 * first
            first = first * x + value
            value = value * x + c[power - 1]
        # So far this is the polynomial divided by x; one more step of Horner's scheme.
        second = second * x + 2 * first
        first = first * x + value
        value = value * x + 1
        outer = jnp.where(positive[:, None], self.above, self.below)
        constant, slope, rate = jnp.moveaxis(outer, -1, 0)
        far = jnp.where(inside, 0, size)
        growth = jnp.exp(rate * far)
        line = constant + slope * far
        sign = jnp.where(positive, 1.0, -1.0)
        return (
            jnp.where(inside, value, line * growth),
            jnp.where(inside, first, sign * (slope + rate * line) * growth),
            jnp.where(inside, second, (2 * slope * rate + rate**2 * line) * growth),
        )


def _exponential(code: Interpolation, down: Any, up: Any) -> NormFactors:
    xp = namespace(down, up)
    log_up, log_down = xp.log(up), xp.log(down)
    zero, ones = xp.zeros_like(up), xp.ones_like(up)
    above = xp.stack([ones, zero, log_up], -1)
    below = xp.stack([ones, zero, log_down], -1)
    if code == "code1":
        return NormFactors(xp.zeros((*up.shape, 6)), zero, above, below)
    ends = [(up * log_up**k, down * log_down**k) for k in range(3)]
    inner = sixth_order_coefficients(ends)
    return NormFactors(xp.stack(inner, -1), ones, above, below)


def sixth_order_coefficients(ends: Sequence[tuple[Any, Any]]) -> list[Any]:
    r"""Return the coefficients of the powers 1 to 6 of code 4 inside its reach.

    The polynomial has value, slope and curvature of the exponentials
    :math:`u^\alpha` and :math:`d^{-\alpha}` at both ends. Its even and its odd powers
    are solutions of two systems of three equations.

    Args:
        ends: :math:`(u \ln^k u, d \ln^k d)` for k = 0, 1, 2, numbers or arrays of one
            shape. The coefficients are linear in these, except for the constant that
            they contain: with zeros for all of them, this constant is returned.
    """
    even = [(u + d) / 2 for u, d in ends]
    odd = [(u - d) / 2 for u, d in ends]
    even[0] = even[0] - 1
    c6 = (even[2] - 5 * even[1] + 8 * even[0]) / 8
    c4 = (even[1] - 2 * even[0]) / 2 - 2 * c6
    c5 = (odd[2] - 3 * (odd[1] - odd[0])) / 8
    c3 = (odd[1] - odd[0]) / 2 - 2 * c5
    return [odd[0] - c3 - c5, even[0] - c4 - c6, c3, c4, c5, c6]


def _additive(code: Interpolation, down: Any, up: Any) -> NormFactors:
    xp = namespace(down, up)
    reach, c2, c4, c6, constant, slope = _BENDS[code]
    half, bend = (up - down) / 2, (up + down) / 2 - 1
    zero, ones = xp.zeros_like(up), xp.ones_like(up)
    inner = [half, c2 * bend, zero, c4 * bend, zero, c6 * bend]
    above = [ones + constant * bend, slope * bend + half, zero]
    below = [ones + constant * bend, slope * bend - half, zero]
    return NormFactors(
        xp.stack(inner, -1), reach * ones, xp.stack(above, -1), xp.stack(below, -1)
    )
