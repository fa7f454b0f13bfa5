"""Functions take a dict, list or tuple of parameters where they take a State."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import ArgumentTypeError
from everwillow.profile import minos, scan
from everwillow.toys import fit_toys
from tests.helpers import JaxWork, count_jax_work, tree_allclose


PARAMS = {"mu": 1.0, "nu": np.array([0.5, 0.5])}
STATE = ew.State.from_pytree(PARAMS)


def nll(params, data):
    return 0.5 * (params["mu"] - data) ** 2 + 2.0 * jnp.sum(params["nu"] ** 2)


def test_fit_of_a_dict_is_the_fit_of_its_state():
    result = ew.fit(nll, PARAMS, 3.0)
    assert tree_allclose(result.params, ew.fit(nll, STATE, 3.0).params, rtol=0)
    assert result.params.to_pytree()["mu"] == pytest.approx(3.0)


def test_second_fit_of_a_dict_traces_nothing():
    ew.fit(nll, PARAMS, 3.0)
    with count_jax_work() as work:
        ew.fit(nll, {"mu": 2.0, "nu": np.zeros(2)}, 4.0)
    assert work == JaxWork()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [list, tuple])
def test_sequences_are_parameters_too(kind):
    result = ew.fit(lambda p, data: (p[0] - data) ** 2 + p[1] ** 2, kind([1.0, 1.0]), 2)
    assert list(result.params) == ["0", "1"]
    assert result.params["0"] == pytest.approx(2.0)


@pytest.mark.slow
def test_derivatives_pass_through_a_dict():
    best = lambda data: ew.fit(nll, {"mu": 0.0, "nu": jnp.zeros(2)}, data).params["mu"]
    assert jax.grad(best)(3.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda *args: ew.ifit(*args).params,
        ew.uncertainties,
        ew.hessian_matrix,
        ew.covariance_matrix,
        ew.correlation_matrix,
        pytest.param(
            lambda *args: scan(*args, name="mu", values=[1.0, 2.0]).nll,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda *args: minos(*args, names="mu").lower, marks=pytest.mark.slow
        ),
    ],
)
def test_other_functions_take_a_dict(call):
    given, expected = call(nll, PARAMS, 3.0), call(nll, STATE, 3.0)
    assert tree_allclose(given, expected, rtol=0)


@pytest.mark.slow
def test_toys_and_combinations_take_a_dict():
    kwargs = {"ntoys": 8, "key": 1, "predict_fn": lambda s: 10 * s["mu"]}
    given, expected = (fit_toys(nll, p, **kwargs) for p in (PARAMS, STATE))
    assert tree_allclose(given.params, expected.params, rtol=0)
    given, expected = (ew.prepare([nll], [p])[1] for p in (PARAMS, STATE))
    assert tree_allclose(given, expected, rtol=0)


@pytest.mark.parametrize("wrong", [3.0, "mu", np.ones(2), None])
def test_what_has_no_names_is_refused(wrong):
    with pytest.raises(ArgumentTypeError, match=r"params: expected .* a dict"):
        ew.fit(nll, wrong, 1.0)
