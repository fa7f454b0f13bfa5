"""Observed events beside simulated ones: the key Data of unbinned regions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import SpecificationError
from everwillow.models import nsbi
from everwillow.models.nsbi import WorkspaceBuilder
from tests.models.nsbi import analytic
from tests.models.nsbi.small import ARRAYS, EVENTS, changed, events, line_of, write


DATA = """\
  Data:
    Weights: data_weights.npy
    TrainedModels:
    - SampleName: sig
      Nominal: {Ratios: data_sig.npy}
      Systematics:
      - {SystName: JES, RatiosUp: data_up.npy, RatiosDn: data_down.npy}
    - SampleName: bkg
      Nominal: {Ratios: [data_bkg.npy, data_sig.npy]}
"""
SIZE = EVENTS + 7


def save(folder, prefix="data", size=SIZE):
    generator = np.random.default_rng(13)
    for name in ARRAYS:
        values = generator.uniform(0.5, 2.0, size)
        np.save(folder / f"{prefix}_{name}.npy", values)


def build(folder, *changes, more=DATA):
    return WorkspaceBuilder(write(folder, changed(*changes) + more)).build()


def test_observed_events_are_in_the_observation(tmp_path):
    save(tmp_path)
    workspace = build(tmp_path)
    paths = {name: str(tmp_path / f"data_{name}.npy") for name in ARRAYS}
    binned, found = workspace["observations"]
    assert list(binned) == ["name", "data"]
    assert found["weights"] == paths["weights"]
    total = np.load(paths["weights"]).sum()
    np.testing.assert_allclose(found["data"], [total], rtol=1e-13)
    sig, bkg = found["ratios"]
    data = {"hi_ratio": paths["up"], "lo_ratio": paths["down"]}
    modifier = {"name": "JES", "type": "normplusshape", "data": data}
    assert sig == {"name": "sig", "ratios": paths["sig"], "modifiers": [modifier]}
    assert bkg["ratios"] == [paths["bkg"], paths["sig"]]
    # The channel is that of the configuration without Data.
    assert workspace["channels"] == build(tmp_path, more="")["channels"]


@pytest.mark.parametrize("place", ["paths", "inside", "beside"])
def test_workspaces_with_data_can_be_written_and_read(tmp_path, place):
    save(tmp_path)
    workspace = build(tmp_path)
    nsbi.dump_workspace(workspace, tmp_path / "w.json", arrays=place)
    loaded = nsbi.load_workspace(tmp_path / "w.json")
    (wanted,), (found,) = (
        nsbi.workspace_spec(one).unbinned for one in (workspace, loaded)
    )
    assert found.events.members.keys() == {("bkg", "", "")}
    for name, ratios in wanted.events.ratios.items():
        np.testing.assert_array_equal(found.events.ratios[name], ratios)
    for key, change in wanted.events.variations.items():
        np.testing.assert_array_equal(found.events.variations[key], change)
    np.testing.assert_array_equal(found.reference.weights, wanted.reference.weights)


def test_the_spec_has_data_and_simulated_events(tmp_path):
    save(tmp_path)
    model = nsbi.load(build(tmp_path, ("kappa, JES]", "JES]")))
    (region,) = model.spec.unbinned
    weights = np.load(tmp_path / "data_weights.npy")
    np.testing.assert_array_equal(region.events.weights, weights)
    np.testing.assert_array_equal(
        region.reference.weights, np.load(tmp_path / "weights.npy")
    )
    assert region.reference_density == "nominal"
    assert model.regions == (("SR", SIZE, EVENTS),)
    assert any("its observations carry" in sentence for sentence in model.report)


def test_weights_of_data_are_one_if_they_are_not_given(tmp_path):
    save(tmp_path)
    more = DATA.replace("    Weights: data_weights.npy\n", "")
    workspace = build(tmp_path, more=more)
    found = workspace["observations"][1]
    assert list(found) == ["name", "data", "ratios"]
    assert not (tmp_path / "config_ratios").exists()
    assert found["data"] == [float(SIZE)]
    assert "Weights are not given, and are 1: 'SR_data'." in workspace["report"]


def test_sums_that_differ_from_the_observations_are_reported(tmp_path):
    save(tmp_path)
    np.save(tmp_path / "data_weights.npy", np.full(SIZE, 2.0))
    (note,) = [one for one in build(tmp_path)["report"] if "have the sum" in one]
    columns = events()["data"]
    total = columns["w"][columns["x"] >= 0].sum()
    assert note.startswith(f"Region 'SR': the weights of Data have the sum {2 * SIZE},")
    assert f"selected events of Observations {total:.6g}" in note


@pytest.mark.parametrize("factor", [1.0, 1.0 + 1e-5])
def test_weights_that_are_not_the_observations_are_reported(tmp_path, factor):
    columns = events()["data"]
    total = columns["w"][columns["x"] >= 0].sum()
    file = write(tmp_path)
    np.save(tmp_path / "weights.npy", np.full(EVENTS, factor * total / EVENTS))
    report = WorkspaceBuilder(file).build()["report"]
    found = [one for one in report if "are the observed events" in one]
    wanted = (
        f"Region 'SR': AsimovWeights (sum {factor * total:.8g}) are the observed "
        f"events; Observations has {total:.8g}. Give Data for the observed events."
    )
    assert found == ([] if factor == 1 else [wanted])


def test_asimov_data_of_some_regions_only_are_reported(tmp_path):
    save(tmp_path)
    line = "Observations: {Name: data, Tree: data, SamplePath: events.npz, Weight: w}\n"
    report = build(tmp_path, (line, ""))["report"]
    assert any("the observed data of 'CR' are the Asimov set" in one for one in report)
    assert "There is no section Observations" not in " ".join(build(tmp_path)["report"])


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        ("", "has 3 ratios, those in"),
        ("    Weights: data_weights.npy\n", "has 3 ratios, the weights in"),
    ],
)
def test_lengths_of_data_are_checked(tmp_path, weights, problem):
    save(tmp_path)
    np.save(tmp_path / "data_bkg.npy", np.ones(3))
    more = DATA.replace("    Weights: data_weights.npy\n", weights)
    with pytest.raises(SpecificationError, match=problem) as caught:
        build(tmp_path, more=more)
    line = line_of(changed() + more, "data_bkg.npy")
    assert str(caught.value).startswith(f"config.yml:{line}: ")


REFERENCE = DATA.replace("Data:", "Reference:").replace("data_", "ref_")


@pytest.mark.parametrize("density", ["reference", "nominal", None])
def test_density_of_a_reference_sample(tmp_path, density):
    save(tmp_path, "ref")
    more = REFERENCE + (f"    Density: {density}\n" if density else "")
    workspace = build(tmp_path, more=more)
    kind = density or "reference"
    assert workspace["channels"][1]["reference"]["density"] == kind
    (region,) = nsbi.workspace_spec(workspace).unbinned
    assert region.reference_density == kind
    save(tmp_path)
    workspace = build(tmp_path, more=DATA + more)
    (region,) = nsbi.workspace_spec(workspace).unbinned
    assert region.reference_density == kind
    for events_of, prefix in ((region.events, "data"), (region.reference, "ref")):
        weights = np.load(tmp_path / f"{prefix}_weights.npy")
        np.testing.assert_array_equal(events_of.weights, weights)
    assert any("do not use AsimovWeights" in one for one in workspace["report"])


CONFIGURATION = """\
General: {Measurement: {Name: analytic, POI: mu}}
Observations: {SamplePath: data.npz, Weight: w}
Samples:
- {Name: signal, SamplePath: signal.npz, Weight: w}
- {Name: background, SamplePath: background.npz, Weight: w}
NormFactors: [{Name: mu, Samples: signal, Bounds: [0, 10]}]
Systematics:
- Name: scale
  Type: NormPlusShape
  Up:
  - {SampleName: signal, Path: signal_up.npz, Weight: w}
  - {SampleName: background, Path: background_up.npz, Weight: w}
  Dn:
  - {SampleName: signal, Path: signal_down.npz, Weight: w}
  - {SampleName: background, Path: background_down.npz, Weight: w}
Regions:
- Name: SR
  Type: unbinned
  AsimovWeights: weights.npy
"""
MODELS = """\
  TrainedModels:
  - SampleName: signal
    Nominal: {Ratios: signal.npy}
    Systematics:
    - {SystName: scale, RatiosUp: signal_up.npy, RatiosDn: signal_down.npy}
  - SampleName: background
    Nominal: {Ratios: background.npy}
    Systematics:
    - {SystName: scale, RatiosUp: background_up.npy, RatiosDn: background_down.npy}
"""


def analytic_model(folder, data=None, points=401):
    """The model of the analytic densities, from a configuration.

    Args:
        folder: Gets its files.
        data: The parameters at which the observed events are; None for no Data.
        points: The number of simulated events.
    """

    def save_events(name, x, weights):
        np.savez(folder / f"{name}.npz", x=x, w=weights)

    def save_ratios(prefix, found):
        np.save(folder / f"{prefix}weights.npy", found.weights)
        for name, ratios in found.ratios.items():
            np.save(folder / f"{prefix}{name}.npy", ratios)
            for end, values in found.variations[name, "scale"]._asdict().items():
                np.save(folder / f"{prefix}{name}_{end}.npy", values)

    x, width = analytic.grid(points)
    for name in analytic.SAMPLES:
        nominal = analytic.YIELDS[name] * analytic.density(name, x) * width
        save_events(name, x, nominal)
        for end, scale in (("up", 1), ("down", -1)):
            varied = analytic.YIELDS[name] * analytic.GROWTH[name] ** scale
            shape = analytic.density(name, x, scale) * width
            save_events(f"{name}_{end}", x, varied * shape)
    save_ratios("", analytic.events(x, analytic.mixture(x) * width))
    text = CONFIGURATION + MODELS
    if data is None:
        save_events("data", x, analytic.mixture(x) * width)
    else:
        # Other points than those of the simulated events.
        x, width = analytic.grid(points + 100)
        weights = analytic.mixture(x, **data) * width
        save_events("data", x, weights)
        save_ratios("data_", analytic.events(x, weights))
        models = MODELS.replace("signal", "data_signal")
        models = models.replace("Name: data_", "Name: ")
        models = models.replace(": background", ": data_background")
        models = models.replace("Name: data_", "Name: ")
        indented = "".join(f"  {line}\n" for line in models.splitlines())
        text += f"  Data:\n    Weights: data_weights.npy\n{indented}"
    (folder / "config.yml").write_text(text)
    return nsbi.load(WorkspaceBuilder(folder / "config.yml").build())


@pytest.mark.slow
def test_data_at_a_pulled_systematic_give_the_true_strength(tmp_path):
    """Simulated events normalise the densities, whatever the data are."""
    model = analytic_model(tmp_path, {"mu": 1.3, "scale": 2.0}, points=2001)
    observation = {**model.observation, "aux": {"scale": 2.0}}
    result = ew.fit(model, observation=observation)
    np.testing.assert_allclose(float(result.params["mu"]), 1.3, atol=3e-3)
    np.testing.assert_allclose(float(result.params["scale"]), 2.0, atol=3e-3)


@pytest.mark.slow
def test_asimov_events_as_data_change_nothing(tmp_path):
    """Data that are the nominal mixture: the likelihood without Data."""
    plain = analytic_model(tmp_path)
    (tmp_path / "other").mkdir()
    model = analytic_model(tmp_path / "other", {})
    assert plain.regions == (("SR", 401, 0),)
    assert model.regions == (("SR", 501, 401),)
    points = [(1.0, 0.0), (0.6, 0.4), (1.7, -1.5), (2.0, 2.2)]

    def values(model):
        evaluated = jax.jit(jax.value_and_grad(model.nll))
        found = [
            evaluated({"mu": jnp.asarray(mu), "scale": jnp.asarray(scale)})
            for mu, scale in points
        ]
        start = float(found[0][0])
        return [
            (float(value) - start, *map(float, slopes.values()))
            for value, slopes in found
        ]

    np.testing.assert_allclose(values(model), values(plain), rtol=1e-5, atol=1e-5)
