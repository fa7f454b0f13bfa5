"""The Poisson kernel at its edges, and where rounding would hide differences."""

import math

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
import pytest

from everwillow.likelihood import poisson as kernel


# Compiled once for each shape; the edges are the same.
poisson_nll = jax.jit(kernel.poisson_nll)

COUNTS = np.array([0.0, 0.5, 1.0, 3.0, 17.0, 170.5, 1e4])
RATES = np.array([1e-9, 0.3, 0.5, 0.75, 1.5, 2.0, 16.9, 25.5, 8.5, 1e4, 1.6e4])


def pairs():
    counts, rates = np.meshgrid(COUNTS, RATES, indexing="ij")
    return counts.ravel(), rates.ravel()


def test_values_are_those_of_the_formula():
    counts, rates = pairs()
    wanted = [
        r - n * math.log(r) + math.lgamma(n + 1)
        for n, r in zip(counts, rates, strict=True)
    ]
    found = poisson_nll(jnp.asarray(counts), jnp.asarray(rates))
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def test_probabilities_sum_to_one():
    counts = jnp.arange(200.0)
    for rate in (0.4, 7.0, 90.0):
        total = jnp.sum(jnp.exp(-poisson_nll(counts, jnp.full(200, rate))))
        assert total == pytest.approx(1.0, rel=1e-12)


def test_derivatives_by_the_rate():
    counts, rates = map(jnp.asarray, pairs())
    first = jax.grad(lambda r: jnp.sum(poisson_nll(counts, r)))(rates)
    np.testing.assert_allclose(first, 1 - counts / rates, rtol=1e-12, atol=1e-12)
    second = jax.jvp(
        jax.grad(lambda r: jnp.sum(poisson_nll(counts, r))),
        (rates,),
        (jnp.ones_like(rates),),
    )[1]
    np.testing.assert_allclose(second, counts / rates**2, rtol=1e-12)


def test_derivative_by_the_count():
    """Counts move too: in Asimov data, and where data are differentiated."""
    counts, rates = (jnp.asarray(part)[len(RATES) :] for part in pairs())
    slope = jax.grad(lambda n: jnp.sum(poisson_nll(n, rates)))(counts)
    wanted = jsp.special.digamma(counts + 1) - jnp.log(rates)
    np.testing.assert_allclose(slope, wanted, rtol=1e-9, atol=1e-9)


def test_nothing_counted():
    """-ln L is the rate itself, down to zero, with the slope 1."""
    rates = jnp.array([0.0, 1e-300, 2.5])
    zeros = jnp.zeros(3)
    np.testing.assert_array_equal(poisson_nll(zeros, rates), rates)
    slope = jax.grad(lambda r: jnp.sum(poisson_nll(zeros, r)))(rates)
    np.testing.assert_array_equal(slope, np.ones(3))


@pytest.mark.parametrize(("count", "rate"), [(0.0, -0.1), (3.0, -2.0), (3.0, 0.0)])
def test_what_is_impossible_is_infinite(count, rate):
    assert poisson_nll(jnp.array(count), jnp.array(rate)) == jnp.inf
    slope = jax.grad(poisson_nll, 1)(jnp.array(count), jnp.array(rate))
    assert not jnp.isnan(slope)


@pytest.mark.parametrize(("count", "rate"), [(jnp.nan, 1.0), (1.0, jnp.nan)])
def test_not_a_number_is_told(count, rate):
    assert jnp.isnan(poisson_nll(jnp.array(count), jnp.array(rate)))


@pytest.mark.parametrize("count", [1e4, 1e8, 1e12])
def test_differences_of_large_counts_keep_their_digits(count):
    """A pull of x from a count n costs x²/2 up to terms in 1/sqrt(n).

    The two logarithms are of the size n ln n, 2e9 for 1e8: formed as their difference,
    the rounding alone would be 4e-7.
    """
    for pull in (1e-3, 0.1, 1.0, -2.0):
        rate = count + pull * math.sqrt(count)
        step = rate - count
        # The series of step - n ln(1 + step / n), whose terms fall fast.
        exact = sum((-1) ** k * step**k / (k * count ** (k - 1)) for k in range(2, 14))
        found = float(
            poisson_nll(jnp.array(count), jnp.array(rate))
            - poisson_nll(jnp.array(count), jnp.array(count))
        )
        assert found == pytest.approx(exact, rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("side", [0.5, 1.5])
def test_both_ways_to_the_logarithm_meet(side):
    """Half the count away another formula takes over, unseen."""
    count = jnp.array(200.0)
    low, high = (poisson_nll(count, count * side * (1 + e)) for e in (-1e-13, 1e-13))
    assert float(high - low) == pytest.approx(0.0, abs=1e-10)


def test_extreme_ratios_are_finite():
    counts, rates = jnp.array([1e300, 1.0, 1e8]), jnp.array([1.0, 1e-300, 1e-8])
    assert jnp.isfinite(poisson_nll(counts, rates)[1:]).all()
