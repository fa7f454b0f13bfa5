"""Impacts on the parameters of interest of template fits."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
import tests.models.templates.cases as cases
from everwillow.fitting import frozen
from everwillow.impacts import (
    global_impacts,
    group_impacts,
    nonprofiled_impacts,
    rank,
    statistical_impacts,
)
from everwillow.likelihood.histograms import Layout
from everwillow.models.templates import TemplateModel
from everwillow.models.templates.booking.builder import TemplateBuilder
from everwillow.models.templates.rates import (
    AbstractParameterModel,
    RateParameter,
)


EXPECTED = json.loads((cases.FOLDER / "expected_impacts.json").read_text())
POIS = ("signal", "slope")
GROUPS = ("bkg", "experiment", "lumi")


def scale_of(said):
    """Return what a shift of √μ is to be multiplied by for one of μ, to first order."""
    return np.array([2 * said["values"][0], 1.0])


def stored(said, kind, names):
    """Return stored impacts on the physical scale, shape ``(pois, names)``."""
    where = [said[kind]["names"].index(name) for name in names]
    rows = np.array([said[kind][poi] for poi in POIS])[:, where]
    return rows * scale_of(said)[:, None]


def assert_close(found, wanted, errors, rtol=1e-6):
    """Compare with errors as the unit."""
    away = np.abs(np.asarray(found) - wanted) / np.asarray(errors)[:, None]
    assert away.max() < rtol


@pytest.fixture(scope="module")
def base():
    return cases.fitted("base")


@pytest.fixture(scope="module")
def exact():
    return cases.fitted("base", statistics=None)


@pytest.mark.slow
def test_groups_are_those_that_were_booked(base):
    assert base[0].groups == {
        "theory": ("slope", "sig_scale"),
        "bkg": (
            "exp_bkg_norm",
            "exp_bkg_shape",
            "flat_bkg_norm",
            "flat_bkg_shapeSymAvg",
            "flat_bkg_shapeSymDiff",
        ),
        "lumi": ("lumi",),
        "experiment": ("lumi",),
    }


class Grouped(AbstractParameterModel):
    """Yields as they are, with a parameter that belongs to groups."""

    layout: Layout = eqx.field(static=True)

    def rates(self, params):
        shape = (len(self.layout.processes), self.layout.bins)
        return jnp.ones(shape) + 0 * params["extra"]

    def parameters(self):
        groups = ("theory", "own")
        return {"extra": RateParameter(0.0, width=1.0, interest=False, groups=groups)}


@pytest.mark.slow
def test_parameters_of_rates_are_in_groups_too(base):
    model = TemplateModel.from_spec(base[0].spec, parameters=Grouped)
    assert model.groups["own"] == ("extra",)
    assert model.groups["theory"] == ("slope", "sig_scale", "extra")


@pytest.mark.parametrize(("fit", "name"), [("base", "default"), ("exact", "noBBB")])
def test_impacts_of_parameters_and_groups(request, fit, name):
    model, result = request.getfixturevalue(fit)
    said = EXPECTED[name]
    ranked = rank(model, result, poi=POIS, names="*")
    errors = ranked.poi_errors
    np.testing.assert_allclose(
        errors, np.array(said["errors"][:2]) * scale_of(said), rtol=1e-6
    )
    assert_close(ranked.postfit, stored(said, "impacts", ranked.names), errors)
    groups = group_impacts(result, poi=POIS, groups=model.groups)
    where = [groups.groups.index(group) for group in GROUPS]
    wanted = stored(said, "impacts_grouped", GROUPS)
    assert_close(groups.traditional[:, where], wanted, errors)
    wanted = stored(said, "global_impacts_grouped", GROUPS)
    assert_close(groups.auxiliary[:, where], wanted, errors)


def test_a_parameter_of_interest_is_a_member_of_groups_for_others(base):
    model, result = base
    said = EXPECTED["default"]
    groups = group_impacts(result, poi="signal", groups={"t": model.groups["theory"]})
    wanted = stored(said, "impacts_grouped", ["theory"])[:1]
    assert_close(groups.traditional, wanted, groups.errors)
    ranked = rank(model, result, poi="signal", names="slope")
    wanted = stored(said, "impacts", ["slope"])[:1]
    assert_close(ranked.postfit, wanted, groups.errors)


@pytest.mark.slow
def test_statistics_of_data_and_of_samples(base):
    model, result = base
    said = EXPECTED["default"]
    found = statistical_impacts(model, result, poi=POIS)
    both = ("stat", "binByBinStat")
    traditional = np.stack([found.data, found.simulation], 1)
    wanted = stored(said, "impacts_grouped", both)
    assert_close(traditional, wanted, found.errors)
    moved = np.stack([found.data_global, found.simulation_global], 1)
    wanted = stored(said, "global_impacts_grouped", both)
    assert_close(moved, wanted, found.errors)
    assert "simulation (global)" in repr(found)


def test_gaussian_global_impacts_of_all_measurements(base):
    model, result = base
    said = EXPECTED["default"]
    found = global_impacts(model, result, poi=POIS)
    wanted = stored(said, "gaussian_global_impacts", found.names)
    assert_close(found.auxiliary, wanted, found.errors)
    parts = np.stack(
        [
            np.sqrt((np.asarray(found.data[key]) ** 2).reshape(2, -1).sum(axis=1))
            for key in ("counts", "statistics")
        ],
        1,
    )
    wanted = stored(said, "gaussian_global_impacts_grouped", ("stat", "binByBinStat"))
    assert_close(parts, wanted, found.errors)


@pytest.mark.slow
def test_on_asimov_data(base):
    model, _ = base
    said = EXPECTED["asimov"]
    asimov = model.asimov(model.state)
    result = ew.fit(model, observation=asimov)
    ranked = rank(model, result, asimov, poi=POIS, names="*")
    wanted = stored(said, "impacts", ranked.names)
    assert_close(ranked.postfit, wanted, ranked.poi_errors)
    found = statistical_impacts(model, result, asimov, poi=POIS)
    wanted = stored(said, "impacts_grouped", ("stat", "binByBinStat"))
    both = np.stack([found.data, found.simulation], 1)
    assert_close(both, wanted, found.errors)
    # All squares together are the variance, as the Hessian is the expected one.
    whole = global_impacts(model, result, asimov, poi=POIS)
    np.testing.assert_allclose(whole.total, whole.errors, rtol=1e-8)


def test_the_whole_error_is_shared_out(base):
    model, result = base
    found = statistical_impacts(model, result, poi=POIS)
    auxiliary = global_impacts(model, result, poi=POIS, data_variance=None)
    square = found.data_global**2 + found.simulation_global**2 + auxiliary.systematic**2
    np.testing.assert_allclose(np.sqrt(square), found.errors, rtol=1e-12)


@pytest.mark.slow
def test_simulated_samples_held(base):
    """At the best fit both likelihoods have one gradient."""
    model, result = base
    held = model.diagnostics.with_simulation_held(result.params)
    own, other = (jax.grad(m.nll)(result.params.to_pytree()) for m in (model, held))
    for key in own:
        np.testing.assert_allclose(own[key], other[key], atol=1e-7)


@pytest.mark.parametrize("kind", ["gamma", "normal", "additive"])
@pytest.mark.parametrize("per_process", [False, True])
def test_the_hessian_with_templates_held(kind, per_process):
    """It is that of a function in which β are numbers."""
    builder = TemplateBuilder()
    builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
    pair = np.array([20.0, 30.0]), np.array([40.0, 25.0])
    for name, values in zip("ab", pair, strict=True):
        builder.add_process(values, name, "ch0", signal=name == "a", variances=values)
    builder.add_norm_systematic("norm", "b", "ch0", 1.2)
    builder.add_data(np.array([70.0, 50.0]), "ch0")
    model = builder.build(statistics=kind, per_process=per_process)
    params = {"a": 1.1, "norm": 0.3}
    held = model.diagnostics.with_simulation_held(params)
    beta = np.asarray(held.observation["main"]["statistics"])

    def nll(params):
        yields = params["a"] * pair[0], 1.2 ** params["norm"] * pair[1]
        size = beta.T if per_process else np.repeat(beta.T, 2, 0)
        if kind != "additive":
            total = sum(b * n for b, n in zip(size, yields, strict=True))
        elif per_process:
            root = np.sqrt(np.stack(pair))
            total = sum(yields) + (root * size).sum(0)
        else:
            total = sum(yields) + np.sqrt(sum(pair)) * beta[:, 0]
        counts = model.observation["main"]["counts"]
        likelihood = (total - counts * jax.numpy.log(total)).sum()
        return likelihood + 0.5 * params["norm"] ** 2

    wanted = jax.hessian(nll)({key: float(value) for key, value in params.items()})
    state = ew.State.from_pytree(params)
    found = ew.hessian_matrix(held, state, held.observation)
    for i, row in enumerate(params):
        for j, column in enumerate(params):
            np.testing.assert_allclose(found[i, j], wanted[row][column], rtol=1e-9)


def test_without_profiled_samples_there_is_nothing_to_tell(exact):
    model, result = exact
    with pytest.raises(TypeError, match="simulated samples"):
        statistical_impacts(model, result, poi=POIS)


@pytest.mark.slow
def test_parameters_that_the_fit_has_frozen(base):
    model, _ = base
    said = EXPECTED["frozen"]
    names = said["moved"]
    result = ew.fit(model, fixed=frozen(model, "flat_bkg_norm", "exp_bkg_shape*"))
    root = np.sqrt(result.params["signal"])
    np.testing.assert_allclose(root, said["values"][0], atol=1e-4 * said["errors"][0])
    assert not set(names) & set(result.labels)
    found = nonprofiled_impacts(model, result, poi=POIS)
    assert list(found.names) == names
    errors = scale_of(said) * said["errors"][:2]
    # Stored up first, and with the other sign.
    for j, poi in enumerate(POIS):
        wanted = -np.array(said["shifts"][poi])[:, ::-1].T
        shifts = np.asarray(found.refits.shifts[:, j])
        if poi == "signal":
            shifts = np.sqrt(result.params["signal"] + shifts) - root
        np.testing.assert_allclose(shifts, wanted, atol=1e-5 * errors[j])
    group = found.envelope(model.groups)
    assert list(group) == ["bkg"]
    wanted = np.array(said["envelopes"]["slope"])[said["groups"].index("bkg")]
    np.testing.assert_allclose(group["bkg"][:, 1], -wanted[::-1], atol=1e-5)
    np.testing.assert_array_equal(group["bkg"], found.envelope()["total"])


@pytest.mark.slow
def test_a_measurement_moved_and_fitted_again(base):
    """The asymmetric global impact is the shift in a fit of the moved measurement."""
    model, result = base
    found = global_impacts(model, result, poi="signal", refit=True)
    k = found.names.index("lumi")
    for side, sign in enumerate((-1.0, 1.0)):
        aux = {**dict(model.observation["aux"]), "lumi": sign}
        again = ew.fit(model, observation={**model.observation, "aux": aux})
        shift = again.params["signal"] - result.params["signal"]
        np.testing.assert_allclose(found.refits.shifts[side, 0, k], shift, rtol=1e-5)
