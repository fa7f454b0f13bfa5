"""What counts as an auxiliary measurement, and what the report says of it."""

import math

import numpy as np
import pytest
import scipy.stats

import everwillow as ew
from everwillow._errors import SpecificationError
from everwillow.models.hs3 import load, read_spec
from tests.models.hs3.documents import (
    MU,
    channel,
    constraint,
    document,
    modifier,
    sample,
)


NORM = {"lo": 0.9, "hi": 1.1}
GAUSS = {"name": "c", "type": "gaussian_dist", "x": "a", "mean": "nom", "sigma": 1.0}
EVENTS = 70
RATE = {"name": "rate", "type": "generic_function"}
RATE["expression"] = "10 * mu + 50 * (1 + 0.2 * a)"


def region(**entries):
    norm = modifier("normsys", "a", data=NORM, interpolation="code4") | entries
    return channel("SR", sample("s", [5.0], MU), sample("b", [50.0], norm))


def product(*factors, name="model"):
    return {"name": name, "type": "product_dist", "factors": list(factors)}


def events(*channels, more=(), points=None, likelihood=None):
    """70 events, flat, of the rate `RATE`, with the distribution `model`."""
    flat = {"name": "flat", "type": "uniform_dist", "x": "x"}
    extended = {"name": "sb", "type": "rate_extended_dist"}
    extended |= {"rate": "rate", "dist": "flat"}
    made = document(
        *channels,
        observed={"SR": [58.0]},
        more=[flat, extended, *more],
        functions=[RATE],
        points={"mu": 1.0, "a": 0.5, "nom": (0.2,)} | (points or {}),
        ranges={"mu": (0, 20), "a": (-5, 5)},
        likelihood=likelihood or {},
    )
    axis = {"name": "x", "min": 0.0, "max": 1.0}
    entries = [[(i + 0.5) / EVENTS] for i in range(EVENTS)]
    made["data"].append(
        {"name": "e", "type": "unbinned", "entries": entries, "axes": [axis]}
    )
    made["likelihoods"][0]["distributions"].append("model")
    made["likelihoods"][0]["data"].append("e")
    return made


@pytest.mark.slow
def test_a_constraint_as_a_factor_moves_in_asimov_data():
    """Expected significance 0.7822 by scipy (root#22597, HS3#90).

    1.26 if the global observable stays where it is.
    """
    made = events(more=[GAUSS, product("sb", "c")], points={"nom": (0.0,), "a": 0.0})
    model = load(made)
    assert list(model.constraints) == ["a"]
    assert any("each counted once: 'c (of a)'" in s for s in model.report)
    result = ew.discovery(model, "mu")
    assert float(result.expected) == pytest.approx(0.7822, abs=2e-3)


@pytest.mark.parametrize("word", ["c", "Gauss", None])
@pytest.mark.parametrize("swap", [False, True])
def test_a_constraint_of_a_modifier_and_a_product_is_counted_once(word, swap):
    """-ln L at the start by hand; code 4 of 0.9 and 1.1 at 0.5 is that of pyhf."""
    own = {} if word is None else {"constraint": word}
    gauss = GAUSS | ({"x": "nom", "mean": "a"} if swap else {})
    model = load(events(region(**own), more=[gauss, product("sb", "c")]))
    rate, k = 10 + 50 * 1.1, 1.0493149154270232
    wanted = rate - EVENTS * math.log(rate)
    wanted -= scipy.stats.poisson.logpmf(58, 5 + 50 * k)
    wanted -= scipy.stats.norm.logpdf(0.5, 0.2, 1)
    start = {"mu": 1.0, "a": 0.5}
    assert float(model.nll(start)) == pytest.approx(wanted, rel=1e-12)
    assert list(model.constraints) == ["a"]
    assert set(model.observation["main"]) == {"SR", "sb"}


def test_a_joint_constraint_outranks_those_of_modifiers():
    joint = {"name": "c", "type": "multivariate_normal_dist"}
    joint |= {"x": ["a", "nom_d"], "mean": ["nom", "d"]}
    joint["covariances"] = [[2.0, 0.5], [0.5, 1.0]]
    made = document(
        region(constraint="Gauss"),
        more=[joint],
        points={"mu": 1.0, "a": 0.0, "d": 0.0, "nom": (0.2,), "nom_d": (0.3,)},
        likelihood={"aux_distributions": ["c"]},
    )
    model = load(made)
    assert list(model.constraints) == ["c"]
    values = {"mu": 1.0, "a": 0.4, "d": -0.1}
    # The signs of variate minus mean differ, and so does that of the covariance.
    density = scipy.stats.multivariate_normal([0.4, -0.1], [[2.0, -0.5], [-0.5, 1.0]])
    wanted = -density.logpdf([0.2, 0.3])
    assert float(model.constraint_nll(values)) == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(model.asimov(values)["aux"]["c"], [0.4, -0.1])
    assert any("'a'; the constraint is counted once" in s for s in model.report)
    with pytest.raises(SpecificationError, match=r"other terms.*'c'.*Use load"):
        read_spec(made)


def test_two_distributions_of_one_parameter_are_two_measurements():
    """One is the constraint, the other a datum of its own; both move."""
    second = GAUSS | {"name": "d", "x": 0.9, "mean": "a", "sigma": 0.5}
    model = load(events(more=[GAUSS, second, product("sb", "c", "d")]))
    assert list(model.constraints) == ["a"]
    assert set(model.observation["main"]) == {"sb", "d"}
    asimov = model.asimov({"mu": 1.0, "a": 0.4})
    assert float(asimov["aux"]["a"]) == pytest.approx(0.4)
    np.testing.assert_allclose(asimov["main"]["d"], [0.4])


@pytest.mark.parametrize("swap", [False, True])
def test_inline_gaussians_are_measurements_beside_events_too(swap):
    """Of whatever argument is no parameter; another number is another measurement."""
    gauss = GAUSS | ({"x": "nom", "mean": "a"} if swap else {})
    made = events(more=[gauss, product("sb")])
    made["likelihoods"][0]["distributions"] += ["c", "c"][: 1 + swap]
    made["likelihoods"][0]["data"] += [0.3, 0.4][: 1 + swap]
    model = load(made)
    assert float(model.observation["aux"]["a"]) == 0.3
    assert set(model.observation["main"]) == ({"sb", "c"} if swap else {"sb"})
    assert set(model.state) == {"mu", "a"}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"x": "a", "mean": 1.2, "sigma": 0.5, "type": "lognormal_dist"}, "penalty"),
        ({"x": "a", "mean": "b", "sigma": 1.0}, "penalty"),
        ({"x": "a", "mean": "nom2", "sigma": 1.0}, "although they are not constant"),
        ({"x": "a", "mean": "shared", "sigma": 1.0}, "enter the likelihood otherwise"),
    ],
)
def test_what_is_not_plain_is_said(spec, words):
    spec = {"mu" if k == "mean" and "type" in spec else k: v for k, v in spec.items()}
    made = events(
        more=[GAUSS | {"mean": "nom"} | spec, product("sb", "c")],
        points={"b": 0.0, "nom2": 0.3, "shared": (0.1,)},
    )
    made["functions"][0]["expression"] += " + b + shared"
    if spec["x"] == "a" and spec.get("type") == "lognormal_dist":
        del made["distributions"][-2]["mean"]
    model = load(made)
    assert any(words in s for s in model.report)
    assert ("a" in model.constraints) == (words != "penalty")


def test_products_with_histfactory_distributions():
    """Nested, in any order; each kind of wrong product is named."""
    inner = product("c", "SR", name="inner")
    made = document(
        region(constraint="None"),
        more=[GAUSS, inner, product("inner")],
        points={"mu": 1.0, "a": 0.5, "nom": (0.2,)},
    )
    made["likelihoods"][0]["distributions"] = ["model"]
    assert constraint(read_spec(made), "a") == ("normal", 0.2, 1.0)
    other = made["distributions"][0] | {"name": "CR"}
    made["distributions"].append(other)
    inner["factors"] = ["SR", "CR"]
    made["distributions"][2] = inner
    with pytest.raises(SpecificationError, match=r"several histfactory.*'SR', 'CR'"):
        read_spec(made)
    made["distributions"][0]["axes"] = [{"name": "a", "min": 0, "max": 1, "nbins": 1}]
    inner["factors"] = ["SR", "c"]
    with pytest.raises(SpecificationError, match="depends on their axes"):
        read_spec(made)
