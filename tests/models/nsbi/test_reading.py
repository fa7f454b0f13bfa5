"""Reading of workspaces: generations, choices, and documents that are not valid."""

import copy
import re

import numpy as np
import pytest

from everwillow._errors import EverwillowError
from everwillow.models import nsbi
from tests.models.nsbi import analytic
from tests.models.nsbi.workspaces import analytic_workspace, stored


def events(points, **at):
    x, width = analytic.grid(points)
    return analytic.events(x, analytic.mixture(x, **at) * width)


def reference(points):
    x, width = analytic.grid(points)
    return analytic.events(x, 3.0 * analytic.reference_density(x) * width)


@pytest.fixture(scope="module")
def document():
    return analytic_workspace(events(31), control=True)


def test_a_workspace_has_the_content_of_its_spec(document):
    spec = nsbi.workspace_spec(document)
    expected = analytic.spec(events(31)).unbinned[0]
    (region,) = spec.unbinned
    assert [s.name for s in region.samples] == list(analytic.SAMPLES)
    assert region.samples == expected.samples
    for name, ratios in expected.events.ratios.items():
        np.testing.assert_array_equal(region.events.ratios[name], ratios)
    for key, change in expected.events.variations.items():
        np.testing.assert_array_equal(region.events.variations[key], change)
    assert spec.order == ("mu", "scale")
    assert region.reference is None
    (channel,) = spec.binned.channels
    np.testing.assert_array_equal(channel.observed, [310.0, 199.0])
    mu, scale = spec.binned.parameters
    assert (mu.lower, mu.upper, mu.constraint) == (0.0, 10.0, None)
    assert (scale.lower, scale.upper) == (-np.inf, np.inf)
    assert scale.constraint.width == 1


def test_a_reference_sample_has_weights_of_sum_one():
    document = analytic_workspace(events(31), reference(51))
    (region,) = nsbi.workspace_spec(document).unbinned
    assert region.from_reference_density
    x, width = analytic.grid(51)
    np.testing.assert_allclose(
        region.reference_weights, analytic.reference_density(x) * width, rtol=1e-6
    )


def second_generation(observed, simulated, form):
    """Return a workspace whose observations carry ratios and weights."""
    document = analytic_workspace(simulated)
    arrays = document["arrays"]
    arrays["data_weights"] = stored(observed.weights)
    entries = {}
    for name in analytic.SAMPLES:
        arrays[f"data_{name}"] = stored(observed.ratios[name])
        entries[name] = f"data_{name}"
    if form == "list":
        entries = list(entries.values())
    elif form == "objects":
        entries = [{"name": n, "ratios": v} for n, v in reversed(entries.items())]
    document["observations"].append(
        {"name": "SR", "data": [1.0], "weights": "data_weights", "ratios": entries}
    )
    return document


@pytest.mark.parametrize("form", ["mapping", "list", "objects"])
def test_the_second_generation_has_events_in_its_observations(form):
    observed, simulated = events(31, mu=1.5), events(31)
    document = second_generation(observed, simulated, form)
    spec = nsbi.workspace_spec(document)
    (region,) = spec.unbinned
    np.testing.assert_array_equal(region.events.weights, observed.weights)
    for name in analytic.SAMPLES:
        np.testing.assert_array_equal(region.events.ratios[name], observed.ratios[name])
    assert region.reference is not None
    assert not region.from_reference_density
    assert any("its observations carry" in text for text in spec.binned.report)


def test_the_report_says_generation_and_interpolation(document):
    report = " ".join(nsbi.load(document).report)
    assert "the samples of its unbinned channels carry the density ratios" in report
    assert "polynomials of sixth order" in report
    report = " ".join(nsbi.load(document, interpolation="linear").report)
    assert "piecewise linear" in report


def test_linear_interpolation_is_a_line_between_the_ratios():
    document = analytic_workspace(events(31))
    model = nsbi.load(document, interpolation="linear", normalize=False)
    spec = nsbi.workspace_spec(document)
    (region,) = spec.unbinned
    for scale, mu in ((0.6, 1.0), (-2.0, 1.7)):
        density = 0.0
        for sample, strength in (("signal", mu), ("background", 1.0)):
            growth = analytic.GROWTH[sample]
            slope = growth - 1 if scale > 0 else 1 - 1 / growth
            change = region.events.variations[sample, "scale"]
            tilt = change.up - 1 if scale > 0 else 1 - change.down
            density += (
                strength
                * analytic.YIELDS[sample]
                * (1 + scale * slope)
                * region.events.ratios[sample]
                * (1 + scale * tilt)
            )
        found = nsbi.density_ratio(model, {"mu": mu, "scale": scale})
        total = model.terms.expected_events(np.array([mu, scale]))
        np.testing.assert_allclose(found * total, density, rtol=1e-12)


def test_parameters_that_are_not_listed_are_neutral(document):
    changed = copy.deepcopy(document)
    config = changed["measurements"][0]["config"]
    config["parameters"] = config["parameters"][:1]
    model = nsbi.load(changed)
    assert list(model.state) == ["mu"]
    assert not model.constraints
    assert any("does not list" in text for text in model.report)


def test_fixed_parameters_are_constant_at_their_start(document):
    changed = copy.deepcopy(document)
    changed["measurements"][0]["config"]["parameters"][1] |= {
        "inits": [0.5],
        "fixed": True,
    }
    model = nsbi.load(changed)
    assert model.fixed == {"scale": 0.5}
    assert nsbi.VectorLikelihood.of(model).names == ("mu",)


def test_template_statistics_add_a_factor_for_each_bin(document):
    model = nsbi.load(document, template_statistics=True)
    assert model.state["staterror_CR"].shape == (2,)
    constraint = model.constraints["staterror_CR"]
    # Sums of squared weights 0.5 + 0.5 and 0.7 + 0.7; yields 302 and 205.
    relative = np.sqrt([1.0, 1.4]) / [302.0, 205.0]
    np.testing.assert_allclose(1 / np.sqrt(np.asarray(constraint.tau)), relative)
    # Unbinned: sums of squared weights 4 + 4 in 2000 expected events.
    np.testing.assert_allclose(
        float(model.constraints["staterror_SR"].tau), 2000**2 / 8.0
    )
    changed = copy.deepcopy(document)
    changed["measurements"][0]["config"]["template_statistics"] = True
    assert "staterror_CR" in nsbi.load(changed).state
    assert "staterror_CR" not in nsbi.load(changed, template_statistics=False).state


def test_bins_without_events_are_no_problem(document):
    """An empty template bin, or a varied one, makes no value infinite."""
    changed = copy.deepcopy(document)
    (channel,) = [c for c in changed["channels"] if c["name"] == "CR"]
    channel["samples"][0]["data"] = [0.0, 5.0]
    data = channel["samples"][0]["modifiers"][1]["data"]
    data |= {"hi_data": [1.0, 0.0], "lo_data": [1.0, -0.2]}
    model = nsbi.load(changed)
    assert any("not positive" in text for text in model.report)
    vector = nsbi.VectorLikelihood.of(model)
    for scale in (-3.0, -1.0, 0.0, 0.4, 2.0):
        value, gradient = vector.value_and_gradient(np.array([1.0, scale]))
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_events_that_are_no_nominal_mixture_are_reported():
    """Normalisation with pulled events would hide the pull."""
    document = analytic_workspace(events(3001, scale=2.0))
    with pytest.warns(UserWarning, match="the density of sample") as caught:
        model = nsbi.load(document)
    assert str(caught[0].message) in model.report
    assert "data need a reference sample" in str(caught[0].message)


def faults():
    def ratios(values):
        def change(document):
            document["arrays"]["signal"] = stored(values)

        return change

    def entry(*path, value):
        def change(document):
            node = document
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = value

        return change

    sample = ("channels", 0, "samples", 0)
    modifier = (*sample, "modifiers")
    return {
        "short": (ratios(np.ones(30)), r"'signal' has 30 ratios, and 'weights' has 31"),
        "negative": (
            ratios(np.where(np.arange(31) == 4, -1.0, 1.0)),
            r"1 ratios that are negative or not finite; number 4 is -1.0",
        ),
        "infinite": (ratios(np.full(31, np.inf)), "31 ratios that are negative or not"),
        "type": (
            entry("channels", 0, "type", value="unbined"),
            r"/channels/0/type: expected 'binned' or 'unbinned'",
        ),
        "modifier": (
            entry(*modifier, 0, "type", value="normfaktor"),
            "Did you mean 'normfactor'",
        ),
        "poi": (
            entry("measurements", 0, "config", "poi", value="scales"),
            r"no modifier has the parameter of interest 'scales'. Did you mean 'scale'",
        ),
        "bounds": (
            entry(
                "measurements", 0, "config", "parameters", 0, "bounds", value=[[3, 1]]
            ),
            "expected a lower and an upper bound",
        ),
        "observation": (
            entry("observations", 0, "name", value="CS"),
            "no observation 'CR'. The valid keys are: 'CS'",
        ),
        "twice": (
            entry("channels", 0, "samples", 1, "name", value="signal"),
            "two samples of the channel have the name 'signal'",
        ),
        "kinds": (
            entry(*modifier, 0, value={"name": "scale", "type": "normfactor"}),
            "'scale' is a normfactor elsewhere",
        ),
    }


@pytest.mark.parametrize("name", faults())
def test_what_is_wrong_is_said_with_its_place(document, name):
    change, message = faults()[name]
    changed = copy.deepcopy(document)
    change(changed)
    with pytest.raises(EverwillowError) as caught:
        nsbi.load(changed)
    assert re.search(message, str(caught.value)), str(caught.value)


def test_an_unknown_measurement_names_the_nearest(document):
    with pytest.raises(EverwillowError, match="Did you mean 'analytic'"):
        nsbi.load(document, "analytics")
