"""Minima where an empty bin expects nothing, and what is said of such bins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import RESULTS
from everwillow.models.histfactory import from_pyhf
from tests.helpers import TraceCounter, assert_no_retrace


SIGNAL = np.array([2.0, 1.0, 0.5])
BACKGROUND = np.array([1.0, 3.0, 8.0])
COUNTS = np.array([0.0, 3.0, 9.0])
BOUNDS = {"mu": ew.Interval(-5.0, 5.0)}
START = ew.State.from_pytree({"a": 0.0, "mu": 1.0})


def rates(params):
    return params["mu"] * SIGNAL + BACKGROUND * (1 + 0.2 * params["a"])


def nll(params, counts):
    rate = rates(params)
    return jnp.sum(rate - counts * jnp.log(rate)) + 0.5 * params["a"] ** 2


def on_the_edge(counts):
    """Return the minimum along the edge, where mu follows from a."""
    a = np.linspace(-1.0, 1.0, 2_000_001)
    mu = -BACKGROUND[0] * (1 + 0.2 * a) / SIGNAL[0]
    other = mu * SIGNAL[1:, None] + BACKGROUND[1:, None] * (1 + 0.2 * a)
    values = np.sum(other - counts[1:, None] * np.log(other), 0) + 0.5 * a**2
    i = np.argmin(values)
    return float(a[i]), float(mu[i]), float(values[i])


@pytest.mark.slow
def test_the_minimum_is_that_along_the_edge():
    fit = ew.fit(nll, START, COUNTS, bounds=BOUNDS)
    a, mu, value = on_the_edge(COUNTS)
    assert bool(fit.status == RESULTS.edge_of_positivity)
    assert fit.params["a"] == pytest.approx(a, abs=2e-6)
    assert fit.params["mu"] == pytest.approx(mu, abs=1e-6)
    assert fit.nll == pytest.approx(value, abs=5e-7)
    assert "edge where a bin without events expects nothing" in fit.message()


@pytest.mark.slow
def test_errors_are_those_along_the_edge():
    fit = ew.fit(nll, START, COUNTS, bounds=BOUNDS)
    assert fit.errors is not None
    # mu = -(1 + 0.2 a) / 2 there.
    assert fit.errors["mu"] == pytest.approx(0.1 * fit.errors["a"], rel=1e-4)


@pytest.mark.slow
def test_it_is_differentiated_and_batched():
    def mu(count):
        counts = jnp.asarray(COUNTS).at[2].set(count)
        return ew.fit(nll, START, counts, bounds=BOUNDS).params["mu"]

    slope = (mu(9.01) - mu(8.99)) / 0.02
    assert jax.grad(mu)(9.0) == pytest.approx(float(slope), rel=1e-4)
    some = jnp.array([7.0, 11.0])
    np.testing.assert_allclose(jax.vmap(mu)(some), [mu(x) for x in some], atol=1e-7)


def test_a_second_fit_traces_nothing():
    counted = TraceCounter(nll)
    ew.fit(counted, START, COUNTS, bounds=BOUNDS)
    with assert_no_retrace(counted):
        ew.fit(counted, START, COUNTS + np.array([0, 1.0, 0]), bounds=BOUNDS)


def test_data_without_empty_bins_are_fitted_once():
    fit = ew.fit(nll, START, COUNTS + 1, bounds=BOUNDS, max_steps=2, throw=False)
    assert not fit.success
    assert fit.num_steps == 2


def workspace(observed, signal=(2.0, 1.0), background=(0.0, 3.0)):
    mu = {"name": "mu", "type": "normfactor", "data": None}
    norm = {"name": "ub", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
    samples = [
        {"name": "s", "data": list(signal), "modifiers": [mu]},
        {"name": "b", "data": list(background), "modifiers": [norm]},
    ]
    parameters = [{"name": "mu", "bounds": [[-5, 5]], "inits": [1.0]}]
    return {
        "channels": [{"name": "SR", "samples": samples}],
        "observations": [{"name": "SR", "data": list(observed)}],
        "measurements": [
            {"name": "m", "config": {"poi": "mu", "parameters": parameters}}
        ],
        "version": "1.0.0",
    }


@pytest.mark.slow
def test_a_model_names_the_bin_and_what_leads_there():
    fit = ew.fit(from_pyhf(workspace([0.0, 1.0])))
    assert fit.params["mu"] == pytest.approx(0, abs=1e-6)
    assert "SR[0] expects nothing where nothing was observed; mu took it there" in (
        fit.message()
    )


@pytest.mark.slow
def test_a_fit_that_fails_names_the_bins():
    model = from_pyhf(workspace([2.0, 5.0]))
    fit = ew.fit(model, fixed={"mu": 0.0}, throw=False)
    assert not fit.success
    assert "SR[0] expects nothing where 2 were observed." in fit.message()
    assert "SR[1]" not in fit.message()
    fit = ew.fit(model, fixed={"mu": -1.0}, throw=False)
    assert "SR[0] expects -2 where 2 were observed; mu took it there" in fit.message()


@pytest.mark.slow
def test_a_combination_names_the_model_too():
    parts = {
        "one": from_pyhf(workspace([0.0, 1.0])),
        "two": from_pyhf(workspace([3.0, 5.0], background=(1.0, 3.0))),
    }
    joint = ew.combine(parts, shared=["mu"])
    fit = ew.fit(joint, fixed={"mu": -0.25}, throw=False)
    assert not fit.success
    assert "one: SR[0] expects -0.5 where nothing was observed" in fit.message()
    assert "two: " not in fit.message()


def test_a_function_has_no_bins_to_name():
    fit = ew.fit(nll, START, COUNTS, bounds=BOUNDS, fixed={"mu": -5.0}, throw=False)
    assert not fit.success
    assert "expects" not in fit.message()
