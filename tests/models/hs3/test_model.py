"""Models of whole documents: binned ones, and those with other distributions.

One mixed likelihood serves most tests, since compiling is what costs: an extended
unbinned mixture, histfactory bins, and a Gaussian auxiliary measurement, which share
parameters.
"""

import copy
import functools as ft
import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import SpecificationError
from everwillow.likelihood.binned.spec import BinnedSpec, ParameterSpec
from everwillow.models.binned import BinnedModel
from everwillow.models.hs3 import Hs3Model, dump, load, read_spec
from tests.models.hs3 import closed_form
from tests.models.hs3.documents import (
    MU,
    channel,
    document,
    expected,
    modifier,
    sample,
    stored,
)


EVENTS = [13.8, 18.1, 11.6, 16.3, 15.9, 11.0, 17.2, 10.6, 13.9, 12.8, 15.6, 14.9]
RANGE = (10.0, 20.0)


def mixed():
    stat = modifier("staterror", parameters=["g0", "g1"], constraint="Gauss")
    bins = channel(
        "SR",
        sample("signal", [5.0, 6.0], MU, stat, errors=[1.0, 1.0]),
        sample(
            "background",
            [50.0, 40.0],
            modifier("normfactor", "share"),
            stat,
            errors=[2.0, 3.0],
        ),
    )
    more = [
        {"name": "peak", "type": "gaussian_dist", "x": "m", "mean": "mean", "sigma": 1},
        {"name": "tail", "type": "exponential_dist", "x": "m", "c": "slope"},
        {
            "name": "events",
            "type": "mixture_dist",
            "summands": ["peak", "tail"],
            "coefficients": ["signal", "n_tail"],
            "extended": True,
        },
        {"name": "scale", "type": "gaussian_dist"}
        | {"x": "nom_mean", "mean": "mean", "sigma": 0.5},
    ]
    functions = [
        {"name": "signal", "type": "product", "factors": ["mu", 4.0]},
        {"name": "share", "type": "generic_function", "expression": "n_tail / 8"},
    ]
    points = {"mu": 1.0, "n_tail": 8.0, "mean": 15.0, "slope": 0.1, "nom_mean": (15.2,)}
    made = document(
        bins,
        more=more,
        functions=functions,
        points=points | {"g0": 1.0, "g1": 1.0},
        ranges={"mu": (0, 10), "n_tail": (0, 100), "mean": (10, 20)}
        | {"slope": (0, 2), "g0": (0, 5), "g1": (0, 5)},
        observed={"SR": [57.0, 44.0]},
        likelihood={"aux_distributions": ["scale"]},
    )
    axis = {"name": "m", "min": RANGE[0], "max": RANGE[1]}
    made["data"].append(
        {"name": "e", "type": "unbinned", "entries": [[x] for x in EVENTS]}
        | {"axes": [axis]}
    )
    likelihood = made["likelihoods"][0]
    likelihood["distributions"].append("events")
    likelihood["data"].append("e")
    return made


@ft.cache
def mixed_model():
    return load(mixed())


@jax.jit
def mixed_nll(params, observation):
    return mixed_model().nll(params, observation)


def start():
    return mixed_model().state.to_pytree()


def cdf(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def by_hand(p, nom_mean=15.2, nominal=(1.0, 1.0)):
    """-ln L from its definition, every density normalised over its range."""
    low, high = RANGE
    inside = cdf(high - p["mean"]) - cdf(low - p["mean"])
    norm = (math.exp(-p["slope"] * low) - math.exp(-p["slope"] * high)) / p["slope"]
    signal, tail = 4.0 * p["mu"], p["n_tail"]
    total = signal + tail
    for x in EVENTS:
        peak = math.exp(-0.5 * (x - p["mean"]) ** 2) / math.sqrt(2 * math.pi)
        rate = signal * peak / inside + tail * math.exp(-p["slope"] * x) / norm
        total -= math.log(rate)
    yields = ((5.0, 50.0, 57.0), (6.0, 40.0, 44.0))
    widths = (math.hypot(1, 2) / 55, math.hypot(1, 3) / 46)
    for i, ((s, b, n), width) in enumerate(zip(yields, widths, strict=True)):
        g = p[f"g{i}"]
        rate = g * (p["mu"] * s + tail / 8 * b)
        total += rate - n * math.log(rate) + math.lgamma(n + 1)
        total += 0.5 * ((nominal[i] - g) / width) ** 2
        total += math.log(width * math.sqrt(2 * math.pi))
    pull = (nom_mean - p["mean"]) / 0.5
    return total + 0.5 * pull**2 + math.log(0.5 * math.sqrt(2 * math.pi))


MOVED = {"mu": 1.7, "n_tail": 9.3, "mean": 14.6, "slope": 0.17, "g0": 1.03, "g1": 0.94}


def test_mixed_likelihood_by_hand():
    model = mixed_model()
    assert isinstance(model, Hs3Model)
    assert model.poi == "mu"
    for point in (start(), MOVED):
        params = {k: jnp.asarray(v) for k, v in point.items()}
        value = float(mixed_nll(params, model.observation))
        assert value == pytest.approx(by_hand(point), rel=1e-10)


def test_what_a_mixed_model_consists_of():
    model = mixed_model()
    assert repr(model) == (
        "Hs3Model(1 channels, 2 bins, 1 other terms, 6 parameters, poi='mu')"
    )
    assert set(model.state) == set(MOVED)
    assert set(model.constraints) == {"g0", "g1", "mean"}
    assert float(model.observation["aux"]["mean"]) == 15.2
    assert set(model.observation["main"]) == {"SR", "events"}
    np.testing.assert_array_equal(model.observation["main"]["SR"], [57.0, 44.0])
    assert model.fixed == {}
    assert (model.bounds["mean"].lower, model.bounds["mean"].upper) == (10.0, 20.0)
    assert not any("assumed" in sentence for sentence in model.report)


@pytest.mark.slow
def test_asimov_data_prefer_their_parameters():
    """The gradient of -ln L vanishes at the parameters that made the Asimov data.

    Unbinned Asimov data are a fine grid of weighted events, which limits the precision.
    """
    params = {k: jnp.asarray(v) for k, v in MOVED.items()}
    observation = mixed_model().asimov(params)
    np.testing.assert_allclose(
        observation["main"]["SR"],
        [1.03 * (1.7 * 5 + 9.3 / 8 * 50), 0.94 * (1.7 * 6 + 9.3 / 8 * 40)],
        rtol=1e-12,
    )
    assert float(observation["aux"]["mean"]) == 14.6
    gradient = jax.jit(jax.grad(mixed_nll))(params, observation)
    for name, slope in gradient.items():
        assert abs(float(slope)) < 2e-3, name


@pytest.mark.slow
def test_toys_fluctuate_around_their_parameters(getkey):
    params = {k: jnp.asarray(v) for k, v in MOVED.items()}
    draw = jax.jit(lambda key: mixed_model().sample_observation(params, key))
    toys = jax.vmap(draw)(jr.split(getkey(), 200))
    wanted = mixed_model().expected(params)["SR"]
    mean = np.mean(toys["main"]["SR"], axis=0)
    np.testing.assert_allclose(mean, wanted, atol=4 * np.sqrt(np.max(wanted) / 200))
    assert np.std(toys["aux"]["mean"]) == pytest.approx(0.5, rel=0.2)
    counts = np.sum(toys["main"]["events"]["weights"], axis=1)
    assert np.mean(counts) == pytest.approx(4 * 1.7 + 9.3, abs=4 * (16.1 / 200) ** 0.5)


@pytest.mark.slow
def test_fit_of_a_mixed_model():
    """At the minimum the gradient of the likelihood by hand vanishes."""
    result = ew.fit(mixed_model())
    best = {name: float(value) for name, value in result.params.to_pytree().items()}
    assert float(result.nll) == pytest.approx(by_hand(best), rel=1e-10)
    for name, value in best.items():
        step = 1e-4 * max(1.0, abs(value))
        up, down = best | {name: value + step}, best | {name: value - step}
        assert by_hand(up) >= by_hand(best) <= by_hand(down)


def test_a_mixed_model_is_written_as_it_was_read():
    made = mixed()
    written = dump(mixed_model())
    assert written == made
    with pytest.raises(SpecificationError, match=r"other terms.*'events'.*Use load"):
        read_spec(made)


@pytest.mark.slow
def test_binned_documents_become_binned_models():
    """Values are those of pyhs3 0.4.2; the report travels along."""
    name = "root_simplemodel_uncorrelated"
    model = load(stored(name))
    assert isinstance(model, BinnedModel)
    assert model.report == read_spec(stored(name)).report
    for mu, wanted in expected()[name]["nll_vs_poi"][:2]:
        params = model.state.to_pytree() | {"mu": mu}
        assert float(model.nll(params)) == pytest.approx(wanted, rel=1e-11)


def test_arrays_and_functions_in_the_engine():
    """The compiled model agrees with plain loops where both are special."""
    shape = modifier("shapesys", "g", data={"vals": [5.0, 4.0]})
    made = channel(
        "SR",
        sample("signal", [5.0, 6.0], modifier("normfactor", "f"), shape),
        sample("rest", [9.0, 8.0]),
    )
    functions = [{"name": "f", "type": "generic_function", "expression": "mu^2 + 1"}]
    made = document(made, functions=functions, points={"mu": 1.0})
    spec, model = read_spec(made), load(made)
    values = {"mu": 1.3, "g": np.array([0.9, 1.2])}
    assert float(model.nll(values)) == pytest.approx(
        closed_form.nll(spec, values), rel=1e-12
    )


def test_an_unbinned_likelihood_alone():
    """Auxiliary measurements are constraints there too; nothing is HistFactory."""
    made = mixed()
    made["distributions"] = made["distributions"][1:]
    likelihood = made["likelihoods"][0]
    likelihood["distributions"], likelihood["data"] = ["events"], ["e"]
    model = load(made)
    assert isinstance(model, Hs3Model)
    assert model.channels is None
    assert set(model.constraints) == {"mean"}
    assert set(model.state) == {"mu", "n_tail", "mean", "slope"}


@pytest.mark.slow
def test_auxiliary_distributions_of_other_types_are_main_data():
    made = mixed()
    index = [d["name"] for d in made["distributions"]].index("scale")
    made["distributions"][index] = {
        "name": "scale",
        "type": "lognormal_dist",
        "x": "nom_mean",
        "mu": "log_mean",
        "sigma": 0.1,
    }
    made["functions"].append(
        {"name": "log_mean", "type": "generic_function", "expression": "log(mean) + 0"}
    )
    other = load(made)
    assert set(other.constraints) == {"g0", "g1"}
    assert set(other.observation["main"]) == {"SR", "events", "scale"}
    made["functions"][-1]["expression"] = "log(mean)"
    plain = load(made)
    assert set(plain.constraints) == {"g0", "g1", "mean"}
    assert float(plain.nll(MOVED)) == pytest.approx(float(other.nll(MOVED)), rel=1e-12)


def test_any_name_and_any_element_of_an_array():
    name = "a.b/c:d|e\x1ff"
    held = np.array([True, False, True])
    entries = [ParameterSpec(name, 1.0), ParameterSpec("v", np.arange(3.0), fixed=held)]
    made = Hs3Model.from_parts(BinnedSpec((), tuple(entries)), [], entries, {}, {})
    assert list(made.state) == [name, "v"]
    assert made.state.to_pytree().keys() == {name, "v"}
    np.testing.assert_array_equal(made.fixed["v"], [0.0, np.nan, 2.0])
    assert list(made.fixed) == ["v"]


def test_unknown_distributions_are_refused_by_name():
    made = copy.deepcopy(mixed())
    made["distributions"][1]["type"] = "gausian_dist"
    with pytest.raises(ew.EverwillowError, match=r"gausian_dist.*gaussian_dist"):
        load(made)
