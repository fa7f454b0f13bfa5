"""`correlate`: constraints become one Gaussian with the given correlations."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.stats as jss
import numpy as np
import pytest

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConflictError,
    NotPositiveDefiniteError,
    ShapeMismatchError,
    UnknownKeyError,
)
from everwillow.combination import combine, describe
from everwillow.model import Model
from everwillow.parameters import MultivariateNormal, Normal, Poisson
from tests.combination.models import quadratic
from tests.helpers import finite_difference_gradient


MEANS = np.array([1.0, -1.0, 0.5, 2.0])
WIDTHS = np.array([0.1, 2.0, 30.0, 0.7])
NAMES = ("a", "b", "c", "d")


def one_each():
    return {
        name.upper(): quadratic([name], constraints={name: Normal(mean, width)})
        for name, mean, width in zip(NAMES, MEANS, WIDTHS, strict=True)
    }


def trees_at(values):
    return tuple({name: value} for name, value in zip(NAMES, values, strict=True))


def gaussian(values, correlations):
    """The density written out, with the correlations of pairs of positions."""
    matrix = np.eye(len(values))
    for (row, column), rho in correlations.items():
        matrix[row, column] = matrix[column, row] = rho
    covariance = jnp.asarray(matrix * np.outer(WIDTHS, WIDTHS))
    return -jss.multivariate_normal.logpdf(values, jnp.asarray(MEANS), covariance)


VALUES = np.array([1.05, 0.3, -12.0, 2.4])


@pytest.mark.parametrize(
    "pairs",
    [
        {("a", "b"): 0.3},
        {("d", "a"): -0.9},
        {("a", "b"): 0.3, ("c", "d"): -0.5},
        {("a", "d"): 0.5, ("d", "b"): 0.5},
        {("b", "a"): 0.2, ("c", "a"): 0.4, ("d", "c"): -0.6, ("b", "d"): 0.1},
    ],
)
def test_it_is_the_gaussian_written_out(pairs):
    joint = combine(one_each(), correlate=pairs)
    places = {tuple(NAMES.index(k) for k in pair): rho for pair, rho in pairs.items()}
    np.testing.assert_allclose(
        joint.constraint_nll(trees_at(VALUES)), gaussian(VALUES, places), rtol=1e-13
    )
    np.testing.assert_allclose(
        joint.nll(trees_at(VALUES))
        - joint.main_nll(trees_at(VALUES), joint.observation["main"]),
        gaussian(VALUES, places),
        rtol=1e-12,
    )


def test_only_what_is_connected_is_joined():
    joint = combine(one_each(), correlate={("a", "b"): 0.3, ("b", "d"): 0.1})
    assert set(joint.constraints) == {"c", "joint(a, b, d)"}
    constraint = joint.constraints["joint(a, b, d)"]
    assert constraint.keys == ("a", "b", "d")
    np.testing.assert_allclose(constraint.width, WIDTHS[[0, 1, 3]], rtol=1e-15)
    np.testing.assert_allclose(
        joint.observation["aux"]["joint(a, b, d)"], MEANS[[0, 1, 3]]
    )
    assert describe(joint)["b"].constraint is constraint


def test_zero_correlation_changes_no_number():
    joint = combine(one_each(), correlate={("a", "b"): 0.0})
    np.testing.assert_allclose(
        joint.nll(trees_at(VALUES)),
        combine(one_each()).nll(trees_at(VALUES)),
        rtol=1e-14,
    )


def test_the_auxiliary_data_are_those_of_the_models_not_the_means():
    moved = quadratic(["a"], constraints={"a": Normal(1.0, 0.1)})
    moved = eqx.tree_at(lambda m: m.observation["aux"]["a"], moved, np.float64(1.5))
    joint = combine({**one_each(), "A": moved}, correlate={("a", "b"): 0.3})
    np.testing.assert_array_equal(joint.observation["aux"]["joint(a, b)"], [1.5, -1.0])


def test_names_are_those_after_renaming_and_prefixing():
    lumi = {"lumi": Normal(1.0, 0.02)}
    models = {
        "atlas": quadratic(["x", "lumi"], constraints=lumi),
        "cms": quadratic(["x", "lumi"], constraints=lumi),
    }
    joint = combine(models, shared=["x"], correlate={("atlas.lumi", "cms.lumi"): 0.3})
    values = np.array([1.01, 0.97])
    trees = tuple({"x": 0.0, "lumi": value} for value in values)
    covariance = 0.02**2 * jnp.array([[1.0, 0.3], [0.3, 1.0]])
    np.testing.assert_allclose(
        joint.constraint_nll(trees),
        -jss.multivariate_normal.logpdf(values, jnp.ones(2), covariance),
        rtol=1e-13,
    )


def test_a_joint_gaussian_that_is_there_already_grows():
    """Correlating in two steps is correlating at once."""
    models = one_each()
    pair = combine({"A": models["A"], "B": models["B"]}, correlate={("a", "b"): 0.3})
    nested = combine(
        {"pair": pair, "C": models["C"], "D": models["D"]},
        correlate={("c", "b"): -0.4, ("d", "c"): 0.2},
    )
    at_once = {(0, 1): 0.3, (1, 2): -0.4, (2, 3): 0.2}
    np.testing.assert_allclose(
        nested.constraint_nll(trees_at(VALUES)), gaussian(VALUES, at_once), rtol=1e-13
    )
    assert len(nested.constraints) == 1


def test_the_correlation_can_be_differentiated():
    def nll(rho):
        joint = combine(one_each(), correlate={("a", "b"): rho})
        return joint.constraint_nll(trees_at(VALUES))

    gradient = jax.jit(jax.grad(nll))(0.3)
    np.testing.assert_allclose(
        gradient, finite_difference_gradient(nll, jnp.array(0.3)), rtol=1e-9
    )


def test_correlations_that_contradict_each_other_name_the_direction():
    pairs = {("a", "b"): 0.9, ("b", "c"): 0.9, ("a", "c"): -0.9}
    with pytest.raises(NotPositiveDefiniteError) as caught:
        combine(one_each(), correlate=pairs)
    message = str(caught.value)
    assert message.startswith("correlate:")
    assert all(f"'{name}'" in message for name in "abc")
    assert "'d'" not in message


@pytest.mark.parametrize("rho", [1.0, -1.0])
def test_full_correlation_is_sharing(rho):
    with pytest.raises(NotPositiveDefiniteError, match="share"):
        combine(one_each(), correlate={("a", "b"): rho})


def extended():
    free = Model(lambda p, o: jnp.sum(p["v"]) ** 2, {"v": np.ones(2)}, 0.0)
    return {
        **one_each(),
        "count": quadratic(["n"], constraints={"n": Poisson(4.0)}),
        "free": quadratic(["f"]),
        "vector": free,
        "two": quadratic(
            ["p", "q"],
            constraints={"pq": MultivariateNormal(("p", "q"), [0.0, 0.0], np.eye(2))},
        ),
    }


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        ({("a", "bb"): 0.1}, UnknownKeyError, "correlate: .*'bb'"),
        ({("a", "a"): 0.1}, ArgumentValueError, "one parameter"),
        ({("a", "b"): 1.1}, ArgumentValueError, "not between -1 and 1"),
        ({("a", "b"): float("nan")}, ArgumentValueError, "not between -1 and 1"),
        ({("a", "b"): "0.1"}, ArgumentTypeError, "one number, got '0.1'"),
        ({("a", "b"): True}, ArgumentTypeError, "one number, got True"),
        ({("a", "b"): 0.1, ("b", "a"): 0.2}, ArgumentValueError, "both orders"),
        ({("a", "n"): 0.1}, ArgumentValueError, r"'n' needs .* has Poisson\(4\)"),
        ({("a", "f"): 0.1}, ArgumentValueError, "'f' needs .* it has none"),
        ({("a", "v"): 0.1}, ShapeMismatchError, r"'v' has shape \(2,\)"),
        ({("p", "q"): 0.1}, ConflictError, "in one joint Gaussian already"),
        ({"ab": 0.1}, ArgumentTypeError, "pair of parameters, got 'ab'"),
        ([("a", "b", 0.1)], ArgumentTypeError, "expected a mapping like"),
    ],
)
def test_what_cannot_be_correlated_is_explained(pairs, error, message):
    with pytest.raises(error, match=message):
        combine(extended(), correlate=pairs)


def test_a_pair_in_both_orders_with_one_value_is_fine():
    joint = combine(one_each(), correlate={("a", "b"): 0.1, ("b", "a"): 0.1})
    np.testing.assert_allclose(
        joint.constraint_nll(trees_at(VALUES)),
        gaussian(VALUES, {(0, 1): 0.1}),
        rtol=1e-13,
    )
