"""Minima at the ends of the ranges of smooth maps."""

import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow.hypotest import Q0, QMu, QTilde, TMu, TMuTilde


START = ew.State.from_pytree({"mu": 1.0})
MAPS = [
    ew.SoftPlusTransform(),
    ew.OneSidedLogTransform(0.0),
    ew.SigmoidTransform(0.0, 10.0),
    ew.MinuitTransform(0.0, 10.0),
]


def nll(params, data):
    count, signal, background = data
    rate = params["mu"] * signal + background
    return rate - count * jnp.log(rate)


@pytest.mark.parametrize("transform", MAPS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(("signal", "background"), [(5.0, 3.0), (1e-3, 1e-3)])
def test_no_events_have_a_minimum_at_zero(transform, signal, background):
    data = jnp.array([0.0, signal, background])
    result = ew.fit(nll, START, data, bounds={"mu": transform})
    np.testing.assert_allclose(result.params["mu"], 0, atol=1e-12)
    np.testing.assert_allclose(result.nll, background)
    assert result.at_bound.tolist() == [True]


@pytest.mark.parametrize("statistic", [Q0, QMu, QTilde, TMu, TMuTilde])
@pytest.mark.parametrize("count", [0.0, 1.0])
def test_statistics_are_those_of_an_interval(statistic, count):
    data = jnp.array([count, 5.0, 3.0])
    values = [
        statistic().compute(nll, START, data, "mu", 1.0, bounds={"mu": bound}).value
        for bound in (MAPS[0], ew.Interval(0.0, None))
    ]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9)


@pytest.mark.parametrize("transform", MAPS[:2], ids=lambda one: type(one).__name__)
def test_no_effect_is_still_none(transform):
    with pytest.raises(ew.FitError, match="does not depend"):
        ew.fit(
            lambda p, n: 0.0 * p["mu"] + jnp.square(n - 1),
            START,
            jnp.array(3.0),
            bounds={"mu": transform},
        )
