"""Published combinations of the top-quark mass, from their input tables.

The tables are those of the example in ``docs/examples``, typed from ATLAS-CONF-2013-102
/ CMS-PAS-TOP-13-005 (LHC, 2013) and arXiv:1403.4427 (world, 2014). The likelihood is
Gaussian and linear, so its fit is the best linear unbiased estimate: with the full
covariance matrix V of the measurements x,

    weights = V^-1 1 / (1 V^-1 1),  value = weights x,  variance = 1 / (1 V^-1 1),
    chi2 = (x - value) V^-1 (x - value).

This is computed here from the tables, and its numbers are also pinned below, as they
were found by a separate program from the full correlation matrices: a typing error in
the tables would show.
"""

import importlib.util
import math
import pathlib
import sys

import numpy as np
import pytest

import everwillow as ew
import everwillow.statelib as sl
from everwillow import impacts


pytestmark = pytest.mark.validation

EXAMPLES = pathlib.Path(__file__).parents[2] / "docs" / "examples"

# value, total error, its statistical and systematic part, chi2, weights
CLOSED_FORM = {
    "lhc": (
        173.28879459299242,
        0.9463537610246391,
        0.23001585108942765,
        0.9179750264866066,
        1.799465594528024,
        (
            0.22669615698607362,
            0.036637507175251,
            0.6047317967419116,
            -0.0817687485919647,
            0.21370328768872848,
        ),
    ),
    "world": (
        173.33212976767032,
        0.7609539992551799,
        0.26657711181898164,
        0.7127325111405418,
        4.329794550411436,
        (
            0.3482623697613985,
            -0.04204846988384929,
            0.055013823497968795,
            0.06301137540521345,
            0.10387621954944715,
            0.003080566175060195,
            0.15889410027628426,
            -0.07143879878379458,
            0.2754725893548532,
            0.03519282576093713,
            0.0706833988864809,
        ),
    ),
}
WAYS = pytest.mark.parametrize("correlate", [False, True], ids=["shared", "correlate"])


@pytest.fixture(scope="module")
def example():
    """The script as a module."""
    path = EXAMPLES / "combine_top_mass.py"
    spec = importlib.util.spec_from_file_location("combine_top_mass", path)
    module = importlib.util.module_from_spec(spec)
    # `typing.NamedTuple` and equinox look their classes' module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def covariance(table):
    """Return the covariance matrix of the measurements of a table."""
    total = np.diag(np.square(table["statistical"]))
    for source in table["sources"]:
        group = np.array(table["groupings"][source["same_within"]])
        same = group[:, None] == group[None, :]
        total += np.outer(source["sigma"], source["sigma"]) * np.where(
            same, 1.0, source["between"]
        )
    return total


def best_linear_estimate(table):
    """Return value, error, chi2 and weights."""
    values, matrix = np.array(table["values"]), covariance(table)
    information = np.linalg.solve(matrix, np.ones_like(values))
    weights = information / information.sum()
    residuals = values - weights @ values
    chi2 = residuals @ np.linalg.solve(matrix, residuals)
    return weights @ values, information.sum() ** -0.5, chi2, weights


def fitted(model):
    """Return the result of a fit, the error of the mass, and chi2."""
    result = ew.fit(model)
    mass = result.labels.index("mass")
    # Data that agree perfectly leave the constants of -ln L.
    perfect = ew.fit(model, observation=model.asimov(result.params))
    error = math.sqrt(result.covariance[mass, mass])
    return result, error, 2 * (result.nll - perfect.nll)


def weights_by_moving(model, result, names):
    """Return how far the result moves with each measurement, as the model is linear."""
    data = model.observation
    weights = []
    for name in names:
        moved = data["main"] | {name: data["main"][name] + 1.0}
        again = ew.fit(model, observation=data | {"main": moved})
        weights.append(again.params["mass"] - result.params["mass"])
    return weights


@pytest.mark.parametrize("name", list(CLOSED_FORM))
def test_tables_give_the_closed_form_of_the_full_correlation_matrices(example, name):
    value, error, chi2, weights = best_linear_estimate(example.read(name))
    expected = CLOSED_FORM[name]
    np.testing.assert_allclose(
        (value, error, chi2, *weights),
        (*expected[:2], expected[4], *expected[5]),
        rtol=1e-11,
    )


@pytest.mark.slow
@WAYS
@pytest.mark.parametrize("name", ["lhc", "world"])
def test_fit_is_the_best_linear_estimate(example, name, correlate):
    table = example.read(name)
    model = example.combination(table, correlate=correlate)
    result, error, chi2 = fitted(model)
    expected = CLOSED_FORM[name]
    assert result.params["mass"] == pytest.approx(expected[0], rel=1e-12)
    assert error == pytest.approx(expected[1], rel=1e-9)
    assert chi2 == pytest.approx(expected[4], rel=1e-9)
    weights = weights_by_moving(model, result, table["measurements"])
    # Differences of two masses near 173 lose three digits: 1e-13 is left of them.
    np.testing.assert_allclose(weights, expected[5], rtol=1e-9, atol=1e-12)

    pieces = sl.split(result.params)
    assert len(pieces) == len(model.models) == len(table["measurements"])
    for piece, (measurement, part) in zip(pieces, model.models.items(), strict=True):
        own = piece.to_pytree()
        assert list(own) == list(part.state)
        experiment, _ = measurement.split()
        assert own[example.MASS_NAMES[experiment]] == result.params["mass"]


@pytest.mark.slow
@WAYS
@pytest.mark.parametrize("name", ["lhc", "world"])
def test_derivatives_through_the_fit_give_weights_and_impacts(example, name, correlate):
    table = example.read(name)
    found = example.analyse(table, example.combination(table, correlate=correlate))
    value, error, statistical, systematic, chi2, weights = CLOSED_FORM[name]
    assert found.mass.value == pytest.approx(value, rel=1e-12)
    assert found.error == pytest.approx(error, rel=1e-9)
    assert found.mass.statistical == pytest.approx(statistical, rel=1e-9)
    assert found.mass.systematic == pytest.approx(systematic, rel=1e-9)
    # Parts from derivatives, the whole from the Hessian: they must agree.
    assert found.mass.error == pytest.approx(found.error, rel=1e-9)
    assert found.chi2 == pytest.approx(chi2, rel=1e-9)
    assert list(found.weights) == table["measurements"]
    np.testing.assert_allclose(list(found.weights.values()), weights, rtol=1e-9)

    # Each source moves the result by weights * sigma, correlated between measurements.
    for source in table["sources"]:
        alone = {**table, "sources": [source], "statistical": [0.0] * len(weights)}
        variance = np.array(weights) @ covariance(alone) @ np.array(weights)
        impact = found.impacts[source["name"]]
        assert impact == pytest.approx(math.sqrt(variance), rel=1e-9)
    assert len(found.impacts) == len(table["sources"])

    published = table["published"]
    text = example.report(table, found)
    # The rounded inputs of the world combination give 173.33, the paper prints 173.34.
    digits = 0.0051 if name == "lhc" else 0.0151
    assert abs(found.mass.value - published["value"]) < digits
    assert round(found.mass.statistical, 2) == published["stat"]
    assert round(found.mass.systematic, 2) == published["syst"]
    assert round(found.chi2, 1) == published["chi2"]
    assert len(weights) - 1 == published["ndf"]
    assert round(found.p_value, 2) == published.get("p_value", 0.93)
    assert f"combination       {value:.2f}    {statistical:.2f}" in text
    assert f"{published['stat']:.2f}    {published['syst']:.2f}    {error:.2f}" in text


@pytest.mark.slow
def test_combination_of_combinations_is_the_combination(example):
    table = example.read("world")
    groups = {"Tevatron": ("CDF", "D0"), "LHC": ("ATLAS", "CMS")}
    parts = {}
    for collider, experiments in groups.items():
        chosen = {
            name: (i, example.measurement(table, i, common_parts=True))
            for i, name in enumerate(table["measurements"])
            if name.split()[0] in experiments
        }
        parts[collider] = ew.combine(
            {name: model for name, (_, model) in chosen.items()},
            rename={
                name: example.joint_names(table, i, model)
                for name, (i, model) in chosen.items()
            },
        )
    nested = ew.combine(parts)
    flat = example.combination(table)
    assert set(nested.state) == set(flat.state)

    result, error, chi2 = fitted(nested)
    expected = CLOSED_FORM["world"]
    assert result.params["mass"] == pytest.approx(expected[0], rel=1e-12)
    assert error == pytest.approx(expected[1], rel=1e-9)
    assert chi2 == pytest.approx(expected[4], rel=1e-9)

    # Splitting goes down to the measurements at once.
    pieces = sl.split(result.params)
    names = [name for part in nested.models.values() for name in part.models]
    assert names == table["measurements"]
    for piece, name in zip(pieces, names, strict=True):
        own = piece.to_pytree()
        assert own[example.MASS_NAMES[name.split()[0]]] == result.params["mass"]


@pytest.mark.slow
@WAYS
@pytest.mark.parametrize("name", ["lhc", "world"])
def test_weights_and_breakdown_of_the_combination(example, name, correlate):
    table = example.read(name)
    model = example.combination(table, correlate=correlate)
    result = ew.fit(model)
    _, error, statistical, _, _, weights = CLOSED_FORM[name]
    found = impacts.weights(model, result, poi="mass")
    assert list(found.names) == table["measurements"]
    np.testing.assert_allclose(found.measurements, weights, rtol=1e-9)
    assert found.total == pytest.approx(1.0, rel=1e-12)

    sources = {source["name"]: f"{source['name']}: *" for source in table["sources"]}
    parts = impacts.breakdown(model, result, poi="mass", groups=sources)
    assert parts.total == pytest.approx(error, rel=1e-9)
    assert parts.statistical == pytest.approx(statistical, rel=1e-9)
    for source in table["sources"]:
        alone = {**table, "sources": [source], "statistical": [0.0] * len(weights)}
        variance = np.array(weights) @ covariance(alone) @ np.array(weights)
        part = parts.by_source[source["name"]]
        assert part == pytest.approx(math.sqrt(variance), rel=1e-9)
    published = table["published"]
    assert f"statistical & ${published['stat']:.2f}$" in parts.latex()
