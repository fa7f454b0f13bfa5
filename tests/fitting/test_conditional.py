"""Conditional fits: the same numbers as with fixed parameters, in one program."""

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import everwillow as ew
from everwillow.fitting.conditional import conditional_fit, pose


def nll(params, data):
    rate = params["mu"] * 5.0 * params["eff"] + params["bkg"]
    pulls = 0.5 * jnp.sum((params["bkg"] - 10.0) ** 2 / 4.0)
    return jnp.sum(rate - data * jnp.log(rate)) + pulls + 50 * (params["eff"] - 1) ** 2


START = ew.State.from_pytree({"mu": 1.0, "eff": 1.0, "bkg": np.full(3, 10.0)})
DATA = np.array([14.0, 17.0, 12.0])
BOUNDS = {"mu": ew.Interval(0.0, 10.0)}


@pytest.mark.slow
@pytest.mark.parametrize("held", [{"mu": 0.3}, {"eff": 1.1, "mu": ...}, {"bkg": 9.0}])
def test_is_the_fit_with_fixed_parameters(held):
    one = conditional_fit(nll, START, DATA, held=held, bounds=BOUNDS)
    other = ew.fit(nll, START, DATA, fixed=held, bounds=BOUNDS)
    np.testing.assert_allclose(one.nll, other.nll, rtol=1e-13)
    np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-6)
    assert one.labels == other.labels
    for key, value in other.params.items():
        np.testing.assert_allclose(one.params[key], value, rtol=1e-7)


@pytest.mark.slow
def test_solvers_that_know_no_mask_hold_too():
    solver = optx.BFGS(rtol=1e-9, atol=1e-9)
    options = {"held": {"mu": 0.3}, "bounds": BOUNDS}
    ours = conditional_fit(nll, START, DATA, **options)
    other = conditional_fit(nll, START, DATA, solver=solver, **options)
    assert other.params["mu"] == 0.3
    np.testing.assert_allclose(other.nll, ours.nll, rtol=1e-9)
    np.testing.assert_allclose(other.params["bkg"], ours.params["bkg"], rtol=1e-5)


def test_one_element_of_an_array_can_be_held():
    result = conditional_fit(nll, START, DATA, held={"bkg[1]": 12.5}, bounds=BOUNDS)
    assert result.params["bkg"][1] == 12.5
    assert result.labels == ("bkg[0]", "bkg[2]", "eff", "mu")
    errors = ew.uncertainties(nll, result, DATA)
    np.testing.assert_allclose(
        errors["bkg"][[0, 2]] ** 2, np.diag(result.covariance)[:2]
    )
    assert np.isnan(errors["bkg"][1])


@pytest.mark.slow
def test_all_conditional_fits_run_the_program_of_the_free_fit():
    traces = []

    def counted(params, data):
        traces.append(0)
        return nll(params, data)

    ew.fit(counted, START, DATA, bounds=BOUNDS)
    before = len(traces)
    for held in ({"mu": 0.5}, {"mu": 2.0}, {"eff": 0.9}, {"bkg[2]": 11.0, "mu": 1.0}):
        conditional_fit(counted, START, DATA, held=held, bounds=BOUNDS)
    assert len(traces) == before


@pytest.mark.slow
def test_gradient_of_a_profile_is_the_partial_derivative():
    def profile(mu):
        return conditional_fit(nll, START, DATA, held={"mu": mu}, bounds=BOUNDS).nll

    slope = jax.grad(profile)(0.4)
    step = 1e-5
    difference = (profile(0.4 + step) - profile(0.4 - step)) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-7)


@pytest.mark.slow
def test_a_batch_is_the_loop():
    values = jnp.linspace(0.1, 2.0, 5)

    def profile(mu):
        return conditional_fit(nll, START, DATA, held={"mu": mu}, bounds=BOUNDS).nll

    batch = jax.vmap(profile)(values)
    np.testing.assert_allclose(batch, [profile(v) for v in values], rtol=1e-12)


def test_the_problem_moves_to_other_starts_and_data():
    problem = pose(nll, START, DATA, bounds=BOUNDS)
    best = problem.fit()
    again = problem.at(best).fit()
    assert int(again.num_steps) <= 2
    other = problem.given(DATA + 1.0).fit()
    np.testing.assert_allclose(
        other.nll, ew.fit(nll, START, DATA + 1.0, bounds=BOUNDS).nll, rtol=1e-13
    )


@pytest.mark.parametrize(
    ("held", "error", "words"),
    [
        ({"mux": 1.0}, KeyError, "mu"),
        ({"mu": -1.0}, ValueError, r"\[0, 10\]"),
        ({"mu": np.nan}, ValueError, "finite"),
        ({"bkg": np.ones(2)}, ValueError, "shape"),
        ({"bkg[7]": 1.0}, KeyError, "bkg"),
    ],
)
def test_what_cannot_be_held_is_refused(held, error, words):
    with pytest.raises(error, match=words) as caught:
        conditional_fit(nll, START, DATA, held=held, bounds=BOUNDS)
    assert isinstance(caught.value, ew.EverwillowError)


def test_a_fixed_parameter_cannot_be_held():
    with pytest.raises(ValueError, match="'eff' is fixed"):
        conditional_fit(nll, START, DATA, held={"eff": 1.0}, fixed={"eff": ...})
