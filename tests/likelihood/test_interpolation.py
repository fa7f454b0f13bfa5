"""Interpolation codes against their definitions, solved independently."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from everwillow.likelihood.interpolation import Bend, NormFactors
from tests.helpers import finite_difference_gradient
from tests.likelihood.binned import oracle
from tests.likelihood.binned.specs import CODES as PYHF_CODES


CODES = (*PYHF_CODES, "code6")

# Symmetric, asymmetric, one-sided, on one side of 1, none, and one that code 4 takes
# below zero between its ends.
ENDS = [(0.8, 1.25), (0.9, 1.2), (1.0, 1.3), (1.1, 1.4), (1.0, 1.0), (0.01, 105.6)]
ALPHAS = np.array(
    [-5, -2.3, -1.01, -1, -0.99, -0.6, -0.1, 0, 0.1, 0.5, 0.99, 1, 1.7, 4]
)
ADDITIVE = [code for code in PYHF_CODES if code not in ("code1", "code4")]
# Of numbers as large as the largest of the ends.
ROUNDING = 1e-13
KINKS = {"code0": (0,), "code1": (0,), "code2": (-1, 1)}


_evaluate = jax.jit(lambda made, alpha: made(alpha))


def evaluate(made, alpha):
    """Return value and two derivatives of factors or bends."""
    return _evaluate(made, jnp.asarray(alpha))


def grid():
    """Return all pairs of ends and places, one long array of each."""
    pairs = [(*ends, alpha) for ends in ENDS for alpha in ALPHAS]
    return (np.array(column) for column in zip(*pairs, strict=True))


def factors(code):
    down, up, alpha = grid()
    return down, up, alpha, NormFactors.of(code, down, up)


@pytest.mark.parametrize("code", CODES)
def test_factors_are_those_of_the_definition(code):
    down, up, alpha, made = factors(code)
    wanted = [
        oracle.interpolated(code, a, d, 1.0, u)
        for d, u, a in zip(down, up, alpha, strict=True)
    ]
    found, _, _ = evaluate(made, alpha)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=ROUNDING)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize(("place", "which"), [(-1.0, 0), (0.0, None), (1.0, 1)])
def test_factors_where_they_are_known(code, place, which):
    down, up = np.array(ENDS).T
    made = NormFactors.of(code, down, up)
    found, _, _ = evaluate(made, np.full(len(ENDS), place))
    wanted = np.ones(len(ENDS)) if which is None else (down, up)[which]
    np.testing.assert_allclose(found, wanted, rtol=1e-14, atol=ROUNDING)


@pytest.mark.parametrize("code", CODES)
def test_derivatives_of_factors_are_those_of_jax(code):
    _, _, alpha, made = factors(code)
    alpha = jnp.asarray(alpha)
    ones = jnp.ones_like(alpha)

    def first(a):
        return jax.jvp(lambda v: made(v)[0], (a,), (ones,))[1]

    slope, bend = jax.jit(lambda a: jax.jvp(first, (a,), (ones,)))(alpha)
    found = evaluate(made, alpha)
    smooth = ~np.isin(alpha, KINKS.get(code, ()))
    np.testing.assert_allclose(found[1][smooth], slope[smooth], rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(found[2][smooth], bend[smooth], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("code", ["code4", "code4p", "code6"])
@pytest.mark.parametrize("end", [-1.0, 0.0, 1.0])
def test_two_derivatives_are_continuous(code, end):
    """To the left and to the right they differ by the third derivative times 2e-9."""
    down, up = np.array(ENDS[:-1]).T
    made = NormFactors.of(code, down, up)
    left, right = (
        evaluate(made, np.full(len(down), end + step)) for step in (-1e-9, 1e-9)
    )
    for one, other in zip(left, right, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


@pytest.mark.parametrize("code", ["code4", "code4p"])
def test_other_codes_have_a_kink_where_this_has_none(code):
    """The check above can fail: slopes of codes 0 and 1 jump at 0."""
    kinked = {"code4": "code1", "code4p": "code0"}[code]
    made = NormFactors.of(kinked, np.array([0.9]), np.array([1.3]))
    left, right = (evaluate(made, np.array([s]))[1][0] for s in (-1e-9, 1e-9))
    assert right - left > 0.1


def test_a_factor_of_code_4_may_be_negative_between_its_ends():
    """The polynomial for 105.6 and 0.01 falls to -4.3; its sign is kept."""
    alpha = np.linspace(-1, 1, 81)
    made = NormFactors.of("code4", np.full(81, 0.01), np.full(81, 105.6))
    values = evaluate(made, alpha)
    assert np.isfinite(values).all()
    assert np.min(values[0]) == pytest.approx(-4.3, abs=0.1)


def test_code_4_is_exponential_beyond_one():
    made = NormFactors.of("code4", np.array([0.8, 0.8]), np.array([1.3, 1.3]))
    found, _, _ = evaluate(made, np.array([2.5, -2.5]))
    np.testing.assert_allclose(found, [1.3**2.5, 0.8**2.5], rtol=1e-14)


@pytest.mark.parametrize("code", ADDITIVE)
def test_bends_make_the_changes_of_additive_codes(code):
    """The change of a template is ``B alpha + A bend(alpha)``."""
    down, nominal, up = 7.0, 10.0, 14.0
    half, curve = (up - down) / 2, (up + down) / 2 - nominal
    bend = evaluate(Bend.of([code] * len(ALPHAS)), ALPHAS)
    wanted = [oracle.interpolated(code, a, down, nominal, up) for a in ALPHAS]
    np.testing.assert_allclose(
        nominal + half * ALPHAS + curve * np.asarray(bend[0]), wanted, rtol=1e-13
    )
    ends = (np.full(len(ALPHAS), end / nominal) for end in (down, up))
    factor = evaluate(NormFactors.of(code, *ends), ALPHAS)
    for order in (1, 2):
        inner = half if order == 1 else 0.0
        np.testing.assert_allclose(
            (inner + curve * np.asarray(bend[order])) / nominal,
            factor[order],
            rtol=1e-12,
            atol=1e-14,
        )


def test_several_bends_at_once_are_each_their_own():
    bends = Bend.of(ADDITIVE)
    alpha = jnp.array([0.4, -0.6, 1.7])
    together = np.array(bends(alpha))
    for i, code in enumerate(ADDITIVE):
        alone = np.array(Bend.of([code])(alpha[i : i + 1]))[:, 0]
        np.testing.assert_array_equal(together[:, i], alone)


def test_joined_factors_come_in_the_order_that_is_asked_for():
    down, up = np.array([0.9, 0.7]), np.array([1.2, 1.4])
    parts = [NormFactors.of(code, down, up) for code in ("code4", "code1")]
    joined = NormFactors.joined(parts, np.array([3, 0, 2, 1]))
    one, other = (evaluate(part, np.full(2, 0.3))[0] for part in parts)
    found, _, _ = evaluate(joined, np.full(4, 0.3))
    np.testing.assert_allclose(found, [other[1], one[0], other[0], one[1]])


@pytest.mark.parametrize("code", CODES)
def test_factors_have_derivatives_by_their_templates(code):
    @jax.jit
    def total(ends):
        made = NormFactors.of(code, ends[0][None], ends[1][None])
        return jnp.sum(made(jnp.array([0.4]))[0]) + jnp.sum(made(jnp.array([-1.7]))[0])

    ends = jnp.array([0.85, 1.2])
    np.testing.assert_allclose(
        jax.grad(total)(ends), finite_difference_gradient(total, ends), rtol=1e-8
    )


def test_the_coefficients_of_code_4_are_those_in_the_literature():
    """CERN-OPEN-2012-016, eq. (11): a1 = (15 A0 - 7 S1 + A2) / 8 and so on."""
    up, down = 1.3, 0.8
    lu, ld = math.log(up), math.log(down)
    s0, a0 = (up + down) / 2, (up - down) / 2
    s1, a1 = (up * lu - down * ld) / 2, (up * lu + down * ld) / 2
    s2, a2 = (up * lu**2 + down * ld**2) / 2, (up * lu**2 - down * ld**2) / 2
    wanted = [
        (15 * a0 - 7 * s1 + a2) / 8,
        (-24 + 24 * s0 - 9 * a1 + s2) / 8,
        (-5 * a0 + 5 * s1 - a2) / 4,
        (12 - 12 * s0 + 7 * a1 - s2) / 4,
        (3 * a0 - 3 * s1 + a2) / 8,
        (-8 + 8 * s0 - 5 * a1 + s2) / 8,
    ]
    made = NormFactors.of("code4", np.array([down]), np.array([up]))
    np.testing.assert_allclose(np.asarray(made.inner)[0], wanted, rtol=1e-12)
