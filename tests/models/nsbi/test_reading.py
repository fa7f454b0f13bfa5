"""Reading of workspaces: generations, choices, and documents that are not valid."""

import copy
import re
import warnings

import numpy as np
import pytest

from everwillow._errors import EverwillowError, SpecificationError
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


def test_the_density_of_a_reference_sample_can_be_the_nominal_mixture():
    """Events of the mixture and of the reference density estimate the same."""
    x, width = analytic.grid(401)
    expected = analytic.reference_density(x) * width
    for density, simulated in (("nominal", events(401)), ("reference", reference(401))):
        document = analytic_workspace(events(31), simulated)
        document["channels"][0]["reference"]["density"] = density
        (region,) = nsbi.workspace_spec(document).unbinned
        assert region.reference_density == density
        np.testing.assert_allclose(region.reference_weights, expected, rtol=1e-5)
    document["channels"][0]["reference"]["density"] = "mixture"
    with pytest.raises(EverwillowError, match=r"density: expected 'reference' or"):
        nsbi.workspace_spec(document)


@pytest.mark.parametrize("place", ["paths", "inside", "beside"])
def test_ensembles_are_averaged_and_their_members_kept(tmp_path, place):
    """Ratios may be lists: nominal ones and those of both directions."""
    observed, rng = events(31), np.random.default_rng(4)
    members = {
        key: [values * factor for factor in rng.uniform(0.9, 1.1, (number, 31))]
        for key, values, number in (
            ("", observed.ratios["signal"], 3),
            ("up", observed.variations["signal", "scale"].up, 2),
            ("down", observed.variations["signal", "scale"].down, 3),
        )
    }
    document = analytic_workspace(observed)
    names = {}
    for key, arrays in members.items():
        names[key] = [str(tmp_path / f"{key}_{i}.npy") for i in range(len(arrays))]
        for name, array in zip(names[key], arrays, strict=True):
            np.save(name, array)
    sample = document["channels"][0]["samples"][0]
    sample["ratios"] = names[""]
    sample["modifiers"][-1]["data"] |= {
        "hi_ratio": names["up"],
        "lo_ratio": names["down"],
    }
    file = tmp_path / "w.json"
    nsbi.dump_workspace(document, file, arrays=place)
    loaded = nsbi.load_workspace(file)
    if place != "paths":
        kept = [e for e in loaded["arrays"].values() if "sha256" in e]
        assert len(kept) >= 8
    (region,) = nsbi.workspace_spec(loaded).unbinned
    found = {
        "": region.events.ratios["signal"],
        "up": region.events.variations["signal", "scale"].up,
        "down": region.events.variations["signal", "scale"].down,
    }
    for key, arrays in members.items():
        np.testing.assert_allclose(found[key], np.mean(arrays, axis=0), rtol=1e-14)
        place_of = ("signal", "scale" if key else "", key)
        np.testing.assert_array_equal(region.events.members[place_of], arrays)
    assert len(region.events.members) == 3
    if place == "beside":
        copy_of = next((tmp_path / "w.arrays").glob("up_0-*.npy"))
        np.save(copy_of, members["up"][0] + 1e-9)
        with pytest.raises(SpecificationError, match=r"up_0-.*has changed"):
            nsbi.load_workspace(file)


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


def with_modifiers(document, observed):
    """Return a copy whose observation has changes of densities of its own."""
    document = copy.deepcopy(document)
    arrays = document["arrays"]
    for name, entry in document["observations"][-1]["ratios"].items():
        change = observed.variations[name, "scale"]
        data = {"hi_ratio": f"data_{name}_up", "lo_ratio": f"data_{name}_down"}
        arrays |= {
            data["hi_ratio"]: stored(change.up),
            data["lo_ratio"]: stored(change.down),
        }
        modifier = {"name": "scale", "type": "normplusshape", "data": data}
        document["observations"][-1]["ratios"][name] = {
            "ratios": entry,
            "modifiers": [modifier],
        }
    return document


@pytest.mark.parametrize("place", ["paths", "inside", "beside"])
def test_observations_with_changes_of_their_own_may_have_any_length(tmp_path, place):
    observed, simulated = events(21, mu=1.5), events(31)
    document = second_generation(observed, simulated, "mapping")
    file = tmp_path / "w.json"
    for form in ("mapping", "objects"):
        changed = with_modifiers(document, observed)
        (entry,) = [o for o in changed["observations"] if "ratios" in o]
        if form == "objects":
            entry["ratios"] = [
                {"name": name, **one} for name, one in entry["ratios"].items()
            ]
        nsbi.dump_workspace(changed, file, arrays=place)
        (region,) = nsbi.workspace_spec(nsbi.load_workspace(file)).unbinned
        assert region.reference.weights.size == 31
        for key, change in observed.variations.items():
            np.testing.assert_array_equal(region.events.variations[key], change)


def test_changes_of_the_channel_do_not_fit_other_events():
    observed, simulated = events(21), events(31)
    document = second_generation(observed, simulated, "mapping")
    message = (
        "'signal_lo_ratio' of the channel have 31 events, the observation has 21. Give "
        "`modifiers` with ratios of its events in the observation."
    )
    with pytest.raises(SpecificationError, match=message):
        nsbi.workspace_spec(document)
    same = second_generation(simulated, simulated, "mapping")
    report = nsbi.workspace_spec(same).binned.report
    assert any("they must be the same events" in sentence for sentence in report)
    own = with_modifiers(same, simulated)
    report = nsbi.workspace_spec(own).binned.report
    assert not any("the same events" in sentence for sentence in report)


def test_changes_by_unknown_parameters_name_the_nearest():
    observed = events(21)
    document = with_modifiers(
        second_generation(observed, events(31), "mapping"), observed
    )
    entry = document["observations"][-1]["ratios"]["signal"]
    entry["modifiers"][0]["name"] = "scales"
    with pytest.raises(EverwillowError, match=r"'scales'.*Did you mean 'scale'"):
        nsbi.workspace_spec(document)


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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_data_without_a_reference_sample_are_reported():
    x, _ = analytic.grid(31)
    with pytest.warns(UserWarning, match="all events have the weight 1"):
        nsbi.load(analytic_workspace(analytic.events(x, np.ones(31))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interpolation": "quadratic"}, "'polynomial', 'linear', got 'quadratic'"),
        ({"storage": "float16"}, "'float64', 'float32', got 'float16'"),
    ],
)
def test_unknown_choices_are_refused(document, options, message):
    with pytest.raises(EverwillowError, match=message):
        nsbi.load(document, **options)


def test_template_statistics_have_the_strength_of_each_sample():
    """Of two nodes of a coupling only the one at its start value counts."""
    samples = [
        {
            "name": name,
            "data": [yields],
            "variance": [yields],
            "modifiers": [
                {"name": "kappa", "type": "vandermonde", "data": None, "coeff": coeff}
            ],
        }
        for name, yields, coeff in (
            ("at_0", 1000.0, [-1.0, 1.0]),
            ("at_1", 100.0, [1.0, 0.0]),
        )
    ]
    model = nsbi.load(
        {
            "channels": [{"name": "CR", "type": "binned", "samples": samples}],
            "observations": [{"name": "CR", "data": [100.0]}],
            "measurements": [
                {
                    "name": "m",
                    "config": {
                        "poi": "kappa",
                        "parameters": [{"name": "kappa", "inits": [1.0]}],
                    },
                }
            ],
        },
        template_statistics=True,
    )
    found = np.asarray(model.constraints["staterror_CR"].tau)
    np.testing.assert_allclose(found, 100.0)


def test_observed_events_without_weights_have_the_weight_one():
    observed, simulated = events(31, mu=1.5), events(31)
    document = second_generation(observed, simulated, "mapping")
    del document["observations"][0]["weights"]
    (region,) = nsbi.workspace_spec(document).unbinned
    np.testing.assert_array_equal(region.events.weights, np.ones(31))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"signal": 4, "background": 4}, "1 events with a weight .* is number 4"),
        ({"signal": slice(None)}, "ratios of sample 'signal' are 0 on all simulated"),
    ],
)
def test_densities_of_zero_are_refused(document, changed, message):
    changed_document = copy.deepcopy(document)
    ratios = events(31).ratios
    for name, place in changed.items():
        values = ratios[name].copy()
        values[place] = 0.0
        changed_document["arrays"][name] = stored(values)
    with pytest.raises(EverwillowError, match=message):
        nsbi.load(changed_document)


@pytest.mark.slow
def test_the_vector_has_the_factors_of_bins(document):
    model = nsbi.load(document, template_statistics=True)
    vector = nsbi.VectorLikelihood.of(model)
    assert vector.names == (
        "mu",
        "scale",
        "staterror_CR[0]",
        "staterror_CR[1]",
        "staterror_SR",
    )
    at = np.array([1.2, 0.3, 0.98, 1.01, 1.02])
    params = {
        "mu": at[0],
        "scale": at[1],
        "staterror_CR": at[2:4],
        "staterror_SR": at[4],
    }
    value, gradient = vector.value_and_gradient(at)
    np.testing.assert_allclose(value, model.nll(params), rtol=1e-13)
    step = 1e-5 * np.eye(5)
    slopes = [(vector.value(at + d) - vector.value(at - d)) / 2e-5 for d in step]
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-4)
    assert vector.hessian(at).shape == (5, 5)


def test_without_normalisation_it_is_not_checked():
    """The advice of the warning is followed: there is no other one."""
    x, _ = analytic.grid(31)
    document = analytic_workspace(analytic.events(x, np.ones(31)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = nsbi.load(document, normalize=False)
    assert not any("normalised" in sentence for sentence in model.report)
