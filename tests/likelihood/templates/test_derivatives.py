"""The engine of template fits: its derivatives are those of its value.

The yields are compared with the formula written out in NumPy, the derivatives with
those that JAX takes of the likelihood.
"""

import dataclasses
import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow.likelihood.templates.arrays import Rows, entries
from everwillow.likelihood.templates.blocks import pack_blocks
from everwillow.likelihood.templates.partition import partition_by_runs, runs
from everwillow.likelihood.templates.responses import smooth_absolute, smooth_sign
from everwillow.models.templates import TemplateBuilder, TemplateModel
from everwillow.models.templates.likelihood.regularisation import Curvature
from everwillow.models.templates.rates import (
    AxisExponential,
    Composite,
    Strengths,
)
from tests.helpers import count_jax_work, finite_difference_jacobian


# Compiling is nearly all of the time of these tests.
_QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
X = ("x", [0.0, 1.0, 2.0, 3.0])
SIGNAL = np.array([8.0, 21.0, 5.0])
TOP = np.array([30.0, 14.0, 0.0])
FAKES = np.array([11.0, 12.0, 13.0])
GEN = np.array([70.0, 50.0])
WAVE = np.array([0.2, -0.1, 0.15])
DATA = np.array([55.0, 40.0, 21.0])
SIDE = np.array([62.0, 0.0])
ROOT = np.eye(5) + 0.1 * np.sin(np.arange(25.0).reshape(5, 5))


def builder(systematic_type="log_normal", *, sparse=False, generated=GEN):
    out = TemplateBuilder(systematic_type, sparse=sparse)
    out.add_channel([X], "ch0")
    out.add_channel([("y", [0.0, 1.0, 2.0])], "side")
    out.add_channel([("g", [0.0, 2.0, 4.0])], "gen", masked=True)
    out.add_process(SIGNAL, "signal", "ch0", signal=True, variances=0.3 * SIGNAL)
    out.add_process(generated, "signal", "gen", signal=True, variances=0.1 * generated)
    out.add_process(TOP, "top", "ch0", variances=0.5 * TOP)
    out.add_process(np.array([50.0, 2.0]), "top", "side", variances=np.array([4.0, 1]))
    # Made from data: known exactly.
    out.add_process(FAKES, "fakes", "ch0", variances=np.zeros(3))
    out.add_norm_systematic("lumi", ["signal", "top"], "ch0", 1.02)
    out.add_norm_systematic("lumi", "top", "side", 1.02)
    moved = SIGNAL * (1 + WAVE), SIGNAL * (1 - 0.4 * WAVE[::-1])
    out.add_systematic(moved, "scale", "signal", "ch0", symmetrize=None)
    moved = TOP * 1.2, TOP * np.array([1.1, 0.7, 1.0])
    out.add_systematic(moved, "scale", "top", "ch0", symmetrize=None)
    out.add_systematic(FAKES * (1 - WAVE), "tilt", "fakes", "ch0", constrained=False)
    moved = generated * 1.1, generated * 0.95
    out.add_systematic(moved, "scale", "signal", "gen", symmetrize=None)
    out.add_data(DATA, "ch0")
    out.add_data(SIDE, "side")
    out.add_data_covariance(20 * ROOT @ ROOT.T)
    terms = ["lumi", "signal"]
    gradient, hessian = np.array([0.3, -0.4]), np.array([[2.0, 0.5], [0.5, 1.0]])
    out.add_external_likelihood((terms, gradient), (terms, hessian))
    return out


def curved_rates(layout):
    """Rates with second derivatives, two of them of one process."""
    strengths = Strengths(layout, ["signal"], negative=True)
    return Composite(layout, [strengths, AxisExponential(layout, "top", "ch0", "x")])


class Spectra(eqx.Module):
    """Two histograms: one that has been fitted, one that is masked."""

    def __call__(self, params, yields):
        fitted = yields["ch0"] * (2 + params["tilt"])
        return {"fitted": fitted, "masked": yields["gen", "signal"]}


class Side(eqx.Module):
    """The second channel."""

    def __call__(self, params, yields):
        return yields["side"]


@ft.cache
def model(systematic_type="log_normal", sparse=False, **options):
    spec = builder(systematic_type, sparse=sparse).spec()
    if options.get("likelihood") == "chi2":
        variance = np.array([50.0, 40.0, 20.0, 60.0, 3.0])
        spec = dataclasses.replace(spec, observed_variance=variance)
    options.setdefault("parameters", curved_rates)
    return TemplateModel.from_spec(spec, **options)


def vector_of(model, scale=1.0):
    start = np.array([float(value) for value in model.state.values()])
    return jnp.asarray(start + scale * 0.37 * np.cos(1.7 * np.arange(start.size)))


def _evaluated(flat, vector, observation):
    found = flat.evaluation(vector, observation)
    stand_in = found.gauss_newton
    eye = jnp.eye(vector.size)
    return {
        "nll": flat.nll(vector, observation),
        "value": found.value,
        "gradient": found.gradient,
        "hessian": jax.vmap(found.curvature.matvec)(eye),
        "written": found.curvature.as_matrix(),
        "diagonal": found.curvature.diagonal(),
        "gauss_newton": None if stand_in is None else stand_in.as_matrix(),
        "jax_gradient": jax.grad(flat.nll)(vector, observation),
        "jax_hessian": jax.hessian(flat.nll)(vector, observation),
    }


_jitted = jax.jit(_evaluated, compiler_options=_QUICK)


def evaluated(model, vector=None, observation=None):
    vector = vector_of(model) if vector is None else vector
    observation = model.observation if observation is None else observation
    # NumPy arrays of a Module cannot be hashed, so they are arguments.
    flat = jax.tree.map(lambda a: jnp.asarray(a) if eqx.is_array(a) else a, model.flat)
    return _jitted(flat, vector, observation)


def assert_consistent(out):
    scale = np.sqrt(np.abs(np.diag(out["jax_hessian"])))
    assert out["value"] == pytest.approx(float(out["nll"]), rel=1e-13)
    slope = (out["gradient"] - out["jax_gradient"]) / scale
    np.testing.assert_allclose(slope, 0, atol=1e-10)
    away = (out["hessian"] - out["jax_hessian"]) / np.outer(scale, scale)
    np.testing.assert_allclose(away, 0, atol=1e-10)
    away = (out["written"] - out["jax_hessian"]) / np.outer(scale, scale)
    np.testing.assert_allclose(away, 0, atol=1e-10)


COMBINATIONS = [
    ("log_normal", {"statistics": None}),
    ("log_normal", {}),
    ("log_normal", {"per_process": True}),
    ("log_normal", {"statistics": "gamma", "per_process": True}),
    ("log_normal", {"statistics": "additive", "likelihood": "chi2"}),
    ("log_normal", {"statistics": "normal", "likelihood": "covariance"}),
    ("log_normal", {"likelihood": "covariance", "per_process": True}),
    ("normal", {"statistics": "normal"}),
    ("normal", {"statistics": "gamma", "likelihood": "chi2", "per_process": True}),
    ("normal", {"likelihood": "covariance"}),
    ("normal", {"statistics": None, "likelihood": "chi2"}),
]
SPARSE = [COMBINATIONS[i] for i in (1, 2, 5, 7)]
BLOCKS = [COMBINATIONS[i] for i in (1, 3, 7)]


def named(case):
    return "-".join([case[0], *map(str, case[1].values())])


@pytest.mark.slow
@pytest.mark.parametrize("case", COMBINATIONS, ids=named)
def test_derivatives_are_those_of_the_value(case):
    found = model(case[0], **case[1])
    out = evaluated(found)
    assert_consistent(out)
    # What stands in for an indefinite Hessian is never negative.
    smallest = np.linalg.eigvalsh(out["gauss_newton"]).min()
    assert smallest > -1e-10 * np.abs(out["gauss_newton"]).max()


@pytest.mark.slow
@pytest.mark.parametrize("case", SPARSE, ids=named)
def test_lists_of_responses_say_what_matrices_say(case):
    dense, sparse = (model(case[0], sparse, **case[1]) for sparse in (False, True))
    assert sparse.terms.matrix_free
    assert not dense.terms.matrix_free
    one, other = evaluated(dense), evaluated(sparse)
    assert_consistent(other)
    assert np.all(other["diagonal"] > 0)
    np.testing.assert_allclose(other["value"], one["value"], rtol=1e-13)
    np.testing.assert_allclose(other["gradient"], one["gradient"], rtol=1e-10)
    scale = np.sqrt(np.abs(np.diag(one["hessian"])))
    away = (other["hessian"] - one["hessian"]) / np.outer(scale, scale)
    np.testing.assert_allclose(away, 0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("case", BLOCKS, ids=named)
def test_blocks_of_responses_say_what_one_matrix_says(case):
    dense = model(case[0], **case[1])
    # Some of two bins, and one of a single bin that is filled up.
    blocks = in_blocks(dense, 2)
    one, other = evaluated(dense), evaluated(blocks)
    assert_consistent(other)
    np.testing.assert_allclose(other["value"], one["value"], rtol=1e-13)
    scale = np.sqrt(np.abs(np.diag(one["hessian"])))
    for key, unit in (("gradient", scale), ("hessian", np.outer(scale, scale))):
        np.testing.assert_allclose(
            other[key] / unit, one[key] / unit, atol=1e-12, rtol=0
        )
    away = other["gauss_newton"] - one["gauss_newton"]
    np.testing.assert_allclose(away / np.outer(scale, scale), 0, atol=1e-12)


def in_blocks(dense, length):
    """Return a model with its responses in blocks, which is too small to get them."""
    spec, bins = dense.spec, slice(0, dense.layout.fitted)
    rows = Rows(spec.templates, bins)
    place, systematic, _, _ = entries(spec.responses, rows)
    edges = runs(np.array([0, 3, bins.stop]), length)
    found = partition_by_runs(
        place // rows.slots,
        systematic,
        edges,
        count=len(spec.systematics),
        slots=rows.slots,
    )
    responses = pack_blocks(spec.responses, rows, found)
    return eqx.tree_at(lambda m: m.terms.arrays.responses, dense, responses)


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["gamma", "normal", "additive"])
def test_samples_that_are_fitted_say_what_profiled_ones_say(statistics):
    """Eliminating β from the Hessian leaves that of the profiled likelihood."""
    profiled = model(statistics=statistics)
    free = model(statistics=statistics, profile=False)
    terms, main = profiled.terms, profiled.observation["main"]
    params = dict(zip(profiled.state, vector_of(profiled), strict=True))
    best = terms.at(vector_of(profiled), main)[1].beta
    loose = np.asarray(terms.statistics.spread) > 0
    values = params | {"bin_by_bin": best[loose]}
    vector = jnp.concatenate([jnp.ravel(values[str(k)]) for k in free.state])
    out, wanted = evaluated(free, vector), evaluated(profiled)
    assert_consistent(out)
    tail = np.concatenate(
        [np.full(np.size(v), str(k) == "bin_by_bin") for k, v in free.state.items()]
    )
    np.testing.assert_allclose(out["gradient"][tail], 0, atol=1e-8)
    np.testing.assert_allclose(out["gradient"][~tail], wanted["gradient"], rtol=1e-7)
    hessian = np.asarray(out["hessian"])
    cross = hessian[np.ix_(~tail, tail)]
    inner = hessian[np.ix_(tail, tail)]
    schur = hessian[np.ix_(~tail, ~tail)] - cross @ np.linalg.solve(inner, cross.T)
    np.testing.assert_allclose(schur, wanted["hessian"], rtol=1e-7, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("sparse", [False, True])
def test_regularisation_has_its_derivatives(sparse):
    prior = Curvature(Spectra(), strength=0.7)
    again = Curvature(Side(), strength=-0.5)
    # Without the cache, which would hash the strengths.
    found = model.__wrapped__(sparse=sparse, regularisation=(prior, again))
    out, bare = evaluated(found), evaluated(model(sparse=sparse))
    assert out["value"] > bare["value"] + 1e-3
    assert_consistent(out)
    if sparse:
        assert np.all(out["diagonal"] > bare["diagonal"])
    else:
        more = np.asarray(out["gauss_newton"] - bare["gauss_newton"])
        assert np.linalg.eigvalsh(more).min() > -1e-10 * np.abs(more).max()


def written_out(spec, theta, rates, start):
    """Return the yields of all processes and bins, in a loop over the responses."""
    response = np.zeros(spec.templates.nominal.size)
    half = spec.responses.half
    for k in range(len(spec.systematics)):
        u = np.clip(2 * theta[k], -1, 1)
        sign = u * (u * u * (3 * u * u - 10) + 15) / 8
        for j in range(spec.responses.start[k], spec.responses.start[k + 1]):
            turn = 0 if half is None else half[j]
            row = spec.responses.row[j]
            response[row] += theta[k] * (spec.responses.average[j] + sign * turn)
    out = np.zeros((len(spec.layout.processes), spec.layout.bins))
    rows = spec.templates
    for i, (b, p) in enumerate(zip(rows.bin, rows.process, strict=True)):
        if spec.systematic_type == "log_normal":
            out[p, b] = rates[p, b] * rows.nominal[i] * np.exp(response[i])
        else:
            out[p, b] = rates[p, b] * rows.nominal[i] + start[p, b] * response[i]
    return out


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("systematic_type", ["log_normal", "normal"])
def test_yields_follow_the_formula(systematic_type, sparse):
    found = model(systematic_type, sparse)
    spec, terms = found.spec, found.terms
    rates = jax.jit(lambda p: terms.rate_model.rates(dict(p)))
    start = rates({n: e.start for n, e in terms.rate_model.parameters().items()})
    predict = jax.jit(lambda params: found.yields(params).values)
    for scale in (0.0, 0.5, 1.0, -4.0):
        vector = vector_of(found, scale)
        params = dict(zip(found.state, vector, strict=True))
        theta = [float(params[s.name]) for s in spec.systematics]
        scaled = rates({name: params[name] for name in terms.rate_model.parameters()})
        wanted = written_out(spec, theta, np.asarray(scaled), np.asarray(start))
        np.testing.assert_allclose(predict(params), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_one_error_gives_the_template_of_that_side():
    found = model()
    params = dict(found.state.to_pytree())
    up, down = (found.yields(params | {"scale": side}) for side in (1.0, -1.0))
    up, down = up["ch0", "signal"], down["ch0", "signal"]
    np.testing.assert_allclose(up, SIGNAL * (1 + WAVE), rtol=1e-13)
    np.testing.assert_allclose(down, SIGNAL * (1 - 0.4 * WAVE[::-1]), rtol=1e-13)
    added = model("normal")
    params = dict(added.state.to_pytree())
    # Responses that are added do not know the strength.
    up = added.yields(params | {"scale": 1.0, "signal": 3.0})["ch0", "signal"]
    np.testing.assert_allclose(up, SIGNAL * (3 + WAVE), rtol=1e-13)


def test_the_smooth_sign():
    theta = jnp.linspace(-1.0, 1.0, 41)
    sign, (value, slope, curve) = smooth_sign(theta), smooth_absolute(theta)
    np.testing.assert_array_equal(sign[theta >= 0.5], 1.0)
    np.testing.assert_array_equal(sign[theta <= -0.5], -1.0)
    np.testing.assert_allclose(value, theta * sign, rtol=1e-15)
    first = jax.vmap(jax.grad(lambda t: smooth_absolute(t)[0]))(theta)
    second = jax.vmap(jax.grad(lambda t: smooth_absolute(t)[1]))(theta)
    inside = jnp.abs(theta) != 0.5
    np.testing.assert_allclose(slope[inside], first[inside], atol=1e-13)
    np.testing.assert_allclose(curve[inside], second[inside], atol=1e-13)
    # Twice continuously differentiable where the sign is reached.
    near = smooth_absolute(jnp.array([0.5 - 1e-9, 0.5 + 1e-9]))
    np.testing.assert_allclose(near[1], 1.0, atol=1e-7)
    np.testing.assert_allclose(near[2], 0.0, atol=1e-6)


@pytest.mark.slow
def test_masked_bins_do_not_matter():
    one = model()
    other = TemplateModel.from_spec(
        builder(generated=3 * GEN).spec(), parameters=curved_rates
    )
    same, moved = evaluated(one), evaluated(other)
    assert float(same["value"]) == float(moved["value"])
    np.testing.assert_array_equal(same["gradient"], moved["gradient"])
    np.testing.assert_array_equal(same["hessian"], moved["hessian"])


@pytest.mark.slow
def test_compiled_code_is_the_same_code():
    found = model()
    vector = vector_of(found)
    eager = found.flat.nll(vector, found.observation)
    assert float(evaluated(found)["nll"]) == pytest.approx(float(eager), rel=1e-13)


def test_derivatives_are_finite_differences():
    found = model()
    out = evaluated(found)
    flat = jax.jit(lambda v: found.flat.nll(v, found.observation))
    steps = finite_difference_jacobian(flat, vector_of(found))[0]
    np.testing.assert_allclose(out["gradient"], steps, rtol=1e-7, atol=1e-7)


@pytest.mark.slow
def test_other_data_and_templates_run_the_same_program():
    one = model()
    other = TemplateModel.from_spec(builder().spec(), parameters=curved_rates)
    ew.fit(one)
    with count_jax_work() as work:
        first = ew.fit(one)
        second = ew.fit(other)
        counts = {**one.observation["main"], "counts": np.append(DATA, SIDE) + 3}
        third = ew.fit(one, observation={**one.observation, "main": counts})
    assert work.compilations == 0
    assert float(first.nll) == float(second.nll)
    assert abs(float(third.nll) - float(first.nll)) > 0.1


@pytest.mark.slow
def test_the_model_of_many_bins_has_as_few_operations():
    """Nothing is unrolled over bins, processes or systematics."""
    few, many = (operations(number) for number in (2, 20))
    assert many == few


def operations(number):
    out = TemplateBuilder()
    axis = ("x", np.arange(3.0 * number + 1))
    out.add_channel([axis], "ch0")
    nominal = np.tile(SIGNAL, number)
    for i in range(number):
        name = f"p{i}"
        out.add_process(nominal, name, "ch0", signal=True)
        out.add_systematic(nominal * 1.1, f"s{i}", name, "ch0")
    out.add_data(nominal * number, "ch0")
    found = TemplateModel.from_spec(out.spec())
    vector = vector_of(found)
    jaxpr = jax.make_jaxpr(
        lambda v: found.flat.evaluation(v, found.observation).gradient
    )(vector)
    return len(jaxpr.eqns)
