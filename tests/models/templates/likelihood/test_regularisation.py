"""Regularisation: closed forms of stencils and of linear fits, and its strengths."""

import functools as ft

import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow.mappings import parse_mapping
from everwillow.models.templates import TemplateBuilder, TemplateModel
from everwillow.models.templates.likelihood.regularisation import (
    Curvature,
    laplacian,
    with_strength,
)
from everwillow.models.templates.rates import AxisNorms
from tests.helpers import count_jax_work


EDGES = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
TRUE = np.array([100.0, 160.0, 220.0, 200.0, 150.0, 90.0])
# What is measured of each true bin.
RESPONSE = np.array([0.2, 0.6, 0.2])
SMEAR = sum(w * np.eye(6, k=k) for k, w in zip((-1, 0, 1), RESPONSE, strict=True))
# Two channels measure the same, which is not quite what was expected.
DESIGN = np.concatenate([SMEAR, SMEAR]) * TRUE
VARIANCE = np.sum(DESIGN, 1)
FACTOR = np.array([0.6, 0.8, 1.1, 1.35, 1.2, 0.9])
NOISE = [8.0, -14.0, 11.0, 6.0, -12.0, 9.0, -5.0, -9.0, 12.0, -16.0, 3.0, 7.0]
DATA = DESIGN @ FACTOR + np.array(NOISE)


def by_loop(values):
    """Return the Laplacian from its definition."""
    padded = np.pad(values, 1, mode="symmetric")
    out = np.zeros(values.shape)
    for place in np.ndindex(values.shape):
        inside = tuple(i + 1 for i in place)
        for axis in range(values.ndim):
            for step in (-1, 1):
                near = list(inside)
                near[axis] += step
                out[place] += padded[tuple(near)] - padded[inside]
    return out


@pytest.mark.parametrize("shape", [(7,), (4, 5), (3, 4, 2), (1, 6)])
def test_the_stencil_in_one_two_and_three_dimensions(shape):
    values = np.random.default_rng(5).normal(size=shape)
    found = laplacian(jnp.asarray(values))
    np.testing.assert_allclose(found, by_loop(values), atol=1e-14)


def test_what_has_no_curvature():
    np.testing.assert_array_equal(laplacian(jnp.full((4, 3), 2.5)), np.zeros((4, 3)))
    # A slope bends at the edges only, where the histogram goes on as it ends.
    slope = laplacian(jnp.arange(5.0))
    np.testing.assert_array_equal(slope, [1.0, 0.0, 0.0, 0.0, -1.0])


@ft.cache
def spec():
    out = TemplateBuilder("normal")
    out.add_channel([("x", EDGES)], "ch0")
    out.add_channel([("x", EDGES)], "ch1")
    out.add_channel([("x", EDGES)], "true", masked=True)
    for i in range(6):
        name = f"bin{i}"
        unit, none = np.eye(6)[i] * TRUE[i], np.zeros(6)
        out.add_process(SMEAR @ unit, name, "ch0", signal=True, variances=none)
        out.add_process(SMEAR @ unit, name, "ch1", signal=True, variances=none)
        out.add_process(unit, name, "true", signal=True, variances=none)
    out.add_data(DATA[:6], "ch0", variances=VARIANCE[:6])
    out.add_data(DATA[6:], "ch1", variances=VARIANCE[6:])
    return out.spec()


TRUTH = parse_mapping("Select true")


def model(*regularisation):
    return TemplateModel.from_spec(
        spec(), likelihood="chi2", statistics=None, regularisation=regularisation
    )


def normal_equations(strength):
    """Return strengths and covariance of the regularised linear problem."""
    bend = np.stack([by_loop(unit) for unit in np.eye(6)], axis=1)
    weight = np.diag(1 / VARIANCE)
    hessian = DESIGN.T @ weight @ DESIGN + 2 * np.exp(2 * strength) * bend.T @ bend
    return np.linalg.solve(hessian, DESIGN.T @ weight @ DATA), np.linalg.inv(hessian)


@pytest.mark.slow
@pytest.mark.parametrize("strength", [-2.0, 0.0, 2.5])
def test_a_linear_problem_solves_its_normal_equations(strength):
    result = ew.fit(model(Curvature(TRUTH, strength=strength)))
    values, covariance = normal_equations(strength)
    found = np.array([float(result.params[f"bin{i}"]) for i in range(6)])
    errors = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((found - values) / errors, 0, atol=1e-9)
    np.testing.assert_allclose(result.covariance, covariance, rtol=1e-9)
    assert result.num_steps <= 3


@pytest.mark.slow
def test_the_penalty_is_what_it_says():
    params = {f"bin{i}": 1 + 0.1 * i**2 for i in range(6)}
    ratio = np.array(list(params.values()))
    for strength in (0.0, 0.8):
        more = model(Curvature(TRUTH, strength=strength)).nll(params)
        wanted = np.exp(2 * strength) * np.sum(by_loop(ratio) ** 2)
        assert float(more - model().nll(params)) == pytest.approx(wanted, rel=1e-10)


def test_what_scales_all_bins_alike_is_free():
    params = {f"bin{i}": 1.7 for i in range(6)}
    found = model(Curvature(TRUTH, strength=5.0)).nll(params)
    assert float(found) == pytest.approx(float(model().nll(params)), rel=1e-12)


def test_several_penalties_add_up():
    params = {f"bin{i}": 1 + 0.05 * (i % 3) for i in range(6)}
    one = Curvature(TRUTH, strength=0.3)
    other = Curvature(parse_mapping("Project ch0 x"), strength=-0.4)
    both = Curvature(parse_mapping("Select true; Project ch0 x"), strength=0.3)
    bare = float(model().nll(params))
    alone = [float(model(part).nll(params)) - bare for part in (one, other)]
    assert float(model(one, other).nll(params)) == pytest.approx(bare + sum(alone))
    weight = np.exp(2 * 0.7)
    assert float(model(both).nll(params)) - bare == pytest.approx(
        alone[0] + weight * alone[1], rel=1e-9
    )


def test_a_function_of_parameters_and_yields_is_a_histogram_too():
    def spectrum(params, yields):
        assert set(params) == {f"bin{i}" for i in range(6)}
        return yields["true"] + 0 * params["bin0"]

    params = {f"bin{i}": 1 + 0.02 * i**2 for i in range(6)}
    mine = model(Curvature(spectrum, strength=1.0)).nll(params)
    assert float(mine) == pytest.approx(
        float(model(Curvature(TRUTH, strength=1.0)).nll(params)), rel=1e-14
    )
    with pytest.raises(KeyError, match="bin0"):
        model(Curvature(lambda params, yields: yields["true"] * params["bin_0"]))


def test_other_strengths_run_the_same_program():
    weak = model(Curvature(TRUTH, strength=0.0))
    ew.fit(weak)
    with count_jax_work() as work:
        strong = ew.fit(with_strength(weak, 2.5))
    assert work.compilations == 0
    again = ew.fit(model(Curvature(TRUTH, strength=2.5)))
    assert float(strong.nll) == float(again.nll)
    # The model that it was made of stays as it was.
    assert float(weak.terms.penalty.curvatures[0].strength) == 0.0
    none = with_strength(weak, -np.inf)
    point = {f"bin{i}": 1 + 0.1 * i for i in range(6)}
    assert float(none.nll(point)) == pytest.approx(float(model().nll(point)), rel=1e-14)


def test_each_histogram_may_have_its_own_strength():
    pair = model(Curvature(TRUTH), Curvature(parse_mapping("Project ch0 x")))
    found = with_strength(pair, [1.0, 2.0]).terms.penalty.curvatures
    assert [float(one.strength) for one in found] == [1.0, 2.0]
    assert float(found[0].with_strength(3.0).strength) == 3.0


@pytest.mark.slow
def test_hidden_parameters_are_smoothed_on_their_physical_scale():
    prior = Curvature(TRUTH, strength=1.0)
    options = {"likelihood": "chi2", "statistics": None, "regularisation": prior}
    open_ = TemplateModel.from_spec(spec(), **options)
    hidden = TemplateModel.from_spec(spec(), blind=True, **options)
    assert hidden.hidden
    one, other = ew.fit(open_), ew.fit(hidden)
    assert float(other.nll) == pytest.approx(float(one.nll), rel=1e-9)
    shown = hidden.physical(other.params)
    for key in open_.state:
        assert float(shown[key]) == pytest.approx(float(one.params[key]), rel=1e-6)


@pytest.mark.slow
def test_bins_of_a_cross_section():
    """The usual case: norms in bins of a masked channel that a fitted one follows."""
    out = TemplateBuilder()
    out.add_channel([("x", EDGES), ("t", EDGES)], "ch0")
    out.add_channel([("t", EDGES)], "true", masked=True)
    smeared = SMEAR * TRUE
    out.add_process(smeared, "signal", "ch0", signal=True, variances=0.1 * smeared)
    out.add_process(TRUE, "signal", "true", signal=True, variances=0.1 * TRUE)
    noisy = smeared + np.sqrt(smeared) * np.cos(np.arange(36.0).reshape(6, 6))
    out.add_data(noisy, "ch0")
    made = TemplateModel.from_spec(
        out.spec(),
        parameters=lambda layout: AxisNorms(layout, "signal", ["ch0", "true"], "t"),
        regularisation=Curvature(TRUTH, strength=0.0),
    )
    rough, smooth = ew.fit(made), ew.fit(with_strength(made, 4.0))
    bends = [
        float(np.sum(by_loop(np.array([float(v) for v in r.params.values()])) ** 2))
        for r in (rough, smooth)
    ]
    assert bends[1] < 0.1 * bends[0]
    assert float(smooth.errors["signal_t2"]) < float(rough.errors["signal_t2"])


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (lambda: Curvature("Select true"), TypeError, "parse_mapping"),
        (lambda: Curvature(TRUTH, strength=[1.0, 2.0]), ValueError, "one number"),
        (lambda: Curvature(TRUTH, strength=np.nan), ValueError, "one number"),
        (lambda: model(TRUTH), TypeError, r"Curvature\(mapping"),
        (lambda: with_strength(model(), 1.0), ValueError, "no regularisation"),
        (
            lambda: with_strength(model(Curvature(TRUTH)), [1.0, 2.0]),
            ValueError,
            "2 values for 1",
        ),
        (
            lambda: model(Curvature(lambda params, yields: jnp.sum(yields["true"]))),
            ValueError,
            "single number",
        ),
        (
            lambda: model(Curvature(lambda params, yields: yields["true", "bin2"])),
            ValueError,
            r"5 bins, the first of them \(0,\)",
        ),
    ],
)
def test_faults_are_named(fault, error, message):
    with pytest.raises(error, match=message) as caught:
        fault()
    assert isinstance(caught.value, ew.EverwillowError)
