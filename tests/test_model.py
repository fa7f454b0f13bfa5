"""Models: the sum of the main likelihood and the constraints, toys and Asimov data."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.scipy.stats as jss
import jax.tree_util as jtu
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConflictError,
    ShapeMismatchError,
    UnknownKeyError,
)
from everwillow._numerics import value_gradient_hessian
from everwillow.curvature import Arrow, Dense
from everwillow.model import AbstractModel, Model
from everwillow.objective import Evaluation, LeastSquares, evaluate
from everwillow.parameters import (
    AbstractConstraint,
    Interval,
    LogNormal,
    MultivariateNormal,
    Normal,
    Poisson,
)
from everwillow.statelib import State, merge, rename
from tests.helpers import finite_difference_gradient, tree_allclose


def counts_nll(params, counts):
    rate = params["mu"] * params["lumi"] * params["gamma"] + params["b"]["norm"]
    return -jnp.sum(jss.poisson.logpmf(counts, rate))


def counts_expected(params):
    return params["mu"] * params["lumi"] * params["gamma"] + params["b"]["norm"]


def counts_sample(params, key):
    return jr.poisson(key, counts_expected(params)).astype(float)


PARAMS = {"mu": 1.0, "lumi": 1.0, "gamma": jnp.ones(3), "b": {"norm": 2.0}}
COUNTS = jnp.array([3.0, 2.0, 5.0])
AWAY = {
    "mu": 1.3,
    "lumi": 1.01,
    "gamma": jnp.array([0.9, 1.1, 1.2]),
    "b": {"norm": 1.7},
}


def constraints():
    return {
        "lumi": Normal(1.0, 0.02),
        "gamma": Poisson(jnp.array([100.0, 50.0, 25.0])),
        "b.norm": LogNormal(2.0, 1.2),
    }


def counting(**changes):
    options = {
        "constraints": constraints(),
        "bounds": {"mu": Interval(0.0)},
        "expected": counts_expected,
        "sample": counts_sample,
    }
    return Model(counts_nll, PARAMS, COUNTS, **(options | changes))


@pytest.mark.slow
def test_nll_is_the_main_part_plus_every_constraint_by_hand():
    model = counting()
    expected = (
        counts_nll(AWAY, COUNTS)
        - jss.norm.logpdf(1.0, 1.01, 0.02)
        - jnp.sum(
            jss.poisson.logpmf(
                jnp.array([100.0, 50.0, 25.0]),
                jnp.array([100.0, 50.0, 25.0]) * AWAY["gamma"],
            )
        )
        - jss.norm.logpdf(jnp.log(2.0), jnp.log(1.7), jnp.log(1.2))
        + jnp.log(2.0)
    )
    np.testing.assert_allclose(model.nll(AWAY), expected, rtol=1e-14)
    np.testing.assert_allclose(
        model.constraint_nll(AWAY), expected - counts_nll(AWAY, COUNTS), rtol=1e-13
    )


def test_a_model_is_an_objective_and_takes_states_too():
    model = counting()
    state = model.state.with_values(jtu.tree_leaves(AWAY))
    assert model(AWAY, model.observation) == model.nll(AWAY) == model.nll(state)


@pytest.mark.slow
def test_a_model_is_an_argument_of_jit_and_grad():
    model = counting()
    jitted = jax.jit(lambda m, p, o: m.nll(p, o))
    np.testing.assert_allclose(
        jitted(model, AWAY, model.observation), model.nll(AWAY), rtol=1e-15
    )
    gradient = jax.grad(model.nll)(AWAY)
    assert tree_allclose(
        gradient, finite_difference_gradient(model.nll, AWAY), rtol=1e-8, atol=1e-9
    )


def test_auxiliary_data_can_be_differentiated():
    """The derivative by the centre of a Gaussian is the pull over the width."""
    model = counting()
    gradient = jax.grad(lambda obs: model.nll(AWAY, obs))(model.observation)
    np.testing.assert_allclose(gradient["aux"]["lumi"], (1.0 - 1.01) / 0.02**2)


def test_models_of_the_same_functions_have_equal_structures():
    model = counting()
    other = Model(
        counts_nll,
        AWAY,
        COUNTS + 1.0,
        constraints=constraints() | {"lumi": Normal(1.1, 0.05)},
        bounds={"mu": Interval(-1.0)},
        expected=counts_expected,
        sample=counts_sample,
    )
    assert jtu.tree_structure(model) == jtu.tree_structure(other)
    assert hash(jtu.tree_structure(model)) == hash(jtu.tree_structure(other))
    fresh = Model(lambda p, n: jnp.sum(p["mu"] * n), PARAMS, COUNTS)
    assert jtu.tree_structure(fresh) != jtu.tree_structure(
        Model(counts_nll, PARAMS, COUNTS)
    )


def test_functions_inside_a_callable_pytree_are_structure_too():
    """Its numbers stay leaves, so that other ones do not trace anew."""
    traced = []

    class Weighted(eqx.Module):
        fn: Callable
        weight: float

        def __call__(self, params, main):
            traced.append(1)
            return self.weight * self.fn(params, main)

    def squares(params, main):
        return (params["x"] - main) ** 2

    jitted = jax.jit(lambda model: model.nll(model.state))
    for weight in (2.0, 3.0):
        model = Model(Weighted(squares, weight), {"x": 1.0}, 3.0)
        assert jitted(model) == 4.0 * weight
    assert len(traced) == 1
    gradient = jax.grad(lambda m: m.nll(m.state))(model)
    assert 4.0 in jtu.tree_leaves(gradient)


def test_numbers_become_arrays_and_arrays_keep_their_dtype():
    model = Model(
        lambda p, o: p["x"] * o["n"],
        {"x": 3, "k": jnp.array([1, 2])},
        {"n": 4, "mask": np.array([True]), "counts": np.array([1, 2])},
        fixed={"x": 2},
    )
    assert model.state["x"].dtype == model.observation["main"]["n"].dtype == float
    assert model.fixed["x"].dtype == float
    assert model.state["k"].dtype == jnp.array([1]).dtype
    assert model.observation["main"]["mask"].dtype == bool
    assert model.observation["main"]["counts"].dtype == np.array([1]).dtype
    assert all(eqx.is_array(leaf) for leaf in jtu.tree_leaves(model))


def test_many_constraints_are_evaluated_in_one_stack():
    """The operations beside the stacking do not grow with the constraints."""

    def arithmetic(count):
        params = {f"x{i:03}": 0.1 * i for i in range(count)}
        model = Model(
            lambda p, o: p["x000"] ** 2,
            params,
            0.0,
            constraints={key: Normal(0.0, 1.0 + i) for i, key in enumerate(params)},
        )
        jaxpr = jax.make_jaxpr(model.constraint_nll)(
            model.state, model.observation["aux"]
        )
        stacking = {"broadcast_in_dim", "concatenate", "reshape", "squeeze"}
        expected = sum(-jss.norm.logpdf(0.0, 0.1 * i, 1.0 + i) for i in range(count))
        np.testing.assert_allclose(model.constraint_nll(params), expected, rtol=1e-13)
        names = [eqn.primitive.name for eqn in jaxpr.eqns]
        return len([name for name in names if name not in stacking])

    assert arithmetic(5) == arithmetic(40)


def test_stacking_keeps_apart_what_differs():
    """Scalars, arrays and types in one model give the sum of their own terms."""
    params = {
        "a": 0.5,
        "b": 0.7,
        "c": jnp.array([1.0, 2.0]),
        "d": jnp.ones(2),
        "e": 2.0,
    }
    parts = {
        "a": Normal(0.0, 1.0),
        "b": Normal(0.1, 2.0),
        "c": Normal(np.array([0.5, 0.5]), 1.0),
        "d": Normal(1.0, 0.5),
        "e": Poisson(4.0),
    }
    model = Model(lambda p, o: p["a"] * 0.0, params, 0.0, constraints=parts)
    expected = sum(c.nll(params[key], c.aux) for key, c in parts.items())
    np.testing.assert_allclose(model.constraint_nll(params), expected, rtol=1e-15)
    assert model.observation["aux"]["d"].shape == (2,)


def test_asimov_data_prefer_their_parameters():
    model = counting()
    gradient = jax.grad(model.nll)(AWAY, model.asimov(AWAY))
    flat, _ = ravel_pytree(gradient)
    np.testing.assert_allclose(flat, 0.0, atol=1e-12)
    assert jtu.tree_structure(model.asimov(AWAY)) == jtu.tree_structure(
        model.observation
    )


@pytest.mark.slow
def test_toys_follow_the_densities_and_are_the_same_under_jit(getkey):
    model = counting()
    key = getkey()
    toys = jax.vmap(lambda k: model.sample_observation(AWAY, k))(jr.split(key, 4000))
    mean = jtu.tree_map(lambda x: jnp.mean(x, axis=0), toys)
    expected = model.asimov(AWAY)
    # Means of 4000 toys: five standard errors of the widest relative spread.
    np.testing.assert_allclose(mean["main"], expected["main"], rtol=0.06)
    np.testing.assert_allclose(mean["aux"]["lumi"], 1.01, atol=5 * 0.02 / 63)
    np.testing.assert_allclose(
        mean["aux"]["gamma"], expected["aux"]["gamma"], rtol=0.02
    )
    np.testing.assert_allclose(jnp.std(toys["aux"]["lumi"]), 0.02, rtol=0.06)
    one = model.sample_observation(AWAY, key)
    assert tree_allclose(one, eqx.filter_jit(model.sample_observation)(AWAY, key))
    jitted = jax.jit(lambda m, p, k: m.sample_observation(p, k))(model, AWAY, key)
    assert tree_allclose(one, jitted, rtol=1e-14)


def test_a_joint_gaussian_is_evaluated_in_the_order_of_its_keys():
    covariance = np.array([[0.04, 0.01], [0.01, 0.09]])
    joint = MultivariateNormal(("y", "x"), [2.0, 1.0], covariance)
    model = Model(
        lambda p, o: p["x"] * 0.0,
        {"x": 1.0, "y": 2.0, "z": 0.0},
        0.0,
        constraints={"syst": joint, "z": Normal(0.0, 1.0)},
        expected=lambda p: 0.0 * p["x"],
    )
    params = {"x": 1.1, "y": 1.7, "z": 0.5}
    expected = -jss.multivariate_normal.logpdf(
        jnp.array([2.0, 1.0]), jnp.array([1.7, 1.1]), jnp.asarray(covariance)
    ) - jss.norm.logpdf(0.5)
    np.testing.assert_allclose(model.nll(params), expected, rtol=1e-14)
    np.testing.assert_allclose(model.asimov(params)["aux"]["syst"], [1.7, 1.1])


class Shifted(AbstractConstraint):
    """A constraint of a type that the package does not know."""

    aux: float
    center: float
    width: float

    def _nll(self, value, aux):
        return 0.5 * ((aux + 1.0 - value) / self.width) ** 2

    def _sample(self, value, key):
        return value - 1.0 + self.width * jr.normal(key, value.shape, value.dtype)


class Telling(Shifted):
    def expected(self, value):
        return value - 1.0


def test_foreign_constraints_tell_what_they_expect():
    def model(constraint):
        return Model(
            lambda p, o: 0.0 * p["x"],
            {"x": 1.0},
            0.0,
            constraints={"x": constraint},
            expected=lambda p: 0.0 * p["x"],
        )

    assert model(Telling(0.0, 1.0, 0.5)).asimov({"x": 3.0})["aux"]["x"] == 2.0
    with pytest.raises(ArgumentTypeError, match=r"Shifted.*method expected"):
        model(Shifted(0.0, 1.0, 0.5)).asimov({"x": 3.0})


def test_a_merged_state_gives_a_shared_constraint_once():
    a = State.from_pytree({"m": 1.0, "s": 1.0})
    b = State.from_pytree({"mass": 1.0})
    model = Model(
        lambda trees, o: trees[0]["m"] * trees[0]["s"] + trees[1]["mass"],
        merge(rename(a, {"m": "mass"}), b),
        0.0,
        constraints={"mass": Normal(1.0, 0.5)},
    )
    trees = ({"m": 2.0, "s": 3.0}, {"mass": 2.0})
    np.testing.assert_allclose(
        model.nll(trees), 6.0 + 2.0 - jss.norm.logpdf(2.0, 1.0, 0.5), rtol=1e-15
    )


# Curvature


class ArrowModel(AbstractModel):
    """Two gammas in a Poisson likelihood whose Hessian is an arrow."""

    state: State
    bounds: dict
    fixed: dict
    constraints: dict
    observation: dict

    def main_nll(self, params, main):
        rate = params["mu"] * params["gamma"]
        return jnp.sum(rate - main * jnp.log(rate))

    def expected(self, params):
        return params["mu"] * params["gamma"]

    def sample(self, params, key):
        return jr.poisson(key, self.expected(params)).astype(float)

    def main_curvature(self, params, main):
        mu, gamma = params["mu"], params["gamma"]
        arrow = Arrow(
            jnp.sum(main / mu**2)[None, None],
            jnp.ones((1, gamma.size)),
            main / gamma**2,
            # ravelled in the order gamma, mu, other
            np.array([gamma.size]),
            np.arange(gamma.size),
        )
        gradient = jnp.concatenate(
            [mu - main / gamma, (jnp.sum(gamma) - jnp.sum(main) / mu)[None]]
        )
        return Evaluation(self.main_nll(params, main), gradient, arrow, arrow)


def arrow_model(constraints):
    state = State.from_pytree({"mu": 1.2, "gamma": jnp.array([0.9, 1.1, 1.3])})
    aux = {name: c.aux for name, c in constraints.items()}
    observation = {"main": jnp.array([3.0, 2.0, 4.0]), "aux": aux}
    return ArrowModel(state, {}, {}, constraints, observation)


def assert_second_order(model, params):
    """The hook agrees with differentiating the whole likelihood."""
    x, unravel = ravel_pytree(params)
    value, gradient, hessian = value_gradient_hessian(lambda v: model(unravel(v)), x)
    found = evaluate(model, params, None)
    np.testing.assert_allclose(found.value, value, rtol=1e-14)
    np.testing.assert_allclose(found.gradient, gradient, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(
        found.curvature.as_matrix(), hessian, rtol=1e-12, atol=1e-12
    )
    return found


@pytest.mark.slow
def test_one_parameter_constraints_keep_an_arrow():
    model = arrow_model(
        {"gamma": Poisson(np.array([10.0, 20.0, 30.0])), "mu": Normal(1.0, 0.3)}
    )
    found = assert_second_order(model, model.state.to_pytree())
    assert isinstance(found.curvature, Arrow)
    assert found.curvature.tail.shape == (3,)
    np.testing.assert_allclose(
        found.gauss_newton.as_matrix(), found.curvature.as_matrix()
    )


@pytest.mark.slow
def test_a_joint_gaussian_joins_the_dense_block():
    params = {"a": jnp.array(0.5), "b": jnp.array(1.5), "c": jnp.array(2.5)}
    joint = MultivariateNormal(("a", "c"), [0.0, 2.0], [[1.0, 0.4], [0.4, 2.0]])
    residuals = LeastSquares(
        lambda p, o: jnp.stack([p["a"] * p["b"] - o, p["b"] - p["c"]])
    )
    model = Model(
        residuals, params, 1.0, constraints={"ac": joint, "b": LogNormal(1.0, 1.3)}
    )
    found = assert_second_order(model, params)
    assert isinstance(found.curvature, Dense)
    assert np.linalg.eigvalsh(found.gauss_newton.as_matrix())[0] > 0


def test_a_model_without_structure_offers_none():
    assert counting().curvature is None
    assert Model(LeastSquares(lambda p, o: p["x"] - o), {"x": 1.0}, 0.0).curvature


@pytest.mark.slow
def test_a_log_normal_never_makes_the_gauss_newton_part_indefinite():
    """Far above its centre its exact second derivative is negative."""
    model = Model(
        LeastSquares(lambda p, o: 1e-3 * (p["x"] - o)),
        {"x": 10.0},
        0.0,
        constraints={"x": LogNormal(1.0, 1.1)},
    )
    found = assert_second_order(model, {"x": jnp.array(10.0)})
    assert found.curvature.as_matrix()[0, 0] < 0
    assert found.gauss_newton.as_matrix()[0, 0] > 0


# Errors


@pytest.mark.parametrize("argument", ["constraints", "bounds", "fixed"])
def test_unknown_keys_name_the_argument_and_the_nearest_key(argument):
    value = {
        "constraints": Normal(1.0, 0.1),
        "bounds": Interval(0.0),
        "fixed": 1.0,
    }[argument]
    with pytest.raises(UnknownKeyError, match=rf"{argument}.*'lmi'.*'lumi'"):
        counting(**{argument: {"lmi": value}})


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("constraints", {"lumi": 0.02}, "'lumi' needs a Constraint, got float"),
        ("bounds", {"mu": (0.0, 1.0)}, r"range write ew.Interval\(0.0, 1.0\)"),
        ("bounds", [Interval(0.0)], "bounds: expected a mapping"),
        ("fixed", ["mu"], "fixed: expected a mapping"),
        ("expected", 3.0, "expected: expected a function, got float"),
    ],
)
def test_wrong_types_are_named(argument, value, message):
    with pytest.raises(ArgumentTypeError, match=message):
        counting(**{argument: value})


def test_a_parameter_has_one_constraint():
    joint = MultivariateNormal(("lumi", "mu"), [1.0, 1.0], np.eye(2))
    with pytest.raises(ConflictError, match=r"'lumi' has two.*'joint'"):
        counting(constraints={"lumi": Normal(1.0, 0.1), "joint": joint})


def test_shapes_have_to_fit():
    with pytest.raises(ShapeMismatchError, match=r"'gamma' has shape \(2,\)"):
        counting(constraints={"gamma": Normal(np.ones(2), 0.1)})
    with pytest.raises(ShapeMismatchError, match=r"fixed: .*'gamma' has shape \(\)"):
        counting(fixed={"gamma": 1.0})
    joint = MultivariateNormal(("lumi", "gamma"), [1.0, 1.0], np.eye(2))
    with pytest.raises(ShapeMismatchError, match=r"scalar parameters, and 'gamma'"):
        counting(constraints={"joint": joint})


def test_the_observation_is_checked():
    model = counting()
    with pytest.raises(ArgumentTypeError, match=r"\*\*model.observation"):
        model.nll(AWAY, COUNTS)
    aux = dict(model.observation["aux"])
    del aux["lumi"]
    with pytest.raises(ArgumentValueError, match=r"no value for .*'lumi'"):
        model.nll(AWAY, {"main": COUNTS, "aux": aux})
    with pytest.raises(UnknownKeyError, match="'lumy'"):
        model.nll(AWAY, {"main": COUNTS, "aux": aux | {"lumy": 1.0}})


def test_what_is_missing_is_explained():
    model = Model(counts_nll, PARAMS, COUNTS)
    with pytest.raises(ArgumentValueError, match="expected=function"):
        model.asimov(PARAMS)
    with pytest.raises(ArgumentValueError, match="sample=function"):
        model.sample_observation(PARAMS, jr.key(0))
    with pytest.raises(ArgumentTypeError, match="main_nll: expected a function"):
        Model(PARAMS, counts_nll, COUNTS)


def test_a_likelihood_has_to_be_a_scalar():
    model = Model(lambda p, o: p["x"] - o, {"x": 1.0}, np.zeros(3))
    with pytest.raises(ShapeMismatchError, match=r"one number, got \(3,\).*jnp.sum"):
        model.nll({"x": jnp.array([1.0, 2.0, 3.0])})


@pytest.mark.slow
def test_other_structures_of_params_are_refused():
    with pytest.raises(ArgumentValueError, match=r"state.to_pytree\(\)"):
        counting().constraint_nll({"mu": 1.0})
