"""`combine`: a constraint that several models share is counted once."""

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
    KeyCollisionError,
    ShapeMismatchError,
    UnknownKeyError,
)
from everwillow._numerics import value_gradient_hessian
from everwillow.combination import combine, describe
from everwillow.model import Model
from everwillow.objective import LeastSquares, evaluate
from everwillow.parameters import Interval, MultivariateNormal, Normal, Poisson
from everwillow.statelib import State, split, update
from tests.combination.models import measured_a, measured_b, quadratic
from tests.helpers import tree_allclose


A_MASS = {"mass": 126.0, "scale": 1.01}
B_MASS = {"m": 126.0, "scale": 0.98}


def apart():
    return combine(
        {"a": measured_a(), "b": measured_b()},
        rename={"b": {"m": "mass"}},
        shared=["mass"],
    )


def test_without_a_shared_constraint_it_is_the_sum_of_the_models():
    joint = apart()
    assert list(joint.state) == ["mass", "a.scale", "b.scale"]
    expected = measured_a().nll(A_MASS) + measured_b().nll(B_MASS)
    np.testing.assert_allclose(joint.nll((A_MASS, B_MASS)), expected, rtol=1e-15)
    state = update(joint.state, {"mass": 126.0, "a.scale": 1.01, "b.scale": 0.98})
    np.testing.assert_allclose(joint.nll(state), expected, rtol=1e-15)


def test_the_joint_minimum_is_that_with_the_scales_eliminated():
    """With the scale minimised by hand a term is ``(x - m)² / (σ² + m² w²) / 2``."""

    def eliminated(mass):
        a = (125.5 - mass) ** 2 / (1.5**2 + mass**2 * 0.02**2)
        b = (124.8 - mass) ** 2 / (2.0**2 + mass**2 * 0.03**2)
        return 0.5 * (a + b)

    joint = apart()
    x, unravel = ravel_pytree([126.0, 1.0, 1.0])

    @jax.jit
    def second_order(vector):
        return value_gradient_hessian(
            lambda v: joint.nll(joint.state.with_values(unravel(v))), vector
        )

    for _ in range(10):
        _, gradient, hessian = second_order(x)
        x = x - jnp.linalg.solve(hessian, gradient)
    np.testing.assert_allclose(jax.grad(eliminated)(x[0]), 0.0, atol=1e-12)
    variance = jnp.linalg.inv(second_order(x)[2])[0, 0]
    np.testing.assert_allclose(
        variance, 1 / jax.grad(jax.grad(eliminated))(x[0]), rtol=1e-10
    )
    # The same to the digits that are usually quoted for this example.
    np.testing.assert_allclose(x, [125.2767, 1.00131, 0.99703], rtol=1e-5)
    np.testing.assert_allclose(jnp.sqrt(variance), 2.4084, rtol=3e-5)


def test_a_shared_constraint_is_counted_once():
    lumi = Normal(1.0, 0.02)
    parts = [
        quadratic(["x", "lumi"], constraints={"lumi": lumi}),
        quadratic(["y", "lumi"], constraints={"lumi": Normal(1.0, 0.02)}),
        quadratic(["z", "lumi"]),
    ]
    joint = combine(parts)
    trees = ({"x": 1.0, "lumi": 1.1}, {"y": 2.0, "lumi": 1.1}, {"z": 3.0, "lumi": 1.1})
    expected = 0.5 * (1 + 4 + 9 + 3 * 1.1**2) - jss.norm.logpdf(1.1, 1.0, 0.02)
    np.testing.assert_allclose(joint.nll(trees), expected, rtol=1e-15)
    assert list(joint.observation["aux"]) == ["lumi"]


def test_the_order_of_the_models_changes_nothing():
    models = {"a": measured_a(), "b": measured_b(scale=Normal(1.0, 0.02))}
    one = combine(models, rename={"m": "mass"})
    other = combine(dict(reversed(models.items())), rename={"m": "mass"})
    trees = ({"mass": 126.0, "scale": 1.02}, {"m": 126.0, "scale": 1.02})
    np.testing.assert_allclose(one.nll(trees), other.nll(trees[::-1]), rtol=1e-15)
    assert set(one.state) == set(other.state) == {"mass", "scale"}
    # Start values: the last model wins.
    assert one.state["mass"] == 124.0
    assert other.state["mass"] == 125.0


def test_jit_and_structure():
    joint = apart()
    jitted = jax.jit(lambda model, trees, obs: model.nll(trees, obs))
    np.testing.assert_allclose(
        jitted(joint, (A_MASS, B_MASS), joint.observation),
        joint.nll((A_MASS, B_MASS)),
        rtol=1e-15,
    )
    assert jtu.tree_structure(joint) == jtu.tree_structure(apart())
    assert hash(jtu.tree_structure(joint)) == hash(jtu.tree_structure(apart()))
    assert all(eqx.is_array(leaf) for leaf in jtu.tree_leaves(joint))


def test_keys_may_be_tuples():
    def model(width):
        state = State.from_pytree({"m": 1.0, "s": {"t": 0.0}}, sep=None)
        return Model(
            lambda p, o: (p["m"] + p["s"]["t"] - o) ** 2,
            state,
            2.0,
            constraints={("s", "t"): Normal(0.0, width)},
        )

    joint = combine(
        {"a": model(1.0), "b": model(2.0)},
        shared=[("m",)],
        correlate={(("a", "s", "t"), ("b", "s", "t")): 0.5},
    )
    assert list(joint.state) == [("m",), ("a", "s", "t"), ("b", "s", "t")]
    (name,) = joint.constraints
    trees = tuple({"m": 1.0, "s": {"t": t}} for t in (0.3, -0.4))
    covariance = jnp.array([[1.0, 1.0], [1.0, 4.0]])
    np.testing.assert_allclose(
        jax.jit(lambda m: m.constraint_nll(trees))(joint),
        -jss.multivariate_normal.logpdf(
            jnp.array([0.3, -0.4]), jnp.zeros(2), covariance
        ),
        rtol=1e-14,
    )
    assert isinstance(name, tuple)
    assert "('a', 's', 't')" in str(describe(joint))


def test_models_can_be_combined_inside_jit():
    """Traced numbers are the same constraint if they are one object."""

    def nll(width):
        constraint = {"x": Normal(0.0, width)}
        joint = combine([quadratic(["x"], constraints=constraint)] * 2)
        return joint.nll(({"x": 0.5}, {"x": 0.5}))

    expected = 2 * 0.5 * 0.25 - jss.norm.logpdf(0.5, 0.0, 0.2)
    np.testing.assert_allclose(jax.jit(nll)(0.2), expected, rtol=1e-14)
    np.testing.assert_allclose(nll(0.2), expected, rtol=1e-14)


def test_split_gives_the_original_names():
    a, b = split(apart().state)
    assert a.to_pytree() == {"mass": 124.0, "scale": 1.0}
    assert b.to_pytree() == {"m": 124.0, "scale": 1.0}


@pytest.mark.parametrize(
    "rename",
    [
        {"b": {"m": "mass"}},
        {1: {"m": "mass"}},
        [None, {"m": "mass"}],
        {"m": "mass"},
    ],
)
def test_forms_of_rename(rename):
    joint = combine(
        {"a": measured_a(), "b": measured_b()}, rename=rename, shared=("mass",)
    )
    assert list(joint.state) == ["mass", "a.scale", "b.scale"]


def test_models_in_a_list_have_numbers():
    joint = combine([measured_a(), measured_b()], rename={"m": "mass"}, shared=["mass"])
    assert list(joint.state) == ["mass", "model0.scale", "model1.scale"]
    assert set(joint.observation["main"]) == {"model0", "model1"}
    assert joint.models["model0"].state["mass"] == 125.0


def test_bounds_and_fixed_values_follow_their_names():
    a = quadratic(["x", "s"], bounds={"s": Interval(0.0)}, fixed={"x": 2.0})
    b = quadratic(["x", "t"], fixed={"x": 2})
    joint = combine({"a": a, "b": b}, shared=["x"])
    assert joint.bounds["a.s"].lower == 0.0
    assert joint.fixed == {"x": 2.0}


def test_asimov_data_and_toys_go_to_their_models(getkey):
    joint = combine(
        {"a": measured_a(), "q": quadratic(["x"], constraints={"x": Poisson(9.0)})}
    )
    trees = ({"mass": 120.0, "scale": 1.1}, {"x": 2.0})
    asimov = joint.asimov(trees)
    assert tree_allclose(
        asimov["main"], {"a": {"x": 132.0, "err": 1.5}, "q": 2.0}, rtol=1e-15
    )
    assert tree_allclose(asimov["aux"], {"scale": 1.1, "x": 18.0}, rtol=1e-15)
    keys = jr.split(getkey(), 3000)
    toys = jax.vmap(lambda key: joint.sample_observation(trees, key))(keys)
    assert toys["main"]["a"]["x"].shape == (3000,)
    np.testing.assert_allclose(jnp.mean(toys["main"]["q"]), 2.0, atol=5 / 55)
    np.testing.assert_allclose(jnp.std(toys["main"]["a"]["x"]), 1.5, rtol=0.07)
    np.testing.assert_allclose(jnp.mean(toys["aux"]["x"]), 18.0, atol=5 * 4.3 / 55)
    noise = jnp.corrcoef(toys["main"]["a"]["x"], toys["main"]["q"])
    assert abs(noise[0, 1]) < 5 / 55


def test_combinations_of_combinations():
    """Nesting changes names, not numbers, and still counts a constraint once."""
    lumi = {"lumi": Normal(1.0, 0.1)}
    x, y, z = (quadratic([name, "lumi"], constraints=lumi) for name in "xyz")
    nested = combine({"pair": combine({"one": x, "two": y}), "three": z})
    flat = combine({"one": x, "two": y, "three": z})
    trees = tuple(
        {name: v, "lumi": 1.2} for name, v in zip("xyz", [1, 2, 3], strict=True)
    )
    np.testing.assert_allclose(nested.nll(trees), flat.nll(trees), rtol=1e-15)
    assert nested.state.to_pytree() == flat.state.to_pytree()
    assert nested.observation["main"] == {
        "pair": {"one": 0.0, "two": 0.0},
        "three": 0.0,
    }
    nested.nll(trees, nested.asimov(trees))
    assert describe(nested)["lumi"].used_by == {
        "pair/one": "lumi",
        "pair/two": "lumi",
        "three": "lumi",
    }


def test_nesting_with_prefixes():
    inner = apart()
    outer = combine({"lhc": inner, "tev": measured_a()}, shared=["mass"])
    assert list(outer.state) == ["mass", "lhc.a.scale", "lhc.b.scale", "tev.scale"]
    trees = (A_MASS, B_MASS, {"mass": 126.0, "scale": 0.9})
    expected = inner.nll(trees[:2]) + measured_a().nll(trees[2])
    np.testing.assert_allclose(outer.nll(trees), expected, rtol=1e-15)
    assert describe(outer)["lhc.b.scale"].used_by == {"lhc/b": "scale"}
    assert describe(outer)["mass"].used_by == {
        "lhc/a": "mass",
        "lhc/b": "m",
        "tev": "mass",
    }


def joint_pair(names=("a", "b"), *, width=1.0, keys=None):
    covariance = np.array([[width, 0.3], [0.3, 2.0]])
    chosen = MultivariateNormal(names, [0.0, 1.0], covariance)
    if keys is not None:
        order = [names.index(key) for key in keys]
        chosen = MultivariateNormal(
            keys, np.array([0.0, 1.0])[order], covariance[np.ix_(order, order)]
        )
    return quadratic(list(names), constraints={"syst": chosen})


def test_a_shared_joint_gaussian_is_counted_once_in_any_order_of_its_keys():
    first = joint_pair()
    expected = 2 * first.main_nll({"a": 0.2, "b": 0.7}, 0.0) + first.constraint_nll(
        {"a": 0.2, "b": 0.7}
    )
    for second in (joint_pair(), joint_pair(keys=("b", "a"))):
        joint = combine([first, second])
        trees = ({"a": 0.2, "b": 0.7},) * 2
        np.testing.assert_allclose(joint.nll(trees), expected, rtol=1e-15)
        assert len(joint.constraints) == 1


def test_joint_gaussians_of_one_name_and_other_parameters_are_kept_apart():
    joint = combine({"p": joint_pair(), "q": joint_pair(("c", "d"))})
    assert set(joint.constraints) == {"syst", "q.syst"}


def test_a_joint_gaussian_of_which_only_a_part_is_shared_is_a_conflict():
    with pytest.raises(ConflictError, match=r"'a' has two constraints"):
        combine({"p": joint_pair(), "q": joint_pair()}, shared=["a"])


def test_prefixes_reach_into_joint_gaussians():
    joint = combine({"p": joint_pair(), "q": joint_pair()}, shared=[])
    assert joint.constraints["q.syst"].keys == ("q.a", "q.b")
    trees = ({"a": 0.2, "b": 0.7}, {"a": 1.2, "b": -0.7})
    np.testing.assert_allclose(
        joint.nll(trees), sum(joint_pair().nll(tree) for tree in trees), rtol=1e-15
    )


@pytest.mark.slow
def test_curvature_of_the_models_is_used_and_constraints_come_on_top():
    squares = LeastSquares(lambda p, o: jnp.stack([p["x"] * p["lumi"] - o, p["x"]]))
    lumi = {"lumi": Normal(1.0, 0.1)}
    structured = Model(squares, {"x": 0.5, "lumi": 1.0}, 1.0, constraints=lumi)
    joint = combine([structured, quadratic(["y", "lumi"], constraints=lumi)])
    assert combine([quadratic(["y"])]).curvature is None
    trees = jtu.tree_map(jnp.asarray, update(joint.state, {"y": 0.3}).to_pytree())
    x, unravel = ravel_pytree(trees)
    value, gradient, hessian = value_gradient_hessian(
        lambda v: joint.nll(unravel(v)), x
    )
    found = evaluate(joint, trees, joint.observation)
    np.testing.assert_allclose(found.value, value, rtol=1e-14)
    np.testing.assert_allclose(found.gradient, gradient, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(found.curvature.as_matrix(), hessian, atol=1e-12)
    assert found.gauss_newton is not None


# Conflicts


def test_different_constraints_are_shown_and_can_be_picked():
    models = {"atlas": measured_a(), "cms": measured_b()}
    with pytest.raises(ConflictError) as caught:
        combine(models)
    message = str(caught.value)
    for part in ("'scale'", "Normal(1, 0.02)", "Normal(1, 0.03)", "'atlas'", "'cms'"):
        assert part in message
    picked = combine(models, constraints={"scale": Normal(1.0, 0.05)})
    np.testing.assert_allclose(
        picked.constraint_nll(({"mass": 1.0, "scale": 1.1}, {"m": 1.0, "scale": 1.1})),
        -jss.norm.logpdf(1.1, 1.0, 0.05),
        rtol=1e-14,
    )
    assert not combine(models, constraints={"scale": None}).constraints


def test_different_auxiliary_data_are_a_conflict():
    one = quadratic(["x"], constraints={"x": Normal(1.0, 0.1)})
    other = eqx.tree_at(lambda m: m.observation["aux"]["x"], one, np.float64(1.25))
    with pytest.raises(ConflictError, match=r"observed at 1 and 1.25"):
        combine([one, other])


def test_overlapping_constraints_are_a_conflict():
    normal = quadratic(["a"], constraints={"a": Normal(0.0, 1.0)})
    models = {"joint": joint_pair(), "alone": normal}
    with pytest.raises(ConflictError, match=r"'a' has two constraints: .*'alone'"):
        combine(models)
    with pytest.raises(ConflictError, match="must also say something of 'b'"):
        combine(models, constraints={"a": Normal(0.0, 1.0)})
    both = {"a": Normal(0.0, 1.0), "b": None}
    assert list(combine(models, constraints=both).constraints) == ["a"]
    other = joint_pair(width=1.5)
    with pytest.raises(ConflictError, match=r"1\.5, 0\.3"):
        combine([joint_pair(), other])


def test_different_bounds_are_shown_and_can_be_picked():
    models = {
        "one": quadratic(["x"], bounds={"x": Interval(0.0, 1.0)}),
        "two": quadratic(["x"], bounds={"x": Interval(0.0)}),
        "three": quadratic(["x"]),
    }
    message = r"'one'.*'two'.*\[0, 1\] and \[0, inf\].*\{'x': ew\.Interval\(0, 1\)\}"
    with pytest.raises(ConflictError, match=message):
        combine(models)
    assert combine(models, bounds={"x": Interval(-1.0)}).bounds["x"].lower == -1.0
    assert not combine(models, bounds={"x": None}).bounds
    del models["one"]
    assert combine(models).bounds["x"].lower == 0.0


@pytest.mark.parametrize(
    ("one", "two", "message"),
    [
        ({"x": 1.0}, None, "fixed at 1 in 'a' and free in 'b'"),
        (None, {"x": 1.0}, "free in 'a' and fixed at 1 in 'b'"),
        ({"x": 1.0}, {"x": 2.0}, "fixed at 1 in 'a' and fixed at 2 in 'b'"),
    ],
)
def test_a_parameter_fixed_in_one_model_only_is_a_conflict(one, two, message):
    with pytest.raises(ConflictError, match=message):
        combine({"a": quadratic(["x"], fixed=one), "b": quadratic(["x"], fixed=two)})


# Other errors


@pytest.mark.parametrize(
    ("models", "error", "message"),
    [
        ([], ArgumentValueError, "at least one Model"),
        ({}, ArgumentValueError, "at least one Model"),
        ([lambda p, o: 0.0], ArgumentTypeError, "'model0' must be a Model.*prepare"),
        (measured_a(), ArgumentTypeError, "list of Models or a dict"),
        ({1: measured_a()}, ArgumentTypeError, "must be strings, got 1"),
        ({"": measured_a()}, ArgumentValueError, "must not be empty"),
    ],
)
def test_what_is_no_model_is_explained(models, error, message):
    with pytest.raises(error, match=message):
        combine(models)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rename": {"n": "mass"}}, UnknownKeyError, "rename: .*'n'"),
        ({"rename": {"a": {"n": "x"}}}, UnknownKeyError, "model 'a'.*'n'"),
        ({"rename": {"c": {"m": "x"}}}, ArgumentValueError, "no model 'c'"),
        ({"rename": {7: {"m": "x"}}}, ArgumentValueError, "no model 7"),
        ({"rename": {"a": {}, "m": "x"}}, ArgumentTypeError, "not both"),
        ({"rename": [{}]}, ArgumentValueError, "1 mappings for 2 models"),
        ({"rename": "m"}, ArgumentTypeError, "got str"),
        (
            {"rename": {"a": {"mass": "scale"}}},
            KeyCollisionError,
            "model 'a': .*both have the key",
        ),
        ({"shared": ["masss"]}, UnknownKeyError, "shared: .*'masss'.*'mass'"),
        ({"shared": ["mass"]}, ArgumentValueError, "only 'a' has .*'mass'.*rename="),
        ({"shared": "mass"}, ArgumentTypeError, "collection of keys"),
        (
            {"shared": [], "constraints": {"scale": None}},
            UnknownKeyError,
            "constraints: .*'scale'.*'a.scale'",
        ),
    ],
)
def test_wrong_options_are_explained(options, error, message):
    with pytest.raises(error, match=message):
        combine({"a": measured_a(), "b": measured_b()}, **options)


def test_prefixes_must_not_make_parameters_equal():
    models = {"a": quadratic(["x"]), "a.b": quadratic(["x"])}
    with pytest.raises(KeyCollisionError, match=r"'a' and one of 'a\.b'"):
        combine(models, rename={"a": {"x": "b.x"}}, shared=[])


def test_shapes_of_shared_parameters_must_agree():
    array = Model(lambda p, o: jnp.sum(p["x"]), {"x": jnp.ones(3)}, 0.0)
    with pytest.raises(ShapeMismatchError, match=r"'x'.*1 is 'vector'"):
        combine({"scalar": quadratic(["x"]), "vector": array})


def test_main_data_are_looked_up_by_name():
    joint = apart()
    observation = {**joint.observation, "main": {"a": 1.0}}
    with pytest.raises(ArgumentValueError, match=r"main.*no entry for 'b'"):
        joint.nll((A_MASS, B_MASS), observation)


def test_a_model_without_a_bound_takes_that_of_another():
    def half(params, observation):
        return 0.5 * (params["x"] - observation) ** 2

    start = State.from_pytree({"x": 0.0})
    bounded, free = (
        Model(half, start, observation=1.0, bounds={"x": interval})
        for interval in (Interval(-5.0, 5.0), Interval(-np.inf, np.inf))
    )
    both = combine({"a": free, "b": bounded}, shared=["x"])
    (bound,) = both.bounds.values()
    assert (float(bound.lower), float(bound.upper)) == (-5.0, 5.0)
