"""One run of a template fit, its numbers, and the file that it is kept in."""

import dataclasses
import re

import jax
import numpy as np
import pytest

import everwillow as ew
from everwillow.mappings import parse_mapping
from everwillow.mappings.chi2 import residual_chi2
from everwillow.models.templates import TemplateBuilder
from everwillow.models.templates.rates import (
    ABCD,
    AxisBernstein,
    AxisExponential,
    AxisNorms,
    Composite,
    Fixed,
    Mixture,
    SharedStrengths,
    Strengths,
    nominal_yields,
)
from everwillow.workflows.report import DATA, SIMULATION
from everwillow.workflows.templates import load_results, run, write_results
from everwillow.workflows.templates.parameters import parse_parameters
from tests.models.templates import cases
from tests.workflows.templates import small_template as small


h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def spec():
    return small.builder().spec()


@pytest.fixture(scope="module")
def results(spec):
    return run(
        spec,
        mappings=small.MAPPINGS,
        covariances=True,
        impacts=True,
        breakdown=True,
        scans=["slope"],
        scan_points=3,
    )


@pytest.fixture(scope="module")
def model(spec):
    return small.builder().build()


@pytest.fixture(scope="module")
def fitted(model):
    return ew.fit(model)


def flat(record):
    return jax.tree_util.tree_leaves_with_path(dataclasses.asdict(record))


def one_bin(n=110.0, *, data=True):
    out = TemplateBuilder()
    out.add_channel([], "all")
    out.add_process(100.0, "signal", "all", signal=True)
    out.add_norm_systematic("lumi", "signal", "all", 1.02)
    if data:
        out.add_data(n, "all")
    return out.spec()


STATISTICS_ONLY = {"statistics": None, "fixed": ["lumi"]}


def signal_of(found):
    table = found.parameters
    here = [table.names.index("signal")]
    return table.values[here], table.errors[here]


@pytest.mark.slow
def test_one_bin_is_solved_in_closed_form():
    found = run(one_bin(), **STATISTICS_ONLY)
    # n = 100 mu: the error of mu is that of n over 100, and nothing is left over.
    values, errors = signal_of(found)
    np.testing.assert_allclose(values, [1.1], rtol=1e-9)
    np.testing.assert_allclose(errors, [np.sqrt(110) / 100], rtol=1e-9)
    assert found.fit.saturated.statistic == pytest.approx(0, abs=1e-9)
    channel = found.channels["all"]
    assert channel.postfit.errors.item() == pytest.approx(np.sqrt(110))
    assert [axis.size for axis in channel.axes] == [1]
    # The strength counts as known before the fit.
    assert channel.prefit.values.item() == 100
    assert channel.prefit.errors.item() == 0


@pytest.mark.slow
def test_where_everything_is_frozen_nothing_has_an_error():
    found = run(one_bin(), statistics=None, fixed="*", mappings=["Project all"])
    assert found.fit.success
    for histogram in (
        found.channels["all"],
        found.mappings["Project all"].histograms["values"],
    ):
        assert (histogram.postfit.values.item(), histogram.postfit.errors) == (100, 0)
    assert found.fit.saturated.ndof == 1


@pytest.mark.slow
def test_asimov_data_are_those_of_the_start_values():
    found = run(
        one_bin(data=False), data="asimov", starts={"signal": 1.3}, **STATISTICS_ONLY
    )
    values, errors = signal_of(found)
    np.testing.assert_allclose(values, [1.3], rtol=1e-9)
    np.testing.assert_allclose(errors, [np.sqrt(130) / 100], rtol=1e-9)
    assert found.channels["all"].data.item() == pytest.approx(130)


@pytest.mark.slow
def test_what_is_fitted_by_default_are_the_data(spec, results):
    assert results.data == "data"
    np.testing.assert_array_equal(results.channels["ch0"].data, small.DATA)
    with pytest.raises(ew.EverwillowError, match=r"no data.*strong, asimov, toys"):
        run(small.builder(data=False).spec())
    with pytest.raises(ew.EverwillowError, match="Did you mean 'strong'"):
        run(spec, data="stron")


@pytest.mark.slow
def test_pseudodata_and_frozen_parameters(spec):
    found = run(spec, data="strong", fixed={"slope": 0.0, "*i*t*": None, "lumi": 0.5})
    table = found.parameters
    frozen = {n for n, one in zip(table.names, table.frozen, strict=True) if one}
    assert frozen == {"slope", "tilt", "lumi"}
    assert found.covariance.names == tuple(n for n in table.names if n not in frozen)
    values = dict(zip(table.names, table.values, strict=True))
    assert values["lumi"] == 0.5
    model = small.builder().build(data="strong")
    direct = ew.fit(model, fixed={"slope": 0.0, "tilt": 0.0, "lumi": 0.5})
    assert values["signal"] == pytest.approx(float(direct.params["signal"]), abs=1e-7)
    held = run(spec, data="strong", fixed={"slope": 0.0, "t*": None, "lumi": None})
    values = dict(zip(held.parameters.names, held.parameters.values, strict=True))
    assert values["signal"] == pytest.approx(1.2, abs=1e-8)
    with pytest.raises(ew.EverwillowError, match="frozen"):
        run(spec, data="strong", fixed=["slope", "t*", "lumi"], scans=["slope"])


@pytest.mark.slow
def test_numbers_are_those_of_the_fit(results, model, fitted):
    table = results.parameters
    np.testing.assert_allclose(
        table.values, [float(v) for v in fitted.params.values()], atol=1e-7
    )
    np.testing.assert_allclose(
        results.covariance.matrix, fitted.covariance, rtol=1e-6, atol=1e-10
    )
    errors = np.sqrt(np.diagonal(fitted.covariance))
    np.testing.assert_allclose(table.errors, errors, rtol=1e-6)
    assert results.fit.nll == pytest.approx(float(fitted.nll))
    flags = {n: i for i, n in enumerate(table.names)}
    assert {n for n in flags if table.interest[flags[n]]} == {"signal", "slope"}
    assert not table.constrained[flags["slope"]]
    i = flags["lumi"]
    assert table.pulls[i] == pytest.approx(table.values[i])
    test = ew.goodness.saturated_test(model, fitted)
    assert results.fit.saturated.statistic == pytest.approx(float(test.statistic))
    # Six bins, a strength and a slope without constraint.
    assert results.fit.saturated.ndof == 4


def test_histograms_are_sums_of_processes_and_of_bins(results, model, fitted):
    channel = results.channels["ch0"]
    assert [axis.name for axis in channel.axes] == ["x", "sign"]
    assert channel.process_names == ("signal", "flat")
    np.testing.assert_array_equal(channel.prefit.processes, [small.SIGNAL, small.FLAT])
    for side in (channel.prefit, channel.postfit):
        np.testing.assert_allclose(side.processes.sum(0), side.values, rtol=1e-12)
    yields = model.yields(fitted.params, model.observation)
    np.testing.assert_allclose(channel.postfit.values, yields["ch0"], rtol=1e-7)
    projected = results.mappings["Project ch0 x"].histograms["values"]
    np.testing.assert_allclose(projected.data, small.DATA.sum(1))
    np.testing.assert_allclose(projected.data_errors, np.sqrt(small.DATA.sum(1)))
    np.testing.assert_allclose(
        projected.postfit.processes, channel.postfit.processes.sum(2), rtol=1e-9
    )
    masked = results.channels["xsec"]
    assert masked.data is None
    mu = fitted.params["signal"]
    tilt = np.array([510 / 500, 295 / 300]) ** float(fitted.params["tilt"])
    np.testing.assert_allclose(
        masked.postfit.values, mu * np.array([500.0, 300.0]) * tilt, rtol=1e-6
    )


@pytest.mark.slow
def test_mappings_are_evaluated_as_one_by_one(results, model, fitted):
    for key in small.MAPPINGS[-2:]:
        mapping = parse_mapping(key)
        outcome = results.mappings[mapping.key]
        direct = ew.mappings.postfit(mapping, model, fitted, factor=True)
        values = np.concatenate([np.ravel(v) for v in jax.tree.leaves(direct.values)])
        found = [np.ravel(h.postfit.values) for h in outcome.histograms.values()]
        np.testing.assert_allclose(np.concatenate(found), values, rtol=1e-6)
        np.testing.assert_allclose(
            outcome.postfit_covariance, direct.covariance, rtol=1e-5, atol=1e-9
        )
        errors = [np.ravel(h.postfit.errors) for h in outcome.histograms.values()]
        np.testing.assert_allclose(
            np.concatenate(errors) ** 2,
            np.diagonal(outcome.postfit_covariance),
            rtol=1e-9,
        )
    joint = results.mappings["Project ch0 x; Project ch0 sign"]
    assert list(joint.histograms) == ["Project ch0 sign", "Project ch0 x"]
    for name, part in joint.histograms.items():
        axis = 0 if name.endswith("sign") else 1
        np.testing.assert_allclose(part.data, small.DATA.sum(axis))


def test_chi2_has_the_right_degrees_of_freedom(results, model, fitted):
    ndof = {
        key: (m.prefit_chi2 and m.prefit_chi2.ndof)
        for key, m in results.mappings.items()
    }
    assert ndof == {
        "Project ch0 x": 3,
        "Normalize ch0 x": 2,
        "Select ch0 signal sign:plus": None,
        "Ratio xsec xsec cat:a cat:b": None,
        # Both projections have the same total.
        "Project ch0 x; Project ch0 sign": 4,
    }
    mapping = results.mappings["Project ch0 x"]
    direct = residual_chi2(parse_mapping("Project ch0 x"), model, fitted)
    assert mapping.postfit_chi2.statistic == pytest.approx(
        float(direct.statistic), rel=1e-5
    )
    # Independent: residuals over the sum of both covariances.
    histogram = mapping.histograms["values"]
    away = histogram.data - histogram.prefit.values
    whole = np.diag(histogram.data) + mapping.prefit_covariance
    expected = away @ np.linalg.solve(whole, away)
    assert mapping.prefit_chi2.statistic == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
@pytest.mark.validation
def test_chi2_is_that_of_another_tool():
    found = run(cases.builder("base").spec(), mappings=["Identity ch0"])
    mapping = found.mappings["Identity ch0"]
    # rabbit, snapshot of June 2026 (commit 948a94a), of the same templates.
    assert mapping.prefit_chi2.statistic == pytest.approx(12.38303162572767, rel=1e-6)
    # With derivatives at the data; it counts 20, though two strengths are free.
    assert mapping.postfit_chi2.statistic == pytest.approx(8.585814584564083, rel=1e-2)
    assert (mapping.prefit_chi2.ndof, mapping.postfit_chi2.ndof) == (20, 18)
    assert found.fit.saturated.statistic == pytest.approx(2 * 4.282667459330229, 1e-6)
    assert found.fit.saturated.ndof == 18


def test_parts_of_errors_add_up(results):
    found = results.impacts
    assert found.interest == ("signal", "slope")
    assert found.groups == ("experiment", "theory", DATA, SIMULATION)
    # Global impacts of disjoint groups, and statistics.
    total = np.sqrt(np.sum(found.grouped_global**2, axis=1))
    np.testing.assert_allclose(total, found.errors, rtol=1e-6)
    channel = results.channels["ch0"]
    parts = channel.breakdown
    assert parts.groups == ("experiment", "theory")
    squares = np.sum(parts.impacts**2, axis=0) + parts.rest**2
    np.testing.assert_allclose(np.sqrt(squares), channel.postfit.errors, rtol=1e-6)
    assert np.all(parts.impacts > 0)


def test_scans_rise_from_the_minimum(results):
    scan = results.scans["slope"]
    i = results.parameters.names.index("slope")
    best, error = results.parameters.values[i], results.parameters.errors[i]
    np.testing.assert_allclose(
        scan.values, best + error * np.array([-3.0, 0.0, 3.0]), atol=1e-6
    )
    assert scan.twice_delta_nll[1] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(scan.twice_delta_nll[[0, 2]], 9.0, rtol=0.2)


def test_the_file_brings_everything_back(results, tmp_path):
    write_results(results, tmp_path / "results.hdf5")
    loaded = load_results(tmp_path / "results.hdf5")
    assert type(loaded) is type(results)
    before, after = flat(results), flat(loaded)
    assert [path for path, _ in before] == [path for path, _ in after]
    for (_, one), (_, other) in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.asarray(one).dtype == np.asarray(other).dtype
    assert list(loaded.mappings) == list(results.mappings)
    assert loaded.channels["ch0"].axes == results.channels["ch0"].axes


def test_the_file_is_read_with_h5py_alone(results, tmp_path):
    write_results(results, tmp_path / "results.hdf5")
    kinds, undescribed, histograms = set(), [], []

    def visit(name, item):
        # A reader of the file sees each description alone.
        about = item.attrs.get("description", "alone")
        assert not re.match(
            r"If|Likewise|Of|That|The same|Those|(After|Before) it", about
        )
        if isinstance(item, h5py.Dataset):
            kinds.add(item.dtype.kind)
            if item.dtype.kind == "O":
                assert h5py.check_string_dtype(item.dtype)
            if not item.attrs.get("description"):
                undescribed.append(name)
        elif "prefit" in item:
            histograms.append(name)
            sizes = []
            for axis in item["axes"].values():
                edges = axis.get("edges")
                size = len(axis["labels"]) if edges is None else len(edges) - 1
                sizes.append(size)
                assert axis.attrs["name"]
            assert item["prefit/values"].shape == tuple(sizes)

    with h5py.File(tmp_path / "results.hdf5") as file:
        file.visititems(visit)
        assert file.attrs["format"] == "everwillow template results"
        assert file["fit"].attrs["success"] == 1
        names = list(file["parameters/names"].asstr())
        assert names == list(results.parameters.names)
        np.testing.assert_array_equal(file["channels/ch0/data"], small.DATA)
    assert kinds <= {"f", "i", "O"}
    assert not undescribed
    assert len(histograms) == 2 + len(small.MAPPINGS) + 1


@pytest.mark.slow
def test_names_with_slashes_are_kept(tmp_path):
    builder = TemplateBuilder()
    builder.add_channel([("x/y", [0.0, 1.0])], "a/b")
    builder.add_process([100.0], "signal", "a/b", signal=True)
    builder.add_data([110.0], "a/b")
    found = run(builder.spec(), statistics=None, mappings=['Project a/b "x/y"'])
    write_results(found, tmp_path / "results.h5")
    loaded = load_results(tmp_path / "results.h5")
    assert list(loaded.channels) == ["a/b"]
    assert list(loaded.mappings) == list(found.mappings)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "damaged"), (b"\x89HDF\r\n\x1a\n and no more", "damaged")],
)
def test_files_that_are_none(tmp_path, content, message):
    (tmp_path / "file.hdf5").write_bytes(content)
    with pytest.raises(ew.EverwillowError, match=message):
        load_results(tmp_path / "file.hdf5")
    with pytest.raises(ew.EverwillowError, match="no such file"):
        load_results(tmp_path / "missing.hdf5")


def test_files_of_other_kinds_and_incomplete_ones(spec, results, tmp_path):
    small.builder().write(tmp_path / "spec.hdf5")
    with pytest.raises(ew.EverwillowError, match="'everwillow templates'"):
        load_results(tmp_path / "spec.hdf5")
    write_results(results, tmp_path / "results.hdf5")
    with h5py.File(tmp_path / "results.hdf5", "a") as file:
        del file["parameters/values"]
    with pytest.raises(ew.EverwillowError, match="has no 'values'"):
        load_results(tmp_path / "results.hdf5")


@pytest.mark.slow
def test_a_fit_that_fails_gives_no_numbers(spec, tmp_path):
    found = run(spec, max_steps=1, mappings=["Project ch0 x"], impacts=True)
    assert not found.fit.success
    assert "max_steps" in found.fit.status
    assert np.isnan(found.parameters.values).all()
    assert np.isnan(found.parameters.errors).all()
    assert np.isfinite(found.parameters.stopped_at).all()
    assert found.covariance is None
    assert found.impacts is None
    assert found.fit.saturated is None
    mapping = found.mappings["Project ch0 x"]
    assert mapping.histograms["values"].postfit is None
    assert mapping.postfit_chi2 is None
    write_results(found, tmp_path / "failed.hdf5")
    assert load_results(tmp_path / "failed.hdf5").parameters.stopped_at is not None


def without_hessian(model, **options):
    """Fit as solvers do that keep no Hessian."""
    result = ew.fit(model, **options)
    fields = {name: getattr(result, name) for name in type(result).__dataclass_fields__}
    return type(result).of(**{**fields, "hessian": None})


def test_without_a_hessian_there_are_values_only(spec, results):
    found = run(
        spec,
        minimise=without_hessian,
        mappings=["Project ch0 x"],
        impacts=True,
        breakdown=True,
        scans=["slope"],
    )
    assert found.fit.success
    np.testing.assert_allclose(
        found.parameters.values, results.parameters.values, atol=1e-6
    )
    channel = found.channels["ch0"]
    np.testing.assert_allclose(
        channel.postfit.values, results.channels["ch0"].postfit.values, rtol=1e-6
    )
    assert np.isnan(channel.postfit.errors).all()
    assert np.isnan(found.parameters.errors).all()
    assert found.covariance is found.impacts is None
    assert any("no Hessian" in remark for remark in found.remarks)


@pytest.mark.slow
def test_toys_are_the_same_for_the_same_seed():
    spec = one_bin(data=False)
    first = run(spec, data="toys", ntoys=40, seed=3, **STATISTICS_ONLY).toys
    again = run(spec, data="toys", ntoys=40, seed=3, **STATISTICS_ONLY).toys
    np.testing.assert_array_equal(first.values, again.values)
    assert first.success.all()
    # n = 100 mu, so each toy is a whole number over 100.
    counts = 100 * first.values[:, 0]
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-4)
    np.testing.assert_allclose(first.errors[:, 0], np.sqrt(counts) / 100, rtol=1e-4)
    assert abs(np.mean(counts) - 100) < 5 * 10 / np.sqrt(40)


@pytest.mark.slow
def test_hidden_parameters_are_not_told(spec, results):
    found = run(spec, blind="signal", mappings=["Project ch0 x"], breakdown=True)
    i = found.parameters.names.index("signal")
    assert found.parameters.blinded.tolist() == [
        n == "signal" for n in results.parameters.names
    ]
    assert any("from a glance only" in remark for remark in found.remarks)
    assert np.isnan(found.parameters.prefit_values[i])
    assert abs(found.parameters.values[i] - results.parameters.values[i]) > 1e-3
    assert found.channels["xsec"].postfit is None
    assert found.channels["xsec"].breakdown is None
    assert found.channels["ch0"].breakdown is not None
    assert found.channels["ch0"].postfit.processes is None
    np.testing.assert_allclose(
        found.channels["ch0"].postfit.values,
        results.channels["ch0"].postfit.values,
        rtol=1e-5,
    )
    assert any("hidden" in remark for remark in found.remarks)
    # What is hidden does not change the other parameters.
    others = np.arange(len(found.parameters.names)) != i
    np.testing.assert_allclose(
        found.parameters.values[others], results.parameters.values[others], atol=1e-5
    )


@pytest.mark.slow
def test_where_a_blind_fit_stopped_does_not_tell_hidden_parameters(spec):
    found = run(spec, blind="signal", max_steps=1).parameters
    hidden = np.array(found.names) == "signal"
    np.testing.assert_array_equal(np.isnan(found.stopped_at), hidden)


@pytest.mark.slow
def test_degenerate_parameters_are_named():
    builder = TemplateBuilder()
    builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
    builder.add_process([100.0, 50.0], "signal", "ch0", signal=True)
    builder.add_norm_systematic("one", "signal", "ch0", 1.1)
    builder.add_norm_systematic("two", "signal", "ch0", 1.1)
    builder.add_data([103.0, 49.0], "ch0")
    found = run(builder.spec(), statistics=None, fixed=["signal"])
    assert any("one and two" in remark for remark in found.remarks)


@pytest.mark.slow
def test_projections_are_tested_against_free_bins(spec):
    found = run(spec, projections=["ch0 x"])
    assert found.projections["ch0 x"].ndof == 3
    with pytest.raises(ew.EverwillowError, match="xsec"):
        run(spec, projections=["xsec"])


REGIONS = {
    r: ("ch0", {"sign": s, "x": x})
    for r, s, x in zip("ABCD", (0, 0, 1, 1), (0, 1, 0, 1), strict=True)
}


@pytest.mark.parametrize(
    ("text", "make"),
    [
        ("Strengths", lambda spec: Strengths(spec.layout, "signal")),
        (
            "Strengths flat prefix=mu_ negative=yes",
            lambda spec: Strengths(spec.layout, "flat", prefix="mu_", negative=True),
        ),
        (
            "SharedStrengths mu=signal,flat",
            lambda spec: SharedStrengths(spec.layout, {"mu": ["signal", "flat"]}),
        ),
        (
            "Mixture signal flat names=f",
            lambda spec: Mixture(spec.layout, {"f": (["signal"], ["flat"])}),
        ),
        (
            "AxisNorms signal ch0 x,sign name=n",
            lambda spec: AxisNorms(
                spec.layout, "signal", "ch0", ["x", "sign"], name="n"
            ),
        ),
        (
            "AxisExponential flat ch0 x by=sign origin=2.5",
            lambda spec: AxisExponential(
                spec.layout, "flat", "ch0", "x", by="sign", origin=2.5
            ),
        ),
        (
            "AxisBernstein flat ch0 x 2",
            lambda spec: AxisBernstein(spec.layout, "flat", "ch0", "x", 2),
        ),
        (
            "ABCD flat A=ch0(sign=0,x=0) B=ch0(sign=0,x=1) C=ch0(sign=plus,x=0) "
            "D=ch0(sign=plus,x=1) name=fakes",
            lambda spec: ABCD(
                spec.layout, nominal_yields(spec), "flat", REGIONS, name="fakes"
            ),
        ),
        ("Fixed", lambda spec: Fixed(spec.layout)),
        (
            "Strengths; AxisBernstein flat ch0 x 1",
            lambda spec: Composite(
                spec.layout,
                [
                    Strengths(spec.layout, "signal"),
                    AxisBernstein(spec.layout, "flat", "ch0", "x", 1),
                ],
            ),
        ),
        (
            "tests.workflows.templates.test_analysis:custom signal",
            lambda spec: Strengths(spec.layout, "signal", prefix="2_"),
        ),
    ],
)
def test_parameter_models_have_one_spelling(spec, text, make):
    found, expected = parse_parameters(text, spec), make(spec)
    assert found.parameters() == expected.parameters()
    values = 0.5 + np.arange(len(found.parameters())) / 7
    params = dict(zip(found.parameters(), values, strict=True))
    np.testing.assert_array_equal(found.rates(params), expected.rates(params))


def custom(layout, name, *, spec):
    return Strengths(layout, name, prefix=f"{len(spec.layout.channels)}_")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Strenghts", "Did you mean 'Strengths'"),
        ("Mixture signal", "expected pairs"),
        ("Strengths signal degree=2", "no option 'degree' here"),
        ("AxisBernstein flat ch0 x two", "expected a number"),
        ("AxisNorms flat ch0", "expected AxisNorms PROCESS"),
        ("Strengths negative=maybe", "expected yes or no"),
        ("Strengths nothing", "nothing"),
        ("Strengths;", "missing here"),
        ("nowhere.at_all:model", "no module"),
    ],
)
def test_other_spellings_are_refused(spec, text, message):
    with pytest.raises(ew.EverwillowError, match=message):
        parse_parameters(text, spec)
