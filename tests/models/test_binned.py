"""Binned models: what they say of themselves, and fits of them by every way."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import ShapeMismatchError, UnknownKeyError
from everwillow.models.binned import BinnedModel
from everwillow.parameters import Interval
from tests.helpers import count_jax_work, finite_difference_gradient
from tests.likelihood.binned import oracle
from tests.models.binned_specs import search, search_spec


POINT = {
    "mu": 1.3,
    "xs": -0.4,
    "jes": 0.7,
    "stat": np.array([1.02, 0.97, 1.05]),
    "lumi": 1.01,
}


def observed(model):
    return {**model.observation, "main": np.asarray(model.observation["main"])}


def assert_same_fit(one, other, names=lambda key: key):
    """Compare two minima: their value, place and errors."""
    np.testing.assert_allclose(one.nll, other.nll, rtol=1e-12)
    for key, value in one.params.items():
        error = np.asarray(one.errors[key], float)
        step = (value - other.params[names(key)]) / np.where(error > 0, error, 1)
        # Fits stop at an estimated distance of 1e-8, a ten-thousandth of an error.
        np.testing.assert_allclose(step, 0, atol=3e-4)
        np.testing.assert_allclose(other.errors[names(key)], error, rtol=1e-3)


def test_what_a_model_says_of_itself():
    model = search()
    assert set(model.state) == set(POINT)
    assert model.poi == "mu"
    assert model.report == ("assumed",)
    assert model.channels == (("SR", 3), ("CR", 1))
    assert set(model.constraints) == {"xs", "jes", "stat", "lumi"}
    assert set(model.observation["aux"]) == set(model.constraints)
    assert model.bounds["mu"] == Interval(-5.0, 20.0)
    assert model.fixed == {}
    np.testing.assert_array_equal(model.observation["main"], [48, 57, 40, 210])


def test_combinations_have_the_interest_on_which_their_models_agree():
    both = {"a": search(), "b": search(signal=(2.0, 3.0, 4.0))}
    joint = ew.combine(both, rename={"mu": "strength"})
    assert (joint.poi, joint.bare.poi, joint.bounds_are_ranges) == (
        "strength",
        None,
        True,
    )
    assert repr(joint) == (
        "CombinedModel(2 models (a, b), 7 parameters, poi='strength')"
    )
    assert ew.combine(both, shared=["lumi"]).poi is None
    assert ew.combine([joint, search()], rename={"mu": "strength"}).poi == "strength"


@pytest.mark.parametrize("bounds", [{}, {"x": Interval(0.0, 2.0)}])
def test_bounds_are_ranges_if_all_models_with_bounds_say_so(bounds):
    other = ew.Model(lambda p, n: (p["x"] - n) ** 2, {"x": 1.0}, 1.0, bounds=bounds)
    joint = ew.combine([search(), other])
    assert joint.poi == "mu"
    assert joint.bounds_are_ranges == (not bounds)
    assert not ew.combine([other]).bounds_are_ranges


def test_channels_are_parts_of_the_data():
    model = search()
    parts = model.by_channel(model.observation["main"])
    np.testing.assert_array_equal(parts["SR"], [48.0, 57.0, 40.0])
    np.testing.assert_array_equal(parts["CR"], [210.0])
    stacked = model.by_channel(np.zeros((7, 4)))
    assert stacked["SR"].shape == (7, 3)
    assert model.observation["main"][model.bins_of("CR")].tolist() == [210.0]
    with pytest.raises(UnknownKeyError, match="'SR'"):
        model.bins_of("SQ")
    with pytest.raises(ShapeMismatchError, match="4 bins"):
        model.by_channel(np.zeros(3))


@pytest.mark.slow
def test_values_are_those_of_plain_loops():
    model, spec = search(), search_spec()
    wanted = oracle.nll(spec, {k: np.asarray(v).tolist() for k, v in POINT.items()})
    assert model.nll(POINT) == pytest.approx(wanted, rel=1e-13)
    compiled = jax.jit(_nll)(POINT, (model.bare, model.observation))
    assert compiled == pytest.approx(wanted, rel=1e-13)
    rates = oracle.expected(spec, {k: np.asarray(v).tolist() for k, v in POINT.items()})
    np.testing.assert_allclose(model.expected(POINT), rates, rtol=1e-13)


@pytest.mark.slow
def test_both_ways_to_evaluate_are_one():
    """The pytree of parameters, and the vector that compiled fits use."""
    model = search()
    vector = jax.flatten_util.ravel_pytree(POINT)[0]
    flat = model.flat
    value = flat.nll(vector, model.observation)
    assert value == pytest.approx(float(model.nll(POINT)), rel=1e-14)
    both = [
        jax.jit(lambda: flat.evaluation(vector, model.observation))(),
        jax.jit(lambda: model.curvature(POINT))(),
    ]
    for name in ("value", "gradient"):
        one, other = (getattr(found, name) for found in both)
        np.testing.assert_allclose(one, other, rtol=1e-12)
    for name in ("curvature", "gauss_newton"):
        one, other = (getattr(found, name).as_matrix() for found in both)
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_asimov_data_prefer_their_parameters():
    """All derivatives vanish, and only the counts of data are missing to 0."""
    model = search()
    data = model.asimov(POINT)
    np.testing.assert_allclose(data["main"], model.expected(POINT), rtol=1e-14)
    slope = jax.jit(jax.grad(model.nll))(jax.tree.map(jnp.asarray, POINT), data)
    for leaf in jax.tree.leaves(slope):
        np.testing.assert_allclose(leaf, 0, atol=1e-10)
    best = model.saturated_nll(data["main"])
    assert model.main_nll(POINT, data["main"]) == pytest.approx(float(best), rel=1e-14)


def test_toys_have_the_mean_and_spread_of_what_is_expected():
    model = search()
    draw = jax.jit(jax.vmap(lambda key: model.sample_observation(POINT, key)))
    toys = draw(jr.split(jr.key(0), 4000))
    mean = np.asarray(model.expected(POINT))
    main = np.asarray(toys["main"])
    np.testing.assert_array_less(abs(main.mean(0) - mean), 5 * (mean / 4000) ** 0.5)
    np.testing.assert_array_less(abs(main.var(0) / mean - 1), 5 * (2 / 4000) ** 0.5)
    assert (main == np.round(main)).all()
    stat = np.asarray(toys["aux"]["stat"]).mean(0)
    np.testing.assert_allclose(stat, 400 * POINT["stat"], rtol=5 * 0.05 / 4000**0.5)


def _nll(params, data):
    model, observation = data
    return model.nll(params, observation)


@pytest.mark.slow
def test_all_ways_to_fit_have_one_answer():
    """Vectors, pytrees of a combination, a plain function with JAX's derivatives."""
    model = search()
    flat = ew.fit(model)
    assert flat.success
    new = {"mu": "strength", "stat": "gammas"}
    renamed = ew.combine({"a": model}, rename=new)
    assert "strength" in renamed.state
    data = (model.bare, model.observation)
    plain = ew.fit(_nll, model.state, data, bounds=dict(model.bounds))
    assert_same_fit(flat, ew.fit(renamed), lambda k: new.get(k, k))
    assert_same_fit(flat, plain)


def test_a_second_fit_traces_nothing():
    ew.fit(search())
    with count_jax_work() as work:
        again = ew.fit(search())
        other = ew.fit(search(signal=(2.0, 3.0, 4.0), observed=(50.0, 40.0, 39.0)))
    assert (work.traces, work.compilations) == (0, 0)
    assert again.params["mu"] != other.params["mu"]


@pytest.mark.slow
def test_fits_in_a_batch_are_those_of_a_loop():
    model = search()
    toys = np.array([[48, 57, 40, 210], [40, 50, 45, 190], [60, 61, 50, 220]], float)

    @jax.jit
    @jax.vmap
    def fits(main):
        data = {**model.observation, "main": main}
        found = ew.fit(model, observation=data, throw=False)
        return found.nll, found.params["mu"]

    values, strengths = fits(toys)
    for value, strength, main in zip(values, strengths, toys, strict=True):
        single = ew.fit(model, observation={**model.observation, "main": main})
        assert value == pytest.approx(float(single.nll), rel=1e-11)
        error = float(single.errors["mu"])
        assert abs(strength - single.params["mu"]) < 3e-4 * error


@pytest.mark.slow
def test_the_minimum_moves_with_the_data_as_it_says():
    """Main and auxiliary data; by the implicit function theorem and by refitting."""
    model = search()

    def strength(data):
        aux = {key: model.observation["aux"][key] for key in model.constraints}
        given = {"main": data["main"], "aux": {**aux, "xs": data["xs"]}}
        return ew.fit(model, observation=given).params["mu"]

    data = {"main": jnp.asarray(model.observation["main"]), "xs": jnp.array(0.2)}
    slope = jax.jit(jax.grad(strength))(data)
    steps = finite_difference_gradient(strength, data, step=1e-3)
    np.testing.assert_allclose(slope["main"], steps["main"], rtol=1e-5)
    np.testing.assert_allclose(slope["xs"], steps["xs"], rtol=1e-5)


SOME = np.array([False, True, False])


def test_elements_that_the_model_fixes():
    """NaN stands for an element that stays free."""
    model = search(fixed=SOME)
    np.testing.assert_array_equal(model.fixed["stat"], [np.nan, 1.0, np.nan])
    found = ew.fit(model)
    assert found.params["stat"][1] == 1.0
    assert found.params["stat"][0] != 1.0
    assert "stat[1]" not in found.labels
    assert {"stat[0]", "stat[2]"} <= set(found.labels)
    assert found.covariance.shape == (6, 6)


def test_elements_that_the_user_fixes():
    held = {"stat": np.array([np.nan, 1.0, np.nan]), "lumi": ...}
    found = ew.fit(search(), fixed=held)
    model = search(fixed=SOME)
    same = ew.fit(model, fixed={"lumi": 1.0})
    assert "lumi" not in found.labels
    np.testing.assert_allclose(found.nll, same.nll, rtol=1e-12)
    # Narrower than the fit with everything free.
    assert found.nll > ew.fit(search()).nll


def test_everything_fixed_is_evaluated():
    model = search(fixed=True)
    held = dict.fromkeys(model.state, ...)
    found = ew.fit(model, fixed=held)
    assert found.nll == pytest.approx(float(model.nll(model.state)), rel=1e-14)


@pytest.mark.parametrize("separator", [".", "/", ":", "|"])
def test_names_may_contain_what_separates_keys(separator):
    names = [f"a{separator}{name}" for name in POINT]
    names[0] = "mu" + "./:|".replace(separator, "")
    model = search(names=names)
    assert set(model.state) == set(model.bounds) == set(names)
    point = dict(zip(names, POINT.values(), strict=True))
    assert model.nll(point) == pytest.approx(float(search().nll(POINT)), rel=1e-14)


@pytest.mark.slow
def test_names_may_contain_anything():
    names = ("m.u/:|", "a.xs", "jes\x1f", "stat[0]", "./:|\x1f")
    model = search(names=names)
    found = ew.fit(model, fixed={model.poi: 1.0})
    wanted = ew.fit(search(), fixed={"mu": 1.0})
    assert found.nll == pytest.approx(float(wanted.nll), rel=1e-12)


@pytest.mark.slow
def test_limits_of_a_model():
    model = search(poi_range=(0.0, 20.0))
    found = ew.limits(model, "mu")
    tested = ew.cls(model, "mu", float(found.observed))
    assert tested.observed == pytest.approx(0.05, abs=1e-5)
    median = ew.cls(model, "mu", float(found.expected.median))
    assert median.expected.median == pytest.approx(0.05, abs=1e-5)


def test_inputs_are_as_they_were():
    spec = search_spec()
    before = [a.copy() for a in arrays_of(spec)]
    model = BinnedModel.from_spec(spec)
    main = observed(model)["main"].copy()
    ew.fit(model)
    for one, other in zip(before, arrays_of(spec), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(model.observation["main"], main)


def arrays_of(spec):
    for channel in spec.channels:
        yield channel.observed
        for sample in channel.samples:
            yield sample.nominal
            for effect in sample.effects:
                if hasattr(effect, "down") and np.ndim(effect.down):
                    yield from (effect.down, effect.up)
