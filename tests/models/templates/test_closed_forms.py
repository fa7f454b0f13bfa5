"""Template fits that have an answer from elsewhere: linear algebra, another engine."""

import functools as ft

import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow.models.histfactory import from_pyhf
from everwillow.models.templates import TemplateBuilder, TemplateModel
from everwillow.models.templates.rates import Strengths
from everwillow.toys import fit_toys


X = ("x", [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
SIGNAL = np.array([4.0, 30.0, 12.0, 3.0, 1.0])
TOP = np.array([50.0, 35.0, 28.0, 20.0, 11.0])
QCD = np.array([12.0, 14.0, 9.0, 18.0, 16.0])
TILT = np.array([-0.12, -0.05, 0.03, 0.08, 0.15])
DATA = np.array([70.0, 92.0, 41.0, 48.0, 25.0])
ROOT = np.eye(5) + 0.15 * np.cos(np.arange(25.0).reshape(5, 5))
COVARIANCE = 30 * ROOT @ ROOT.T
SIMULATED = 0.4 * TOP


def negative(layout):
    return Strengths(layout, ["signal"], negative=True)


def linear_builder():
    out = TemplateBuilder("normal")
    out.add_channel([X], "ch0")
    out.add_process(SIGNAL, "signal", "ch0", signal=True, variances=0 * SIGNAL)
    out.add_process(TOP, "top", "ch0", variances=SIMULATED)
    out.add_process(QCD, "qcd", "ch0", variances=0 * QCD)
    out.add_norm_systematic("lumi", ["signal", "top"], "ch0", 1.03)
    out.add_systematic(TOP * (1 + TILT), "tilt", "top", "ch0")
    out.add_norm_systematic("free", "qcd", "ch0", 1.5, constrained=False)
    out.add_data(DATA, "ch0")
    out.add_data_covariance(COVARIANCE)
    return out


def least_squares(covariance):
    """Return estimates and covariance of signal, lumi, tilt and the free background."""
    design = np.stack([SIGNAL, 0.03 * (SIGNAL + TOP), TOP * TILT, 0.5 * QCD], axis=1)
    weight = np.linalg.inv(covariance)
    prior = np.diag([0.0, 1.0, 1.0, 0.0])
    spread = np.linalg.inv(design.T @ weight @ design + prior)
    return spread @ design.T @ weight @ (DATA - TOP - QCD), spread


@pytest.mark.slow
@pytest.mark.parametrize("statistics", [None, "additive"])
def test_linear_models_are_solved_in_one_step(statistics):
    """Generalised least squares; additive statistics add to the covariance."""
    model = TemplateModel.from_spec(
        linear_builder().spec(),
        parameters=negative,
        likelihood="covariance",
        statistics=statistics,
    )
    result = ew.fit(model)
    # Evaluations: the start and the minimum.
    assert result.num_steps <= 2
    spread = COVARIANCE + (np.diag(SIMULATED) if statistics else 0)
    values, covariance = least_squares(spread)
    names = ["signal", "lumi", "tilt", "free"]
    order = [result.labels.index(name) for name in names]
    errors = np.sqrt(np.diag(covariance))
    found = np.array([float(result.params[name]) for name in names])
    np.testing.assert_allclose((found - values) / errors, 0, atol=1e-10)
    found = result.covariance[np.ix_(order, order)]
    np.testing.assert_allclose(
        found / np.outer(errors, errors),
        covariance / np.outer(errors, errors),
        atol=1e-10,
    )


def sample(name, values, *modifiers):
    return {"name": name, "data": values.tolist(), "modifiers": list(modifiers)}


def workspace(samples):
    channel = {"name": "ch0", "samples": samples}
    measurement = {"name": "m", "config": {"poi": "signal", "parameters": []}}
    return {
        "channels": [channel],
        "observations": [{"name": "ch0", "data": DATA.tolist()}],
        "measurements": [measurement],
        "version": "1.0.0",
    }


def norm(name, factor):
    return {"name": name, "type": "normsys", "data": {"hi": factor, "lo": 1 / factor}}


SCALE = {"name": "signal", "type": "normfactor", "data": None}


def log_normal_pair(statistics):
    """Norms, and samples that all (normal) or of which one (gamma) fluctuate."""
    out = TemplateBuilder()
    out.add_channel([X], "ch0")
    every = statistics == "normal"
    for values, name in ((SIGNAL, "signal"), (TOP, "top"), (QCD, "qcd")):
        some = every or name == "top"
        variances = SIMULATED * (values / TOP if every else 1.0) * some
        out.add_process(
            values, name, "ch0", signal=name == "signal", variances=variances
        )
    out.add_norm_systematic("lumi", ["signal", "top"], "ch0", 1.05)
    out.add_norm_systematic("rate", "qcd", "ch0", 1.3)
    out.add_data(DATA, "ch0")
    model = TemplateModel.from_spec(out.spec(), statistics=statistics)
    extra = {}
    for values, name in ((SIGNAL, "signal"), (TOP, "top"), (QCD, "qcd")):
        errors = np.sqrt(0.4 * values).tolist()
        kind = "staterror" if every else "shapesys"
        extra[name] = [{"name": f"{kind}_ch0", "type": kind, "data": errors}]
    if not every:
        extra["signal"] = extra["qcd"] = []
    lumi = norm("lumi", 1.05)
    document = workspace(
        [
            sample("signal", SIGNAL, SCALE, lumi, *extra["signal"]),
            sample("top", TOP, lumi, *extra["top"]),
            sample("qcd", QCD, norm("rate", 1.3), *extra["qcd"]),
        ]
    )
    return model, from_pyhf(document, interpolation={"normsys": "code1"})


def normal_pair():
    """A shape that is added, of a background."""
    out = TemplateBuilder("normal")
    out.add_channel([X], "ch0")
    out.add_process(SIGNAL, "signal", "ch0", signal=True, variances=0 * SIGNAL)
    out.add_process(TOP, "top", "ch0", variances=0 * TOP)
    moved = TOP * (1 + TILT), TOP * (1 - TILT)
    out.add_systematic(moved, "tilt", "top", "ch0", symmetrize="average")
    out.add_data(DATA, "ch0")
    model = TemplateModel.from_spec(out.spec(), statistics=None)
    sides = {"hi_data": moved[0].tolist(), "lo_data": moved[1].tolist()}
    tilt = {"name": "tilt", "type": "histosys", "data": sides}
    document = workspace([sample("signal", SIGNAL, SCALE), sample("top", TOP, tilt)])
    return model, from_pyhf(document, interpolation={"histosys": "code0"})


PAIRS = {
    "gamma": ft.partial(log_normal_pair, "gamma"),
    "normal": ft.partial(log_normal_pair, "normal"),
    "added": normal_pair,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_the_engine_of_workspaces_fits_the_same(name):
    """There, bin-wise factors are parameters of the fit."""
    model, other = PAIRS[name]()
    best, wanted = ew.fit(model), ew.fit(other)
    shared = [str(key) for key in model.state]
    for key in shared:
        error = float(wanted.errors[key])
        assert best.params[key] == pytest.approx(
            float(wanted.params[key]), abs=1e-6 * error
        )
        assert float(best.errors[key]) == pytest.approx(error, rel=1e-7)
    for strength in (0.5, 2.0):
        here = ew.fit(model, fixed={"signal": strength}).nll - best.nll
        there = ew.fit(other, fixed={"signal": strength}).nll - wanted.nll
        assert here == pytest.approx(float(there), abs=1e-9)
    if name != "added":
        factors = next(k for k in wanted.params if k not in shared)
        vector = jnp.array([float(best.params[key]) for key in shared])
        beta = model.terms.at(vector, model.observation["main"])[1].beta
        np.testing.assert_allclose(beta[:, 0], wanted.params[factors], rtol=1e-7)


@pytest.mark.parametrize("kind", ["gamma", "normal", "additive"])
@pytest.mark.parametrize("per_process", [False, True])
def test_all_constants_are_those_of_the_samples_too(kind, per_process):
    """Profiled or fitted, and in other places too, it is the same -ln L."""
    spec = log_normal_pair("gamma")[0].spec
    options = {"statistics": kind, "per_process": per_process}
    profiled = TemplateModel.from_spec(spec, **options)
    free = TemplateModel.from_spec(spec, profile=False, **options)
    for shift in (0.0, 0.2):
        vector = jnp.array([float(v) + shift for v in profiled.state.values()])
        known, main = profiled.terms.statistics, profiled.observation["main"]
        beta = profiled.terms.at(vector, main)[1].beta
        params = dict(zip(profiled.state, vector, strict=True))
        more = {**params, "bin_by_bin": beta.ravel()[known.spread.ravel() > 0]}
        ordered = {key: more[key] for key in free.state}
        np.testing.assert_allclose(profiled.nll(params), free.nll(ordered), rtol=1e-12)


@pytest.mark.slow
def test_fitted_factors_end_where_profiled_ones_are():
    spec = log_normal_pair("gamma")[0].spec
    profiled = TemplateModel.from_spec(spec)
    free = TemplateModel.from_spec(spec, profile=False)
    one, other = ew.fit(profiled), ew.fit(free)
    for key in profiled.state:
        error = float(one.errors[key])
        assert other.params[key] == pytest.approx(
            float(one.params[key]), abs=1e-5 * error
        )


# Toys: many events in each bin, so that estimates are nearly normal.
LUMINOSITY = 40.0
NTOYS = 2000


def toy_spec():
    """Samples of twice the data, so that their statistics matter."""
    out = TemplateBuilder()
    out.add_channel([X], "ch0")
    for values, name in ((SIGNAL, "signal"), (TOP, "top"), (QCD, "qcd")):
        events = LUMINOSITY * values
        out.add_process(
            events, name, "ch0", signal=name == "signal", variances=events / 2
        )
    out.add_norm_systematic("lumi", ["signal", "top"], "ch0", 1.02)
    out.add_systematic(
        LUMINOSITY * TOP * (1 + TILT), "tilt", "top", "ch0", constrained=False
    )
    out.add_data(LUMINOSITY * DATA, "ch0")
    return out.spec()


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["gamma", "normal"])
@pytest.mark.parametrize("per_process", [False, True])
def test_pulls_of_toys_are_unit_gaussians(statistics, per_process):
    model = TemplateModel.from_spec(
        toy_spec(), statistics=statistics, per_process=per_process
    )
    toys = fit_toys(model, ntoys=NTOYS, key=7)
    assert toys.failures == 0
    truth = {"signal": 1.0, "lumi": 0.0, "tilt": 0.0}
    for name, true in truth.items():
        pulls = (np.asarray(toys.params[name]) - true) / np.asarray(toys.errors[name])
        # Four standard deviations; estimates of 1 % accuracy have biases of 0.01.
        assert abs(np.mean(pulls)) < 4 / np.sqrt(NTOYS) + 0.02
        assert abs(np.std(pulls) - 1) < 4 / np.sqrt(2 * NTOYS) + 0.01


@pytest.mark.slow
def test_errors_without_the_statistics_of_samples_are_too_small():
    """What the test above would say of a likelihood that forgot them."""
    spec = toy_spec()
    model = TemplateModel.from_spec(spec)
    blind = TemplateModel.from_spec(spec, statistics=None)
    ratio = float(ew.fit(blind).errors["signal"]) / float(
        ew.fit(model).errors["signal"]
    )
    assert ratio < 0.95
