"""Tests of all fits of a configuration, from files of events."""

import numpy as np
import pytest

from everwillow._errors import ArgumentValueError, SpecificationError
from everwillow.models.event_files import write_events
from everwillow.models.scale_smearing import generate_events
from everwillow.models.scale_smearing.parameters import FAILED, FITTED, NO_REGION
from everwillow.workflows.scale_smearing import RegionalFitter, compute_sas
from everwillow.workflows.scale_smearing.systematics import double_moments
from tests.helpers import count_jax_work


EDGES = [0, 1, 2]
RESP, RESO = np.array([1.01, 0.995]), np.array([0.02, 0.025])


@pytest.fixture(scope="module")
def events():
    options = {"categories": {"x": EDGES}, "window": (65, 115), "smearing": "mass"}
    return (
        generate_events(20_000, seed=1, kind="data", resp=RESP, reso=RESO, **options),
        generate_events(40_000, seed=2, kind="simulation", **options),
    )


@pytest.fixture(scope="module")
def folder(events, tmp_path_factory):
    folder = tmp_path_factory.mktemp("events")
    for columns, name in zip(events, ("data", "simulation"), strict=True):
        write_events(columns, folder / f"{name}.parquet")
    return folder


def configuration(folder, syst=None, **changes):
    made = {
        "file_dt": str(folder / "data.parquet"),
        "file_mc": str(folder / "simulation.parquet"),
        "dir_results": str(folder / "results"),
        "scale_flat_syst": 1e-4,
        "smear_flat_syst": 2e-4,
        "sas": {"categories": {"x": EDGES}, "cut": "pt1 > 20"},
        "fitter": {
            "name_mll": "mass",
            "name_weights": "weight",
            "win_z_dt": [80, 100],
            "win_z_mc": [70, 110],
            "bin_width_mc": 0.2,
        },
    }
    for name, section in changes.items():
        made[name] = made.get(name, {}) | section
    return made | ({"syst": syst} if syst else {})


SYST = {
    "cut": {"sas": {"cut": "pt1 > 30"}},
    "window": {"fitter": {"win_z_dt": [82, 98]}},
    "lost": {"fitter": {"min_nevt_region_mc": 10**7}},
}


@pytest.fixture(scope="module")
def work(folder):
    """The result, its steps, and what JAX compiled for its variations."""
    compute_sas(configuration(folder))
    steps = []
    with count_jax_work() as work:
        result = compute_sas(configuration(folder, SYST), progress=steps.append)
    return result, steps, work


@pytest.mark.slow
def test_the_truth_is_found(work):
    found = work[0].nominal
    assert found.status == (FITTED, FITTED)
    np.testing.assert_allclose((found.resp - RESP) / found.eresp, 0, atol=3.5)
    np.testing.assert_allclose((found.reso - RESO) / found.ereso, 0, atol=3.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "cut", "window"),
    [("Nominal", 20, (80, 100)), ("cut", 30, (80, 100)), ("window", 20, (82, 98))],
)
def test_each_fit_is_that_of_its_selected_events(events, work, name, cut, window):
    result = work[0]
    selected = [
        {key: values[one["pt1"] > cut] for key, values in one.items()} for one in events
    ]
    expected = RegionalFitter(
        *selected,
        {"x": EDGES},
        weight="weight",
        data_window=window,
        simulation_window=(70, 110),
        template_width=0.2,
    ).fit()
    found = {"Nominal": result.nominal, **result.systematics}[name]
    np.testing.assert_allclose(found.nll, expected.nll, rtol=1e-11)
    np.testing.assert_allclose(found.resp, expected.resp, rtol=1e-8)
    np.testing.assert_allclose(found.ereso, expected.ereso, rtol=1e-4)
    assert found.origin["n_data"] == expected.origin["n_data"]
    assert found.origin["variation"] == name


@pytest.mark.slow
def test_variations_compile_nothing_new(work):
    _, steps, jax_work = work
    assert jax_work.compilations == 0
    names = ["Nominal", *SYST]
    expected = [f"Reading events: {name}" for name in names]
    assert steps == expected + [f"Fitting: {name}" for name in names]


@pytest.mark.slow
def test_variations_start_from_the_nominal_result(work):
    fits = work[0].fits
    assert set(fits) == {"Nominal", "cut", "window"}
    nominal = fits["Nominal"]
    for name in ("cut", "window"):
        start = {key: float(value) for key, value in fits[name].model.state.items()}
        end = {key: float(value) for key, value in nominal.result.params.items()}
        assert start == pytest.approx(end)
        assert int(fits[name].result.num_steps) < int(nominal.result.num_steps)


@pytest.mark.slow
def test_a_variation_without_regions_loses_no_other_result(work):
    result = work[0]
    lost = result.systematics["lost"]
    assert not result.success
    assert lost.success is False
    assert lost.status == (NO_REGION, NO_REGION)
    assert np.all(np.isnan(lost.resp))
    assert "Lower the numbers" in lost.message
    assert np.all(np.isfinite(result.nominal.eresp))
    assert np.all(np.isfinite(result.combined.resp))
    # An unknown shift is not zero.
    assert np.all(np.isnan(result.combined.eresp))
    assert any(
        "'lost' has no number in the categories 0, 1" in x for x in result.report
    )


@pytest.mark.slow
def test_errors_are_combined(folder):
    syst = {name: SYST[name] for name in ("cut", "window")}
    result = compute_sas(configuration(folder, syst))
    assert result.success
    nominal, both = result.nominal, result.combined
    for name, flat in (("resp", 1e-4), ("reso", 2e-4)):
        square = nominal.values(f"e{name}") ** 2 + flat**2
        for one in result.systematics.values():
            square = square + (one.values(name) - nominal.values(name)) ** 2
        np.testing.assert_allclose(both.values(f"e{name}"), np.sqrt(square))
    assert set(both.covariances) == {"stat", "mc", "flat", *syst}
    assert set(result.named()) == {
        f"SASDSET_syst-{name}" for name in ("Nominal", *syst, "NominalWithSyst")
    }


@pytest.mark.slow
def test_random_starts_end_at_the_same_minimum(folder, work):
    nominal = work[0].nominal
    for seed in (1, 2):
        made = configuration(folder, minimizer={"init_rand": True}) | {"seed": seed}
        found = compute_sas(made)
        assert found.nominal.nll == pytest.approx(nominal.nll, rel=1e-12)
        start = found.fits["Nominal"].model.state
        rng = np.random.default_rng(seed)
        np.testing.assert_allclose(
            [float(start[f"resp_{i}"]) for i in range(2)], rng.normal(1, 0.02, 2)
        )


@pytest.mark.slow
def test_a_variation_with_two_gaussians(folder):
    shared = ["reso2", "mu", "frac"]
    syst = {
        "cut": SYST["cut"],
        "two": {"fitter": {"double_gaussian": True, "single_parameters": shared}},
    }
    result = compute_sas(configuration(folder, syst))
    two, nominal = result.systematics["two"], result.nominal
    assert two.nll < nominal.nll + 1e-6
    moments = double_moments(two)
    shift = np.append(moments["mean2G"] - nominal.resp, moments["std2G"] - nominal.reso)
    np.testing.assert_allclose(
        result.combined.covariances["two"], np.outer(shift, shift)
    )
    # The file of two Gaussians has the errors without this variation.
    stored = result.double["two"]
    square = result.combined.eresp**2 - shift[:2] ** 2
    np.testing.assert_allclose(stored.eresp, np.sqrt(square))
    np.testing.assert_allclose(stored.double["mean2G"], moments["mean2G"])
    np.testing.assert_array_equal(stored.resp, two.resp)


def test_without_any_region_there_is_no_result(folder):
    made = configuration(folder, fitter={"min_nevt_region_dt": 10**7})
    with pytest.raises(ArgumentValueError, match="min_nevt_region_dt"):
        compute_sas(made)


def test_a_cut_that_no_event_passes_is_an_error(folder):
    made = configuration(folder, sas={"cut": "pt1 > 1e6"})
    with pytest.raises((SpecificationError, ArgumentValueError), match="pt1 > 1e6"):
        compute_sas(made)


def test_a_variation_without_events_loses_no_other_result(folder):
    made = configuration(folder, {"none": {"sas": {"cut": "pt1 > 1e6"}}})
    result = compute_sas(made)
    assert result.nominal.success
    assert not result.success
    none = result.systematics["none"]
    assert none.message.startswith("none: ")
    assert "pt1 > 1e6" in none.message
    assert none.status == (FAILED,) * 2
    assert np.isnan(result.combined.eresp).all()
    assert "'none' has no number" in result.report[-1]


# All events are inside: an end that cuts off momenta cuts off masses, too.
PT = [5, 30, 36, 42, 48, 54, 250]


def response(pt):
    return 0.98 + 1e-4 * (np.minimum(pt, 100) - 45)


@pytest.mark.slow
def test_two_passes_in_relative_pt_find_a_response_that_depends_on_pt(tmp_path):
    fine = np.append(np.linspace(10, 100, 31), 200.0)
    options = {"categories": {"pt": fine}, "window": (60, 120)}
    centers = 0.5 * (fine[1:] + fine[:-1])
    data = generate_events(
        40_000, seed=1, kind="data", resp=response(centers), reso=0.03, **options
    )
    write_events(data, tmp_path / "data.parquet")
    simulation = generate_events(80_000, seed=2, kind="simulation", **options)
    write_events(simulation, tmp_path / "simulation.parquet")
    sas = {"categories": {"pt": PT}, "cut": None}
    two = compute_sas(configuration(tmp_path, sas=sas)).nominal
    one = compute_sas(configuration(tmp_path, sas=sas | {"use_rpt": False})).nominal
    assert two.success
    assert two.categories.names == ("pt",)
    edges = np.array(two.categories.edges[0])
    np.testing.assert_array_equal(edges[[0, -1]], [5, 250])
    middles = (two.pt_mean[1:] + two.pt_mean[:-1]) / 2
    np.testing.assert_allclose(edges[1:-1], middles)
    assert one.pt_mean is None
    assert one.categories.edges[0] == tuple(PT)
    momenta = np.concatenate([data["pt1"], data["pt2"]])
    place = np.digitize(momenta, PT) - 1
    means = [momenta[place == i].mean() for i in range(6)]
    pulls = (two.resp - response(two.pt_mean)) / two.eresp
    others = (one.resp - response(np.array(means))) / one.eresp
    assert np.max(np.abs(pulls)) < 2.5
    # Bins in pt select masses, and data and simulation differently.
    assert np.max(np.abs(others)) > 5
    np.testing.assert_allclose((two.reso - 0.03) / two.ereso, 0, atol=2.5)
