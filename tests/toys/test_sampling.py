"""Pseudo-experiments."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import everwillow as ew
from everwillow.toys import (
    DrawnParameters,
    Fluctuated,
    sample_toys,
    toy_keys,
)
from tests.hypotest.models import uncorrelated_background


MODEL = uncorrelated_background()
TRUTH = ew.State.from_pytree({"mu": 0.7, "gamma": np.array([1.05, 0.9])})


def test_the_key_of_a_toy_depends_on_its_index_alone():
    keys = toy_keys(7, np.arange(10))
    np.testing.assert_array_equal(
        jr.key_data(keys[4]), jr.key_data(jr.fold_in(jr.key(7), 4))
    )
    for wrong in (1.5, True, np.zeros(2)):
        with pytest.raises(TypeError, match="seed"):
            toy_keys(wrong, np.arange(2))


def test_toys_do_not_depend_on_how_the_work_is_divided():
    whole = sample_toys(MODEL, TRUTH, ntoys=20, key=1)
    part = sample_toys(MODEL, TRUTH, ntoys=5, key=1, first=8)
    chosen = jax.tree.map(lambda leaf: leaf[8:13], whole)
    for one, other in zip(jax.tree.leaves(part), jax.tree.leaves(chosen), strict=True):
        np.testing.assert_array_equal(one, other)


def test_main_and_auxiliary_data_fluctuate():
    toys = sample_toys(MODEL, TRUTH, ntoys=4000, key=2)
    expected = MODEL.asimov(TRUTH)
    for found, mean in (
        (toys["main"], expected["main"]),
        (toys["aux"]["gamma"], expected["aux"]["gamma"]),
    ):
        # Mean and variance of a Poisson distribution, to five standard errors.
        error = np.sqrt(mean / 4000)
        assert np.all(np.abs(found.mean(0) - mean) < 5 * error)
        spread = found.var(0) / mean
        assert np.all(np.abs(spread - 1) < 5 * np.sqrt(2 / 4000) * 1.1)


def widths(params, data):
    return 0.5 * (data - params["a"] - params["b"]) ** 2


DRAWN = ew.Model(
    widths,
    {"a": 0.0, "b": 1.0, "c": 2.0, "d": 0.3, "e": -0.4, "free": 5.0},
    0.0,
    constraints={
        "a": ew.Normal(0.5, 0.2),
        "b": ew.LogNormal(1.5, 1.3),
        "c": ew.Poisson(tau=8.0),
        "joint": ew.MultivariateNormal(
            ("d", "e"), [0.3, -0.4], [[0.04, 0.018], [0.018, 0.09]]
        ),
    },
    expected=lambda p: p["a"],
    sample=lambda p, key: jnp.stack([p[k] for k in ("a", "b", "c", "d", "e", "free")]),
)


def test_parameters_drawn_from_their_constraints():
    # The "main data" are the parameters themselves, to look at them.
    toys = sample_toys(
        DRAWN, DRAWN.state, ntoys=20_000, key=4, sample_fn=DrawnParameters(DRAWN)
    )
    a, b, c, d, e, free = toys["main"].T
    aux = DRAWN.observation["aux"]
    count = float(aux["c"])
    close = {"rtol": 0.03, "atol": 0.005}
    np.testing.assert_allclose([a.mean(), a.std()], [0.5, 0.2], **close)
    logs = np.log(b)
    np.testing.assert_allclose(
        [logs.mean(), logs.std()], [np.log(1.5), np.log(1.3)], **close
    )
    # A Gamma density: flat prior times a Poisson probability of the count.
    gamma = [(count + 1) / 8.0, np.sqrt(count + 1) / 8.0]
    np.testing.assert_allclose([c.mean(), c.std()], gamma, **close)
    np.testing.assert_allclose([d.mean(), e.mean()], [0.3, -0.4], **close)
    np.testing.assert_allclose(
        np.cov(d, e), [[0.04, 0.018], [0.018, 0.09]], rtol=0.05, atol=0.002
    )
    assert np.all(free == 5.0)
    for name, value in aux.items():
        same = np.broadcast_to(value, toys["aux"][name].shape)
        np.testing.assert_array_equal(toys["aux"][name], same)


def test_toys_of_a_prediction_are_counts():
    toys = sample_toys(
        None,
        TRUTH,
        ntoys=3000,
        key=5,
        predict_fn=lambda s: {"n": 9.0 * s["mu"], "m": 20.0 * s["gamma"]},
    )
    assert toys["m"].shape == (3000, 2)
    np.testing.assert_array_equal(toys["n"], np.round(toys["n"]))
    assert abs(toys["n"].mean() - 6.3) < 5 * np.sqrt(6.3 / 3000)


def test_a_model_draws_by_itself():
    toys = sample_toys(MODEL, TRUTH, ntoys=3, key=6)
    again = sample_toys(None, TRUTH, ntoys=3, key=6, sample_fn=Fluctuated(MODEL))
    np.testing.assert_array_equal(toys["main"], again["main"])


@pytest.mark.parametrize("ntoys", [0, -3, 2.5, True])
def test_the_number_of_toys_is_positive(ntoys):
    with pytest.raises(ew.EverwillowError, match="ntoys"):
        sample_toys(MODEL, TRUTH, ntoys=ntoys, key=1)


def test_nothing_tells_how_to_draw():
    with pytest.raises(ew.EverwillowError, match="sample_fn"):
        sample_toys(lambda p, o: 0.0, TRUTH, ntoys=2, key=1)
