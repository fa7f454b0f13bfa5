"""Parameters to leave out of a fit, by pattern."""

import numpy as np
import pytest

import everwillow as ew
from everwillow.fitting import frozen


STATE = ew.State.from_pytree(
    {"gamma": np.array([1.0, 1.1, 0.9]), "jes_1": 0.1, "jes_2": 0.2, "mu": 1.0}
)


def nll(params, data):
    return 0.5 * sum(((value - data) ** 2).sum() for value in params.values())


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["jes_*"], {"jes_1": ..., "jes_2": ...}),
        (["mu", "jes_1"], {"mu": ..., "jes_1": ...}),
        (["gamma"], {"gamma": ...}),
        (["gamma[[]?]"], {"gamma": ...}),
        ([], {}),
    ],
)
def test_patterns(patterns, found):
    assert frozen(STATE, *patterns) == found


def test_single_elements_keep_their_values():
    found = frozen(STATE, "gamma[1]", "mu")
    np.testing.assert_array_equal(found["gamma"], [np.nan, 1.1, np.nan])
    assert found["mu"] is ...


def test_they_are_taken_out_of_the_problem():
    data = np.array(2.0)
    fixed = frozen(STATE, "jes_*", "gamma[0]")
    result = ew.fit(nll, STATE, data, fixed=fixed)
    assert result.labels == ("gamma[1]", "gamma[2]", "mu")
    np.testing.assert_allclose(result.params["gamma"], [1.0, 2.0, 2.0], rtol=1e-9)
    assert result.params["jes_1"] == 0.1
    assert result.hessian.shape == (3, 3)


def test_a_model_has_its_own_start_values():
    model = ew.Model(nll, {"a": np.array(1.0), "b": np.array(2.0)}, np.array(3.0))
    assert frozen(model, "?") == {"a": ..., "b": ...}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [((STATE, "jer_*"), KeyError, "frozen"), (({"a": 1.0}, "a"), TypeError, "State")],
)
def test_bad_arguments(arguments, error, words):
    with pytest.raises(error, match=words) as caught:
        frozen(*arguments)
    assert isinstance(caught.value, ew.EverwillowError)
