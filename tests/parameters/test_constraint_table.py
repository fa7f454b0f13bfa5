"""A table of constraints says what the dictionary of them says."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from everwillow._errors import ShapeMismatchError, UnknownKeyError
from everwillow.model.constraint_terms import (
    check_aux,
    expected_aux,
    sampled_aux,
    summed_nll,
)
from everwillow.parameters import LogNormal, MultivariateNormal, Normal, Poisson
from everwillow.parameters.constraint_table import (
    AuxTable,
    ConstraintTable,
    TableLayout,
)


# Kinds in any order, arrays with one number for all elements and with one for each.
CONSTRAINTS = {
    "lumi": Normal(1.0, 0.02),
    "gamma": Poisson(np.array([25.0, 100.0, 400.0])),
    "scale": LogNormal(1.1, 1.2),
    "alpha": Normal(0.0, 1.0),
    "rate": Poisson(12.0),
    "stat": Normal(np.ones(2), np.array([0.1, 0.3])),
    "same": Poisson(9.0),
    "widths": LogNormal(1.0, np.array([1.1, 1.3])),
}
SHAPES = {"gamma": (3,), "stat": (2,), "same": (2,), "widths": (2,)}
SHAPES = {key: SHAPES.get(key, ()) for key in CONSTRAINTS}
JOINT = MultivariateNormal(
    ("x", "y"), np.array([0.5, -0.5]), np.array([[1.0, 0.3], [0.3, 2.0]])
)


def table():
    return ConstraintTable.of(CONSTRAINTS, SHAPES)


def values(seed=0):
    rng = np.random.default_rng(seed)
    return {key: rng.uniform(0.5, 1.5, shape) for key, shape in SHAPES.items()}


def summed(constraints, given, aux):
    return jax.jit(summed_nll)(constraints, given, aux)


def aux_of(constraints):
    return {key: constraint.aux for key, constraint in constraints.items()}


def test_it_is_a_mapping():
    made = table()
    assert len(made) == len(CONSTRAINTS) == len(list(made))
    assert set(made) == set(made.keys()) == set(CONSTRAINTS)
    assert "lumi" in made
    assert "nothing" not in made
    assert made.get("nothing") is None
    for key, constraint in made.items():
        assert type(constraint) is type(CONSTRAINTS[key])
        wanted = np.broadcast_to(CONSTRAINTS[key].width, SHAPES[key])
        np.testing.assert_array_equal(constraint.width, wanted)
        assert np.shape(constraint.aux) == SHAPES[key]
    with pytest.raises(UnknownKeyError, match="'lumi'"):
        made["lumj"]


def test_there_is_one_group_for_each_kind():
    assert [type(group) for group in table().groups] == [Normal, Poisson, LogNormal]


@pytest.mark.slow
def test_nll_is_the_sum_of_all():
    made, given = table(), values()
    aux = {key: 0.9 * np.asarray(c.aux) for key, c in CONSTRAINTS.items()}
    wanted = sum(float(c.nll(given[k], aux[k])) for k, c in CONSTRAINTS.items())
    assert summed(made, given, aux) == pytest.approx(wanted, rel=1e-13)
    assert summed(CONSTRAINTS, given, aux) == pytest.approx(wanted, rel=1e-13)
    assert summed(made, given, made.aux(aux)) == pytest.approx(wanted, rel=1e-13)


@pytest.mark.slow
def test_second_order_is_that_of_jax():
    made = table()
    vector = jnp.asarray(made.layout.gathered(values()))
    aux = made.aux().vector

    def nll(v):
        return made.nll(v, jnp.asarray(aux))

    value, slope, diagonal = jax.jit(lambda v: made.second_order(v, aux))(vector)
    np.testing.assert_allclose(value, nll(vector), rtol=1e-14)
    np.testing.assert_allclose(slope, jax.grad(nll)(vector), rtol=1e-12)
    hessian = jax.jit(jax.hessian(nll))(vector)
    np.testing.assert_allclose(np.diag(diagonal), hessian, rtol=1e-12, atol=1e-12)


def test_asimov_data_are_those_of_each():
    found = expected_aux(table(), values())
    wanted = expected_aux(CONSTRAINTS, values())
    assert isinstance(found, AuxTable)
    for key in CONSTRAINTS:
        np.testing.assert_allclose(found[key], wanted[key], rtol=1e-14)
    # They are where each constraint is most likely, whatever the parameters.
    slope = jax.grad(lambda v: summed(table(), v, found))(values())
    without = {k: v for k, v in slope.items() if k not in ("scale", "widths")}
    for leaf in jax.tree.leaves(without):
        np.testing.assert_allclose(leaf, 0, atol=1e-12)


def test_samples_have_the_mean_and_the_spread_of_each():
    made, given = table(), values()
    size = 4000
    draw = jax.jit(jax.vmap(lambda key: sampled_aux(made, given, key)))
    drawn = draw(jr.split(jr.key(1), size))
    for key, constraint in CONSTRAINTS.items():
        toys = np.asarray(drawn[key])
        assert toys.shape == (size, *SHAPES[key])
        value = given[key]
        match constraint:
            case Normal():
                mean, error = value, np.broadcast_to(constraint.width, SHAPES[key])
            case Poisson():
                mean = value * np.asarray(constraint.tau)
                error = np.sqrt(mean)
            case LogNormal():
                toys, mean = np.log(toys), np.log(value)
                error = np.broadcast_to(np.log(constraint.kappa), SHAPES[key])
        # Five standard errors of the mean, and of the spread.
        np.testing.assert_array_less(np.abs(toys.mean(0) - mean), 5 * error / size**0.5)
        np.testing.assert_array_less(
            np.abs(toys.std(0) / error - 1), 5 / (2 * size) ** 0.5
        )


def test_samples_of_the_elements_are_independent():
    made, given = table(), values()
    draw = jax.jit(jax.vmap(lambda key: sampled_aux(made, given, key).vector))
    toys = np.asarray(draw(jr.split(jr.key(2), 4000)))
    correlation = np.corrcoef(toys.T)
    np.fill_diagonal(correlation, 0)
    assert np.abs(correlation).max() < 5 / 4000**0.5


def test_auxiliary_data_are_a_mapping():
    aux = table().aux()
    assert set(aux) == set(CONSTRAINTS)
    assert len(aux) == len(CONSTRAINTS)
    for key, constraint in CONSTRAINTS.items():
        wanted = np.broadcast_to(constraint.aux, SHAPES[key])
        np.testing.assert_array_equal(aux[key], wanted)
        assert np.shape(aux[key]) == SHAPES[key]
    with pytest.raises(UnknownKeyError, match="'gamma'"):
        aux["gama"]


def test_a_batch_of_auxiliary_data_keeps_its_axes():
    aux = table().aux()
    batch = jax.vmap(lambda f: jax.tree.map(lambda x: f * jnp.asarray(x), aux))(
        jnp.arange(4.0)
    )
    assert batch["gamma"].shape == (4, 3)
    assert batch["lumi"].shape == (4,)
    np.testing.assert_array_equal(batch["gamma"][2], 2 * aux["gamma"])


def test_aux_that_is_given_by_key_comes_in_the_order_of_the_table():
    made = table()
    given = {key: np.asarray(c.aux) for key, c in reversed(CONSTRAINTS.items())}
    np.testing.assert_array_equal(made.aux(given).vector, made.aux().vector)
    ready = made.aux()
    assert made.aux(ready) is ready


def test_missing_and_unknown_auxiliary_data_are_named():
    made = table()
    check_aux(made.aux(), made)
    check_aux(aux_of(CONSTRAINTS), made)
    check_aux(made.aux(), CONSTRAINTS)
    short = aux_of(CONSTRAINTS)
    short.pop("rate")
    with pytest.raises(ValueError, match="'rate'"):
        check_aux(short, made)
    with pytest.raises(UnknownKeyError, match="'rata'"):
        check_aux({**short, "rata": 1.0}, made)


def test_a_wrong_shape_is_named():
    given = values() | {"gamma": np.ones(4)}
    with pytest.raises(ShapeMismatchError, match=r"'gamma' has shape \(3,\)"):
        table().layout.gathered(given)


def test_gradients_by_auxiliary_data():
    """They are data: a normal pulls its parameter with one over its variance."""
    made, given = table(), values()

    def nll(vector):
        return summed_nll(made, given, AuxTable(made.layout, vector, {}))

    vector = jnp.asarray(made.aux().vector)
    slope = AuxTable(made.layout, jax.jit(jax.grad(nll))(vector), {})
    pull = (1.0 - given["lumi"]) / 0.02**2
    assert slope["lumi"] == pytest.approx(pull, rel=1e-12)
    by_key = jax.jit(jax.grad(lambda aux: summed_nll(CONSTRAINTS, given, aux)))(
        {
            k: jnp.broadcast_to(jnp.asarray(c.aux), SHAPES[k])
            for k, c in CONSTRAINTS.items()
        }
    )
    for key, wanted in by_key.items():
        np.testing.assert_allclose(slope[key], wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_single_values_of_a_batch_are_those_of_a_loop():
    made = table()
    vectors = jnp.stack([made.layout.gathered(values(seed)) for seed in range(3)])
    aux = jnp.asarray(made.aux().vector)
    together = jax.vmap(lambda v: made.nll(v, aux))(vectors)
    for value, vector in zip(together, vectors, strict=True):
        assert value == pytest.approx(float(made.nll(vector, aux)), rel=1e-14)


@pytest.mark.slow
def test_joint_constraints_stay_beside_the_table():
    both = {**CONSTRAINTS, "xy": JOINT}
    made = ConstraintTable.of(both, SHAPES)
    assert set(made.others) == {"xy"}
    assert made["xy"] is JOINT
    assert len(made) == len(both)
    given = values() | {"x": np.float64(0.7), "y": np.float64(-0.1)}
    wanted = summed(both, given, aux_of(both))
    assert summed(made, given, made.aux()) == pytest.approx(float(wanted), rel=1e-13)
    asimov = expected_aux(made, given)
    np.testing.assert_allclose(asimov["xy"], [0.7, -0.1])
    drawn = sampled_aux(made, given, jr.key(0))
    assert set(drawn) == set(both)


def test_an_empty_table_adds_nothing():
    made = ConstraintTable.of({}, {})
    assert len(made) == 0
    assert summed_nll(made, {}, made.aux()) == 0
    value, slope, diagonal = made.second_order(jnp.zeros(0), jnp.zeros(0))
    assert value == 0
    assert slope.shape == diagonal.shape == (0,)


def test_layouts_are_compared_by_content():
    """They are part of the key under which a compiled program is found."""
    entries = [("a", 0, ()), ("b", 1, (3,))]
    one, other = TableLayout(entries), TableLayout(list(entries))
    assert one == other
    assert hash(one) == hash(other)
    assert one != TableLayout([("a", 0, ()), ("b", 1, (2,))])
    assert one != TableLayout([("a", 0, ()), ("c", 1, (3,))])
    assert one != entries


def test_two_tables_of_one_structure_share_a_program():
    traces = []

    @jax.jit
    def nll(made, vector, aux):
        traces.append(0)
        return made.nll(vector, aux.vector)

    other = {
        "lumi": Normal(1.0, 0.05),
        **{key: c for key, c in CONSTRAINTS.items() if key != "lumi"},
    }
    vector = jnp.asarray(table().layout.gathered(values()))
    results = [
        float(nll(made, vector, made.aux()))
        for made in (table(), ConstraintTable.of(other, SHAPES))
    ]
    assert len(traces) == 1
    difference = results[0] - results[1]
    off = float(values()["lumi"]) - 1
    exact = off**2 / 2 * (1 / 0.02**2 - 1 / 0.05**2) + np.log(0.02 / 0.05)
    assert difference == pytest.approx(exact, rel=1e-9)


def test_its_numbers_can_be_traced():
    """Widths are leaves, so that one can differentiate by them."""

    def nll(width):
        made = ConstraintTable.of({"a": Normal(0.0, width)}, {"a": ()})
        return summed_nll(made, {"a": jnp.array(0.6)}, made.aux())

    # d/dw [x²/(2 w²) + ln w] = -x²/w³ + 1/w
    assert jax.grad(nll)(0.5) == pytest.approx(-(0.6**2) / 0.5**3 + 2, rel=1e-12)


def test_no_constraints_draw_nothing():
    empty = ConstraintTable.of({}, {})
    drawn = empty.sample(jnp.zeros(0), jr.key(0))
    assert drawn.shape == (0,)
    assert empty.expected(jnp.zeros(0)).shape == (0,)
