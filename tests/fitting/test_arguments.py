"""What `fit` takes and refuses: each message names the argument and the key."""

import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import everwillow as ew
import everwillow.statelib as sl
from everwillow._errors import (
    RESULTS,
    ArgumentTypeError,
    ArgumentValueError,
    FitError,
    ShapeMismatchError,
    UnknownKeyError,
)
from everwillow.fitting.run import resolve
from tests.fitting.objectives import (
    GAUSSIAN_START,
    SAMPLE,
    gaussian,
    quadratic,
    quadratic_data,
    state,
)
from tests.helpers import tree_allclose


def root(params, data):
    """Finite with an infinite slope at zero."""
    return jnp.sqrt(params["mu"]) * data + (params["sigma"] - 1) ** 2


def mixed(params, data):
    """Switch between data by an integer and a flag, neither of which can be fitted."""
    assert params["which"].dtype == jnp.int32
    assert params["flag"].dtype == jnp.bool_
    assert data["choices"].dtype == jnp.int32
    chosen = data["choices"][params["which"]].astype(float)
    centre = jnp.where(params["flag"], chosen, -chosen)
    return 0.5 * ((params["mu"] - centre) / jnp.asarray(data["width"], float)) ** 2


# ------------------------------------------------------------------ wrong arguments


@pytest.mark.parametrize("params", [None, 1.0, "mu", np.ones(2)])
def test_parameters_that_are_no_state(params):
    with pytest.raises(ArgumentTypeError, match=r"params.*State\.from_pytree"):
        ew.fit(gaussian, params, SAMPLE)


@pytest.mark.parametrize("objective", [None, 3.0, "gaussian"])
def test_objectives_that_cannot_be_called(objective):
    with pytest.raises(ArgumentTypeError, match=r"nll_fn.*Model"):
        ew.fit(objective, GAUSSIAN_START, SAMPLE)


@pytest.mark.parametrize("argument", ["fixed", "bounds"])
@pytest.mark.parametrize("value", [["sigma"], "sigma", 1.0, {"sigma"}])
def test_fixed_and_bounds_that_are_no_mapping(argument, value):
    with pytest.raises(ArgumentTypeError, match=argument):
        ew.fit(gaussian, GAUSSIAN_START, SAMPLE, **{argument: value})


@pytest.mark.parametrize("argument", ["fixed", "bounds"])
@pytest.mark.parametrize("value", [["sigma"], 1.0])
def test_the_same_with_a_model(argument, value):
    model = ew.Model(gaussian, GAUSSIAN_START, SAMPLE)
    with pytest.raises(ArgumentTypeError, match=argument):
        ew.fit(model, **{argument: value})


@pytest.mark.parametrize(
    ("argument", "entry"), [("fixed", 1.0), ("bounds", ew.Interval(0.0, 1.0))]
)
def test_unknown_keys_get_the_nearest_one(argument, entry):
    with pytest.raises(UnknownKeyError, match=rf"{argument}.*'sgima'.*'sigma'"):
        ew.fit(gaussian, GAUSSIAN_START, SAMPLE, **{argument: {"sgima": entry}})
    # Without anything near it all keys are shown.
    with pytest.raises(UnknownKeyError, match=r"'qqq'.*'mu', 'sigma'"):
        ew.fit(gaussian, GAUSSIAN_START, SAMPLE, **{argument: {"qqq": entry}})
    # An entry that says nothing is looked at all the same: it is a typing error.
    with pytest.raises(UnknownKeyError, match="'sgima'"):
        ew.fit(gaussian, GAUSSIAN_START, SAMPLE, **{argument: {"sgima": None}})


def test_a_renamed_parameter_is_known_by_its_new_name_only():
    renamed = sl.rename(GAUSSIAN_START, {"mu": "mass"})
    with pytest.raises(UnknownKeyError, match="'mu'"):
        ew.fit(gaussian, renamed, SAMPLE, fixed={"mu": 1.0})
    assert ew.fit(gaussian, renamed, SAMPLE, fixed={"mass": 1.0}).params["mass"] == 1.0


@pytest.mark.parametrize("bound", [(0.0, 1.0), 0.0, [0.0, 1.0], "positive"])
def test_bounds_that_are_no_bound(bound):
    with pytest.raises(ArgumentTypeError, match=r"bounds\['sigma'\].*Interval"):
        ew.fit(gaussian, GAUSSIAN_START, SAMPLE, bounds={"sigma": bound})


def test_names_alone_are_no_mapping():
    with pytest.raises(ArgumentTypeError, match=r"list\. Write fixed=\{'mu': \.\.\.\}"):
        ew.fit(gaussian, GAUSSIAN_START, SAMPLE, fixed=["mu"])


@pytest.mark.parametrize("value", ["one", [1.0], {"a": 1.0}, object()])
def test_fixed_values_that_are_no_number(value):
    with pytest.raises(ArgumentTypeError, match=r"fixed\['mu'\]"):
        ew.fit(gaussian, GAUSSIAN_START, SAMPLE, fixed={"mu": value})


def test_fixed_values_of_another_shape():
    with pytest.raises(ShapeMismatchError, match=r"fixed\['mu'\].*\(3,\)"):
        ew.fit(gaussian, GAUSSIAN_START, SAMPLE, fixed={"mu": np.ones(3)})


def test_bounds_of_another_shape():
    box = ew.Interval(np.zeros(3), 5.0)
    with pytest.raises(ShapeMismatchError, match="sigma"):
        ew.fit(gaussian, GAUSSIAN_START, SAMPLE, bounds={"sigma": box})


@pytest.mark.parametrize(
    "bound",
    [
        ew.Interval(1.5, 2.0),
        ew.Interval(0.0, 0.5),
        ew.MinuitTransform(1.0, 2.0),
        ew.SigmoidTransform(0.0, 1.0),
        ew.OneSidedLogTransform(1.0, "lower"),
        ew.OneSidedLogTransform(1.0, "upper"),
    ],
)
@pytest.mark.parametrize("solver", [None, optx.BFGS(rtol=1e-8, atol=1e-8)])
def test_starts_outside_their_bounds(bound, solver):
    # A transform cannot begin at its end either, an Interval can.
    with pytest.raises(ArgumentValueError, match=r"params\['sigma'\].*1\.0.*inside"):
        ew.fit(gaussian, GAUSSIAN_START, SAMPLE, bounds={"sigma": bound}, solver=solver)


def test_one_element_of_an_array_outside_its_bounds():
    start = state(x=np.array([0.5, 2.0]))
    with pytest.raises(ArgumentValueError, match=r"params\['x'\]"):
        ew.fit(quadratic, start, quadratic_data(2), bounds={"x": ew.Interval(0.0, 1.0)})


@pytest.mark.parametrize("value", [np.arange(3), np.array([True]), True, np.int32(1)])
def test_integers_have_to_be_fixed(value):
    start = state(mu=value, sigma=1.0)
    with pytest.raises(ArgumentTypeError, match=r"params\['mu'\].*fixed=\{'mu'"):
        ew.fit(gaussian, start, SAMPLE)
    with pytest.raises(ArgumentTypeError, match=r"params\['mu'\]"):
        ew.fit(gaussian, start, SAMPLE, fixed={"mu": None})


@pytest.mark.parametrize("value", ["one", 1j, np.array([1j]), object()])
def test_parameters_that_are_no_real_numbers(value):
    with pytest.raises(ArgumentTypeError, match=r"params\['mu'\]"):
        ew.fit(gaussian, state(mu=value, sigma=1.0), SAMPLE)


@pytest.mark.parametrize(
    "solver", ["BFGS", optx.BFGS, 3, optx.LevenbergMarquardt(rtol=1e-8, atol=1e-8)]
)
def test_solvers_that_are_no_minimiser(solver):
    with pytest.raises(ArgumentTypeError, match=r"solver.*AbstractMinimiser"):
        ew.fit(gaussian, GAUSSIAN_START, SAMPLE, solver=solver)


@pytest.mark.parametrize("max_steps", [0, -3, 2.5, "many"])
def test_numbers_of_steps_that_are_none(max_steps):
    with pytest.raises((ArgumentValueError, ArgumentTypeError), match="max_steps"):
        ew.fit(gaussian, GAUSSIAN_START, SAMPLE, max_steps=max_steps)


def vector_valued(params, data):
    return (data - params["mu"]) ** 2 / params["sigma"]


def test_objectives_that_return_no_scalar():
    with pytest.raises((TypeError, ValueError), match=r"nll_fn.*\(5,\).*sum"):
        ew.fit(vector_valued, GAUSSIAN_START, SAMPLE)


# ------------------------------------------------------------------ starts that fail


def test_a_likelihood_that_is_not_finite_at_the_start():
    start = state(mu=0.25, sigma=-1.0)
    with pytest.raises(FitError, match=r"not finite.*mu=0\.25, sigma=-1") as caught:
        ew.fit(gaussian, start, SAMPLE)
    result = caught.value.result
    assert isinstance(result, ew.FitResult)
    assert not result.success
    assert bool(result.status == RESULTS.nonfinite_start)
    assert not np.isfinite(result.nll)
    assert tree_allclose(result.params.to_dict(), {"mu": 0.25, "sigma": -1.0})
    assert np.all(np.isnan(result.covariance))


def test_a_gradient_that_is_not_finite_at_the_start():
    with pytest.raises(FitError, match=r"not finite.*mu=0.0, sigma=3.0") as caught:
        ew.fit(root, state(mu=0.0, sigma=3.0), 1.0)
    assert bool(caught.value.result.status == RESULTS.nonfinite_start)
    # The likelihood itself is finite there, which helps to find the reason.
    assert caught.value.result.nll == 4.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_start_value_that_is_not_finite(value):
    with pytest.raises((FitError, ArgumentValueError), match=rf"mu.*{value}"):
        ew.fit(gaussian, state(mu=value, sigma=1.0), SAMPLE)


def test_a_fixed_value_that_is_not_finite():
    with pytest.raises((FitError, ArgumentValueError), match=r"mu.*nan"):
        ew.fit(gaussian, GAUSSIAN_START, SAMPLE, fixed={"mu": np.nan})


def test_without_throw_the_result_says_it():
    result = ew.fit(gaussian, state(mu=0.0, sigma=-1.0), SAMPLE, throw=False)
    assert not result.success
    assert result.success.dtype == bool
    assert bool(result.status == RESULTS.nonfinite_start)
    with pytest.raises(FitError) as caught:
        result.check()
    assert caught.value.result is result


def test_check_hands_a_minimum_on():
    result = ew.fit(gaussian, GAUSSIAN_START, SAMPLE, throw=False)
    assert result.check() is result


# ------------------------------------------------------------------ fixed parameters


def test_fixed_at_the_start_value_or_at_another():
    start = state(mu=1.5, sigma=1.0)
    at_start = ew.fit(gaussian, start, SAMPLE, fixed={"mu": ...})
    given = ew.fit(gaussian, GAUSSIAN_START, SAMPLE, fixed={"mu": 1.5})
    for result in (at_start, given):
        assert result.labels == ("sigma",)
        assert result.covariance.shape == (1, 1)
        assert result.params["mu"] == 1.5
        width = np.sqrt(np.mean((SAMPLE - 1.5) ** 2))
        np.testing.assert_allclose(result.params["sigma"], width, rtol=1e-10)
        # The Hessian may be that of one Newton step before the end.
        np.testing.assert_allclose(result.covariance, [[width**2 / 10]], rtol=1e-7)


@pytest.mark.parametrize(
    "value", [2, 2.0, np.float64(2), np.asarray(2), np.float32(2), jnp.asarray(2.0)]
)
def test_kinds_of_fixed_values(value):
    result = ew.fit(gaussian, GAUSSIAN_START, SAMPLE, fixed={"sigma": value})
    np.testing.assert_allclose(result.params["mu"], SAMPLE.mean(), rtol=1e-12)
    np.testing.assert_allclose(result.covariance, [[4 / 5]], rtol=1e-12)
    assert result.params["sigma"].dtype == np.float64


def test_a_number_fixes_each_element_of_an_array():
    data = quadratic_data(2)
    start = state(x=np.array([0.5, 2.0]))
    away = 0.3 - data["centre"]
    result = ew.fit(quadratic, start, data, fixed={"x": 0.3})
    np.testing.assert_array_equal(result.params["x"], [0.3, 0.3])
    np.testing.assert_allclose(
        result.nll, 0.5 * away @ data["hessian"] @ away, rtol=1e-12
    )


def test_entries_of_a_state_that_are_none_stay_free():
    left, right = sl.partition(
        state(mu=1.5, sigma=2.0), predicate=lambda key, _: key == "mu"
    )
    assert left["sigma"] is None
    fixed_mu = ew.fit(gaussian, GAUSSIAN_START, SAMPLE, fixed=left)
    assert fixed_mu.labels == ("sigma",)
    assert fixed_mu.params["mu"] == 1.5
    fixed_sigma = ew.fit(gaussian, GAUSSIAN_START, SAMPLE, fixed=right)
    assert fixed_sigma.labels == ("mu",)
    assert fixed_sigma.params["sigma"] == 2.0


@pytest.mark.slow
def test_bounds_may_be_a_state_with_entries_that_are_none():
    box = sl.State.from_pytree(
        {"mu": None, "sigma": ew.Interval(0.5, 1.0)},
        is_leaf=lambda x: x is None or isinstance(x, ew.Interval),
    )
    result = ew.fit(gaussian, GAUSSIAN_START, SAMPLE, bounds=box)
    assert result.params["sigma"] == 1.0
    np.testing.assert_array_equal(result.at_bound, [False, True])


def test_everything_fixed_is_the_value():
    fixed = {"mu": 1.5, "sigma": 2.0}
    result = ew.fit(gaussian, GAUSSIAN_START, SAMPLE, fixed=fixed)
    expected = 0.5 * np.sum(((SAMPLE - 1.5) / 2) ** 2) + 5 * np.log(2)
    np.testing.assert_allclose(result.nll, expected, rtol=1e-14)
    assert tree_allclose(result.params.to_dict(), fixed)
    assert result.success
    assert bool(result.status == RESULTS.successful)
    assert result.solver_result is None
    assert result.covariance.shape == result.hessian.shape == (0, 0)
    assert result.labels == ()
    assert result.num_steps == 0
    assert "fixed" in repr(result)


def test_no_parameters_at_all():
    result = ew.fit(lambda _, data: jnp.sum(data), sl.State.from_pytree({}), SAMPLE)
    assert result.success
    assert result.nll == SAMPLE.sum()


def test_everything_fixed_where_the_likelihood_is_not_finite():
    fixed = {"mu": 1.5, "sigma": -2.0}
    result = ew.fit(gaussian, GAUSSIAN_START, SAMPLE, fixed=fixed, throw=False)
    assert not result.success
    assert bool(result.status == RESULTS.nonfinite_start)
    with pytest.raises(FitError, match=r"mu=1\.5, sigma=-2"):
        ew.fit(gaussian, GAUSSIAN_START, SAMPLE, fixed=fixed)


@pytest.mark.slow
def test_a_model_brings_what_was_not_given():
    model = ew.Model(
        gaussian,
        GAUSSIAN_START,
        SAMPLE,
        fixed={"sigma": 2.0},
        bounds={"mu": ew.Interval(-1.0, 1.0)},
    )
    result = ew.fit(model)
    assert result.params["mu"] == 1.0
    assert result.params["sigma"] == 2.0
    freed = ew.fit(model, fixed={"sigma": None}, bounds={"mu": None})
    assert freed.labels == ("mu", "sigma")
    np.testing.assert_allclose(freed.params["mu"], SAMPLE.mean(), rtol=1e-10)
    other = ew.fit(model, observation=model.observation | {"main": 0.1 * SAMPLE})
    np.testing.assert_allclose(other.params["mu"], 0.1 * SAMPLE.mean(), rtol=1e-10)
    result = ew.fit(model, state(mu=0.5, sigma=3.0), fixed={"sigma": ...})
    assert result.params["sigma"] == 3.0


# ------------------------------------------------------------------ kinds of numbers


def test_integers_and_flags_reach_the_likelihood_as_they_are():
    data = {"choices": np.array([10, 20, 30], np.int32), "width": 2}
    start = state(mu=0, which=np.int32(2), flag=True)
    result = ew.fit(mixed, start, data, fixed={"which": ..., "flag": ...})
    assert result.labels == ("mu",)
    np.testing.assert_allclose(result.params["mu"], 30.0, rtol=1e-14)
    assert result.params["mu"].dtype == np.float64
    assert result.params["which"].dtype == np.int32
    assert result.params["flag"].dtype == bool
    np.testing.assert_allclose(result.covariance, [[4.0]], rtol=1e-14)
    other = {"which": np.int32(1), "flag": np.asarray(False)}
    result = ew.fit(mixed, start, data, fixed=other)
    np.testing.assert_allclose(result.params["mu"], -20.0, rtol=1e-14)
    assert result.params["which"] == 1


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray, float, np.float64])
def test_numbers_of_any_library_give_the_same_answer(kind):
    expected = ew.fit(gaussian, GAUSSIAN_START, SAMPLE)
    start = state(mu=kind(0.0), sigma=kind(1.0))
    array = np.asarray if kind in (float, np.float64) else kind
    result = ew.fit(gaussian, start, array(SAMPLE))
    assert tree_allclose(result.params.to_dict(), expected.params.to_dict(), rtol=0)
    np.testing.assert_array_equal(result.covariance, expected.covariance)
    # Outside of any transformation results are on the host.
    for leaf in (*result.params.values(), result.nll, result.hessian, result.edm):
        assert isinstance(leaf, np.ndarray | np.generic)


def test_python_integers_start_floating_point_parameters():
    result = ew.fit(gaussian, state(mu=0, sigma=1), SAMPLE)
    expected = ew.fit(gaussian, GAUSSIAN_START, SAMPLE)
    assert tree_allclose(result.params.to_dict(), expected.params.to_dict(), rtol=0)


def test_a_dict_replaces_start_values_of_a_model():
    model = ew.Model(gaussian, GAUSSIAN_START, SAMPLE)
    start = resolve(model, {"sigma": 3.0}).params
    assert start.to_dict() == {**GAUSSIAN_START.to_dict(), "sigma": 3.0}
    expected = ew.fit(gaussian, GAUSSIAN_START, SAMPLE)
    found = ew.fit(model, {"mu": 0, "sigma": 1})
    assert tree_allclose(found.params.to_dict(), expected.params.to_dict(), rtol=1e-6)
    # So do functions that take a point, and not start values.
    matrix = ew.uncertainty.hessian_matrix(model, {"sigma": 1.0})
    assert matrix.shape == (2, 2)
    with pytest.raises(UnknownKeyError, match=r"'main'.*model, observation="):
        ew.fit(model, {"main": SAMPLE})
    with pytest.raises(ArgumentTypeError, match=r"a State or a dict.*observation="):
        ew.fit(model, SAMPLE)


# ------------------------------------------------------------------ nothing is changed


@pytest.mark.slow
def test_inputs_are_the_same_afterwards():
    data = quadratic_data(2)
    start = state(x=np.array([0.5, 2.0]))
    box = {"x": ew.Interval(np.array([0.0, 0.0]), np.array([9.0, 9.0]))}
    before = (
        {key: np.array(value) for key, value in data.items()},
        np.array(start["x"]),
        np.array(box["x"].lower),
    )
    result = ew.fit(quadratic, start, data, bounds=box)
    assert tree_allclose((data, start["x"], box["x"].lower), before, rtol=0)
    assert list(box) == ["x"]
    # Nor do results hang on what the user may write to afterwards.
    found = np.array(result.params["x"])
    start["x"][:] = -7.0
    data["centre"][:] = -7.0
    np.testing.assert_array_equal(result.params["x"], found)
