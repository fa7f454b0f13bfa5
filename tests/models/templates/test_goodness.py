"""Whether template fits describe their data, and which parameters these tell apart."""

import json

import numpy as np
import pytest

import everwillow as ew
import tests.models.templates.cases as cases
from everwillow.fitting import frozen
from everwillow.goodness import data_pulls, nested_test, saturated_test, yield_chi2
from everwillow.mappings import Project, postfit, prefit
from everwillow.models.templates.booking.builder import TemplateBuilder
from everwillow.models.templates.projection import with_free_bins
from everwillow.uncertainty import degeneracies


EXPECTED = json.loads((cases.FOLDER / "expected_impacts.json").read_text())


@pytest.fixture(scope="module")
def base():
    return cases.fitted("base")


@pytest.mark.slow
def test_the_saturated_test(base):
    said = EXPECTED["default"]
    out = saturated_test(*base)
    np.testing.assert_allclose(out.statistic, 2 * said["nll"], atol=2e-7)
    assert out.ndof == said["ndf"] == 18


@pytest.mark.slow
def test_what_is_frozen_does_not_count(base):
    model, _ = base
    said = EXPECTED["frozen"]
    result = ew.fit(model, fixed=frozen(model, "flat_bkg_norm", "exp_bkg_shape*"))
    out = saturated_test(model, result)
    np.testing.assert_allclose(out.statistic, 2 * said["nll"], atol=2e-7)
    # 20 bins and two parameters without a constraint.
    assert out.ndof == 18
    # Away from zero as well: what was fixed is no measurement that could be wrong.
    one = ew.fit(model, fixed={"lumi": 1.0, "slope": 0.0})
    out = saturated_test(model, one)
    constant = 0.5 + 0.5 * np.log(2 * np.pi)
    others = one.nll - constant - 6 * 0.5 * np.log(2 * np.pi)
    by_hand = 2 * (others - float(model.saturated_nll(model.observation["main"])))
    np.testing.assert_allclose(out.statistic, by_hand, rtol=1e-8)
    assert out.ndof == 19


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["x", "cat"])
def test_projections(base, axis):
    model, result = base
    said = EXPECTED["saturated"][f"Project ch0 {axis}"]
    wider = ew.fit(with_free_bins(model, "ch0", axis))
    out = nested_test(result, wider)
    np.testing.assert_allclose(out.statistic, said["chi2_saturated"], atol=1e-6)
    assert out.ndof == said["ndf_saturated"]
    # The projection is described exactly.
    counts = model.observation["main"]["counts"].reshape(10, 2)
    mine = with_free_bins(model, "ch0", axis)
    yields = mine.yields(wider.params, model.observation).of("ch0").sum(0)
    other = 1 if axis == "x" else 0
    np.testing.assert_allclose(yields.sum(other), counts.sum(other), rtol=1e-3)


@pytest.mark.slow
def test_free_bins_where_nothing_is_free_are_the_data():
    """With exact templates and no parameters the factors are data over prediction."""
    builder = TemplateBuilder()
    builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
    builder.add_process(np.array([90.0, 80.0]), "w", "ch0")
    builder.add_norm_systematic("lumi", "w", "ch0", 1.1)
    data = np.array([108.0, 72.0])
    builder.add_data(data, "ch0")
    model = builder.build(statistics=None)
    wider = with_free_bins(model, "ch0", "x", name="factor")
    result = ew.fit(wider)
    found = [result.params[f"factor_x{i}"] for i in range(2)]
    np.testing.assert_allclose(found, data / [90.0, 80.0], rtol=1e-7)
    # The whole deviance, as nothing is left to be wrong about.
    out = nested_test(ew.fit(model), result)
    alone = saturated_test(model, ew.fit(model))
    np.testing.assert_allclose(out.statistic, alone.statistic, rtol=1e-7)
    assert out.ndof == alone.ndof == 2
    params = {"lumi": 0.3}
    more = {**params, "factor_x0": 1.0, "factor_x1": 1.0}
    np.testing.assert_allclose(wider.nll(more), model.nll(params), rtol=1e-13)
    with pytest.raises(ValueError, match="Choose another name"):
        with_free_bins(wider, "ch0", "x", name="factor")


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"profile": False}, {"blind": True}])
def test_free_bins_of_other_kinds_of_models(options):
    model = cases.builder("ext").build(**options)
    wider = with_free_bins(model, "ch0", "cat")
    state = {key: 0.01 + np.asarray(model.state[key]) for key in model.state}
    more = {**state, "free_cat0": 1.0, "free_cat1": 1.0}
    more = {key: more[key] for key in wider.state}
    np.testing.assert_allclose(wider.nll(more), model.nll(state), rtol=1e-13)
    assert wider.hidden == model.hidden


def test_masked_channels_have_no_data_to_test(base):
    with pytest.raises(ValueError, match="masked"):
        with_free_bins(base[0], "ch0_masked", "cat")
    with pytest.raises(KeyError, match="ch0"):
        with_free_bins(base[0], "ch1")


@pytest.mark.slow
def test_likelihoods_from_elsewhere_are_measurements():
    """Saturated, they are at their minimum, and count as their Hessian has rank."""
    model = cases.builder("ext").build()
    result = ew.fit(model)
    said = cases.descriptions()["ext"]["external"]
    g, h = np.array(said["grad"]), np.array(said["hess"])
    x = np.array([result.params[name] for name in said["params"]])
    best = -np.linalg.solve(h, g)
    pull = 2 * (g @ (x - best) + 0.5 * (x @ h @ x - best @ h @ best))
    out = saturated_test(model, result)
    without = cases.builder("base").build()
    rest = saturated_test(without, ew.fit(without, fixed=dict(result.params.items())))
    constrained = [result.params[name] for name in without.constraints]
    pulls = np.sum(np.square(constrained))
    np.testing.assert_allclose(out.statistic, rest.statistic + pulls + pull, rtol=1e-8)
    assert out.ndof == 18 + len(g)


def small(scale=1.0, **options):
    builder = TemplateBuilder()
    builder.add_channel([("x", [0.0, 1.0, 2.0, 3.0])], "ch0")
    signal = np.array([10.0, 50.0, 0.0]) * scale
    flat = np.array([100.0, 100.0, 0.0]) * scale
    builder.add_process(signal, "s", "ch0", signal=True, variances=0.01 * signal**2)
    builder.add_process(flat, "b", "ch0", variances=0.02 * flat)
    builder.add_norm_systematic("norm", "b", "ch0", 1.05)
    builder.add_data(np.array([105.0, 160.0, 0.0]) * scale, "ch0")
    return builder.build(**options)


@pytest.mark.slow
def test_bins_without_templates_do_not_count():
    model = small()
    assert saturated_test(model, ew.fit(model)).ndof == 1


@pytest.mark.parametrize("kind", ["gamma", "normal", "additive", None])
def test_chi2_with_the_variance_of_samples(kind):
    """By hand: data and samples fluctuate, and the prediction follows the data."""
    model = small(statistics=kind)
    params = {"s": 1.1, "norm": 0.2}
    variance = model.diagnostics.residual_variance(params)
    yields = 1.1 * np.array([10.0, 50.0]), 1.05**0.2 * np.array([100.0, 100.0])
    total = sum(yields)
    spread = 0.01 * np.array([10.0, 50.0]) ** 2 + 2.0
    nominal = np.array([110.0, 150.0])
    samples = {None: 0 * total, "additive": spread}
    added = samples.get(kind, spread * (total / nominal) ** 2)
    np.testing.assert_allclose(variance["counts"][:2], total + added, rtol=1e-12)
    assert variance.get("statistics") is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gamma", "normal"])
def test_the_chi2_is_the_deviance_of_many_events(kind):
    model = small(1e4, statistics=kind)
    result = ew.fit(model)
    chi2, deviance = yield_chi2(model, result), saturated_test(model, result)
    np.testing.assert_allclose(chi2.statistic, deviance.statistic, rtol=5e-2)
    assert chi2.ndof == deviance.ndof == 1
    pulls = data_pulls(model, result)
    assert pulls.pulls["statistics"] is None
    largest = np.nanmax(np.abs(pulls.standardised["counts"]))
    np.testing.assert_allclose(largest**2, chi2.statistic, rtol=5e-2)


def test_degenerate_parameters_are_named():
    builder = cases.builder("base")
    processes = ["signal", "flat_bkg", "exp_bkg"]
    builder.add_norm_systematic("lumi2", processes, "ch0", 1.02)
    builder.add_norm_systematic("free", "signal", "ch0", 1.1, constrained=False)
    model = builder.build()
    found = degeneracies(model, model.state)
    np.testing.assert_allclose(found.flat, [0.0], atol=1e-9)
    (members,) = found.members
    assert set(members) == {"free", "signal"}
    np.testing.assert_allclose(np.abs(list(members.values())), np.sqrt(0.5))
    pairs = [{found.labels[i] for i in pair} for pair in found.alike]
    assert {"lumi", "lumi2"} in pairs
    assert {"free", "signal"} in pairs
    text = repr(found)
    assert "nearly flat direction" in text
    assert "lumi2" in text


@pytest.mark.slow
def test_effects_that_are_not_alike():
    """After a bad fit the observed Hessian had a cosine of 1.1, clipped to 1."""
    z, b = np.array([900.0, 300, 100]), np.array([100.0, 100, 100])
    builder = TemplateBuilder()
    builder.add_channel([("x", [0.0, 1, 2, 3])], "c")
    builder.add_process(z, "z", "c", variances=2 * z)
    builder.add_process(b, "b", "c", variances=2 * b)
    builder.add_norm_systematic("lumi", ["z", "b"], "c", 1.02)
    builder.add_norm_systematic("bnorm", "b", "c", 1.2)
    builder.add_data([1600.0, 640, 200], "c")
    model = builder.build()
    result = ew.fit(model)
    assert not degeneracies(model, result).likeness.size
    found = degeneracies(model, result, likeness=0.0)
    np.testing.assert_allclose(found.likeness, [0.8669], atol=2e-3)


def test_a_fit_without_degenerate_parameters(base):
    found = degeneracies(*base)
    assert found.flat.size == found.alike.size == found.correlations.size == 0
    assert repr(found) == "No degenerate parameters."


@pytest.mark.slow
def test_errors_before_the_fit_of_unconstrained_parameters(base):
    """A strength known to 20 % adds 20 % of what it scales."""
    model, _ = base
    mapping = Project("ch0_masked")
    known, free = (
        prefit(mapping, model, unconstrained=given) for given in (None, {"signal": 0.2})
    )
    total = np.asarray(known.values).item()
    square = known.errors.item() ** 2 + (0.2 * total) ** 2
    np.testing.assert_allclose(free.errors.item(), np.sqrt(square), rtol=1e-9)


@pytest.mark.slow
def test_starting_from_a_fit_in_a_file(base, tmp_path):
    model, result = base
    path = tmp_path / "fit.json"
    ew.io.save(result, path)
    loaded = ew.io.load(path)
    again = ew.fit(model, loaded.params)
    assert again.num_steps < result.num_steps
    np.testing.assert_allclose(again.nll, result.nll, rtol=1e-14)
    mapping = Project("ch0_masked")
    one, other = (postfit(mapping, model, r) for r in (result, loaded))
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_allclose(one.errors, other.errors, rtol=1e-12)
