"""Parameter models: closed forms, and properties that all of them have."""

from collections.abc import Mapping

import equinox as eqx
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from everwillow._errors import (
    ArgumentValueError,
    ConflictError,
    ShapeMismatchError,
    UnknownKeyError,
)
from everwillow.likelihood.histograms import Axis, Channel, Layout
from everwillow.models.templates import TemplateBuilder
from everwillow.models.templates.rates import (
    ABCD,
    AbstractParameterModel,
    AbstractVectorModel,
    AxisBernstein,
    AxisExponential,
    AxisNorms,
    Composite,
    ExtendedABCD,
    Fixed,
    Mixture,
    RateParameter,
    SharedStrengths,
    Strengths,
    rates_of,
)
from everwillow.models.templates.rates.axes import bernstein_basis
from everwillow.models.templates.rates.base import check_rates
from tests.helpers import finite_difference_jacobian
from tests.models.templates.layouts import (
    ABCD_REGIONS,
    EXTENDED_REGIONS,
    LAYOUT,
    PROCESSES,
    layout_of,
    nominal_of,
)


class Tilt(AbstractParameterModel):
    """What a user writes: a line in the number of the bin."""

    layout: Layout = eqx.field(static=True)

    def parameters(self) -> Mapping[str, RateParameter]:
        return {"tilt": RateParameter(0.0, width=0.5, interest=False)}

    def rates(self, params):
        line = jnp.linspace(-1.0, 1.0, self.layout.bins)
        return jnp.ones((len(self.layout.processes), 1)) + params["tilt"] * line[None]


MODELS = {
    "fixed": Fixed,
    "strengths": lambda lay: Strengths(lay, ["signal", "other"], prefix="mu_"),
    "negative strengths": lambda lay: Strengths(lay, "signal", negative=True),
    "shared strengths": lambda lay: SharedStrengths(
        lay, {"mu": ["signal", "other"], "kappa": "qcd"}
    ),
    "mixture": lambda lay: Mixture(lay, [("signal", "other"), ("qcd", "fakes")]),
    "norms": lambda lay: AxisNorms(lay, "signal", ["main", "side", "gen"], "x"),
    "norms of cells": lambda lay: AxisNorms(lay, "signal", "main", ["cat", "x"]),
    "exponential": lambda lay: AxisExponential(lay, "qcd", "main", "x"),
    "exponential by nothing": lambda lay: AxisExponential(
        lay, ["qcd", "fakes"], ["main", "gen"], "x", by=(), origin=2.0, name="shape"
    ),
    "bernstein": lambda lay: AxisBernstein(lay, "qcd", "main", "x", 2),
    "abcd": lambda lay: ABCD(lay, nominal_of(lay), "fakes", ABCD_REGIONS),
    "abcd without correction": lambda lay: ABCD(
        lay, nominal_of(lay), "fakes", ABCD_REGIONS, axes=(), corrected=False
    ),
    "smooth abcd": lambda lay: ABCD(
        lay, nominal_of(lay), "fakes", ABCD_REGIONS, smooth_axis="x", degree=1
    ),
    "extended abcd": lambda lay: ExtendedABCD(
        lay, nominal_of(lay), "fakes", EXTENDED_REGIONS
    ),
    "smooth extended abcd": lambda lay: ExtendedABCD(
        lay, nominal_of(lay), "fakes", EXTENDED_REGIONS, smooth_axis="x", degree=2
    ),
    "composite": lambda lay: Composite(
        lay,
        [
            Strengths(lay, "signal"),
            AxisNorms(lay, "signal", "main", "cat"),
            Tilt(lay),
            Fixed(lay),
        ],
    ),
    "custom": Tilt,
    "other starts": lambda lay: Mixture(lay, {"f": ("signal", "other")}).with_starts(
        {"f": 0.25}
    ),
}
NOT_ONE = {
    "mixture": ["other", "fakes"],
    "other starts": ["signal", "other"],
    "abcd without correction": ["fakes"],
}


def inside(model: AbstractParameterModel) -> np.ndarray:
    """A point in the bounds, away from the start values."""
    table = model.parameters().values()
    shift = np.random.default_rng(5).uniform(0.1, 0.4, len(table))
    return np.array(
        [
            p.start + (s if p.start < p.upper else -s)
            for p, s in zip(table, shift, strict=True)
        ]
    )


WEIGHTS = nominal_of(LAYOUT)


@eqx.filter_jit
def evaluate(model, values):
    """The rates and their Jacobian; gradient and Hessian of a weighted sum."""
    gradient = jax.grad(lambda v: jnp.vdot(WEIGHTS, rates_of(model, v)))
    rates, jacobian = rates_of(model, values), jax.jacfwd(rates_of, 1)(model, values)
    return rates, jacobian, gradient(values), jax.jacfwd(gradient)(values)


@pytest.fixture(params=MODELS, scope="module")
def case(request):
    return request.param, MODELS[request.param](LAYOUT)


@pytest.fixture(scope="module")
def evaluated(case):
    """All that is compiled for a model, compiled once."""
    return evaluate(case[1], jnp.asarray(inside(case[1])))


def test_rates_have_the_shape_of_the_layout_and_are_finite(evaluated):
    rates = evaluated[0]
    assert rates.shape == (len(PROCESSES), LAYOUT.bins)
    assert rates.dtype == jnp.float64
    assert np.all(np.isfinite(rates))


def test_rates_are_one_at_the_start_values(case):
    name, model = case
    start = {key: p.start for key, p in model.parameters().items()}
    rates = np.array(model.rates(start))
    moved = [PROCESSES.index(p) for p in NOT_ONE.get(name, [])]
    assert np.allclose(np.delete(rates, moved, 0), 1.0, rtol=1e-14)
    assert all(np.any(np.abs(rates[row] - 1.0) > 1e-3) for row in moved)


def test_start_values_are_inside_of_the_bounds(case):
    assert all(p.lower <= p.start <= p.upper for p in case[1].parameters().values())


def test_every_parameter_moves_a_rate(evaluated):
    assert np.all(np.any(np.abs(evaluated[1]) > 1e-3, axis=(0, 1)))


def test_by_name_and_by_vector_are_the_same(case):
    model = case[1]
    point = inside(model)
    named = dict(zip(model.parameters(), point, strict=True))
    others = {"theta": jnp.zeros(3), **dict(reversed(named.items()))}
    by_name = model.rates({k: jnp.asarray(v) for k, v in others.items()})
    assert np.array_equal(by_name, rates_of(model, jnp.asarray(point)))


def test_compiled_rates_are_the_same(case, evaluated):
    model = case[1]
    eager = rates_of(model, jnp.asarray(inside(model)))
    assert np.allclose(evaluated[0], eager, rtol=1e-14)


def test_derivatives_agree_with_finite_differences(case, evaluated):
    name, model = case
    point = inside(model)
    _, jacobian, gradient, hessian = evaluated
    if name == "fixed":
        assert jacobian.shape == (len(PROCESSES), LAYOUT.bins, 0)
        return
    numeric = finite_difference_jacobian(lambda v: evaluate(model, v)[0], point)
    assert np.allclose(jacobian.reshape(numeric.shape), numeric, atol=1e-9)
    assert np.allclose(gradient, np.tensordot(WEIGHTS, jacobian, 2), rtol=1e-12)
    numeric = finite_difference_jacobian(lambda v: evaluate(model, v)[2], point)
    assert np.allclose(hessian, numeric, atol=1e-6)


def test_what_is_traced_does_not_grow_with_the_bins(case):
    name, small = case
    fine = Axis("x", edges=tuple(np.linspace(0.0, 8.0, 33).tolist()))
    large = MODELS[name](layout_of(fine))
    assert isinstance(small, AbstractVectorModel) or name == "custom"
    counts = [
        len(
            jax.make_jaxpr(lambda v, m=model: rates_of(m, v))(
                jnp.zeros(len(model.parameters()))
            ).eqns
        )
        for model in (small, large)
    ]
    assert counts[0] == counts[1]


def test_start_values_can_be_changed(case):
    model = case[1]
    known = model.parameters()
    wanted = dict(zip(known, inside(model).tolist(), strict=True))
    other = model.with_starts(wanted)
    assert {k: p.start for k, p in other.parameters().items()} == wanted
    assert other.layout == model.layout
    assert [p.lower for p in other.parameters().values()] == [
        p.lower for p in known.values()
    ]
    point = jnp.asarray(inside(model))
    assert np.array_equal(rates_of(other, point), rates_of(model, point))
    assert model.parameters() == known


def test_other_start_values_compile_nothing_new():
    traced = []

    @eqx.filter_jit
    def rates(model, values):
        traced.append(model)
        return rates_of(model, values)

    for start in (0.5, 2.0):
        model = Strengths(LAYOUT, "signal").with_starts({"signal": start})
        rates(model, jnp.ones(1))
    assert len(traced) == 1


@pytest.mark.parametrize("value", [-0.5, np.inf, np.nan])
def test_start_values_outside_of_the_bounds_are_refused(value):
    with pytest.raises(ArgumentValueError, match=r"bounded to \[0.0, inf\]"):
        Strengths(LAYOUT, "signal").with_starts({"signal": value})


def test_a_start_value_of_an_unknown_parameter_is_refused():
    with pytest.raises(UnknownKeyError, match="Did you mean 'signal'"):
        Strengths(LAYOUT, "signal").with_starts({"signl": 1.0})


# Strengths and mixtures


def test_a_strength_is_the_rate_itself_and_has_a_slope_at_its_bound():
    model = Strengths(LAYOUT, "signal")
    assert model.parameters() == {"signal": RateParameter(1.0, lower=0.0)}
    slope = jax.jacfwd(lambda mu: model.rates({"signal": mu}))(0.0)
    assert np.all(slope[0] == 1.0)
    assert np.all(slope[1:] == 0.0)
    assert np.all(model.rates({"signal": 1.05})[0] == 1.05)


def test_names_and_bounds_of_strengths():
    named = Strengths(LAYOUT, ["signal", "qcd"], prefix="mu_", negative=True)
    assert list(named.parameters()) == ["mu_signal", "mu_qcd"]
    assert all(p.lower == -np.inf for p in named.parameters().values())
    hidden = SharedStrengths(LAYOUT, {"mu": "qcd"}, interest=False)
    assert hidden.parameters() == {"mu": RateParameter(1.0, 0.0, interest=False)}
    assert Strengths(LAYOUT, ()).parameters() == {}


def test_shared_strengths_scale_their_processes():
    model = MODELS["shared strengths"](LAYOUT)
    rates = model.rates({"mu": 2.0, "kappa": 3.0})
    assert np.array_equal(rates[:, 0], [2.0, 2.0, 3.0, 1.0])
    assert np.all(rates == rates[:, :1])


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=2))
def test_the_fractions_of_a_mixture_add_up_to_one(x):
    rates = rates_of(MODELS["mixture"](LAYOUT), jnp.array(x))
    assert np.allclose(rates[0] + rates[1], 1.0, rtol=1e-15)
    assert np.allclose(rates[2] + rates[3], 1.0, rtol=1e-15)
    assert np.array_equal(rates[[0, 2], 0], x)


def test_names_and_bounds_of_mixtures():
    pairs = [("signal", "other"), (["qcd"], "fakes")]
    model = Mixture(LAYOUT, pairs)
    half = RateParameter(1.0, 0.0, 1.0)
    assert model.parameters() == {
        "signal_other_mixing": half,
        "qcd_fakes_mixing": half,
    }
    free = Mixture(LAYOUT, {"f": (["signal", "qcd"], "other")}, negative=True)
    assert free.parameters() == {"f": RateParameter(1.0)}
    assert np.allclose(free.rates({"f": 1.25})[:, 0], [1.25, -0.25, 1.25, 1.0])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Mixture(LAYOUT, [("signal", "signal")]),
        lambda: Mixture(LAYOUT, [("signal", "other"), ("other", "qcd")]),
        lambda: SharedStrengths(LAYOUT, {"a": "signal", "b": ["signal"]}),
    ],
)
def test_a_process_follows_one_parameter(make):
    with pytest.raises(ArgumentValueError, match="would follow two parameters"):
        make()


# Shapes along axes


def test_norms_act_on_the_bins_of_their_axes():
    model = AxisNorms(LAYOUT, "signal", ["main", "gen"], "x")
    assert list(model.parameters()) == [f"signal_x{i}" for i in range(4)]
    values = np.array([0.5, 1.5, 2.0, 3.0])
    rates = np.array(rates_of(model, jnp.asarray(values)))
    main, gen = LAYOUT.bins_of("main"), LAYOUT.bins_of("gen")
    assert np.array_equal(rates[0, main].reshape(4, 2), np.stack([values] * 2, 1))
    assert np.array_equal(rates[0, gen], values)
    rates[0, main] = rates[0, gen] = 1.0
    assert np.all(rates == 1.0)


def test_norms_of_cells_follow_the_order_of_the_axes():
    model = AxisNorms(LAYOUT, ["signal", "qcd"], "main", ["cat", "x"], name="n")
    names = [f"n_cat{c}_x{x}" for c in range(2) for x in range(4)]
    assert list(model.parameters()) == names
    rates = rates_of(model, jnp.arange(8.0))
    cells = np.array(rates[:, LAYOUT.bins_of("main")]).reshape(4, 4, 2)
    assert np.array_equal(cells[0], np.arange(8.0).reshape(2, 4).T)
    assert np.array_equal(cells[0], cells[2])
    assert list(AxisNorms(LAYOUT, "qcd", "side", ()).parameters()) == ["qcd"]


def test_norms_count_flow_bins():
    model = AxisNorms(LAYOUT, "signal", "flow", "x")
    assert list(model.parameters()) == [f"signal_x{i}" for i in range(5)]


def test_an_exponential_is_one():
    model = AxisExponential(LAYOUT, "qcd", "main", "x", origin=0.5)
    names = [f"qcd_{kind}_cat{c}" for kind in ("log_norm", "slope") for c in (0, 1)]
    assert list(model.parameters()) == names
    values = np.array([0.3, -0.2, -0.4, 0.7])
    x = np.array([0.5, 1.5, 3.0, 6.0]) - 0.5
    expected = np.exp(values[:2] + values[2:] * x[:, None])
    rates = rates_of(model, jnp.asarray(values))
    shape = np.array(rates[2, LAYOUT.bins_of("main")]).reshape(4, 2)
    assert np.allclose(shape, expected, rtol=1e-14)


@given(st.floats(0.0, 1.0), st.integers(0, 9))
def test_bernstein_polynomials_are_a_partition_of_unity(t, degree):
    basis = bernstein_basis(np.array([t]), degree)
    assert basis.shape == (1, degree + 1)
    assert np.all(basis >= 0.0)
    assert np.isclose(basis.sum(), 1.0, rtol=1e-13)


def test_bernstein_coefficients_of_a_line_make_a_line():
    model = AxisBernstein(LAYOUT, "qcd", "gen", "x", 3)
    assert model.parameters()["qcd_c0"] == RateParameter(1.0, 0.0, interest=False)
    t = np.array([0.5, 1.5, 3.0, 6.0]) / 8.0
    rates = rates_of(model, 1.0 + 2.0 * jnp.arange(4.0) / 3.0)
    assert np.allclose(rates[2, LAYOUT.bins_of("gen")], 1.0 + 2.0 * t, rtol=1e-14)
    free = AxisBernstein(LAYOUT, "qcd", "gen", "x", 1, negative=True)
    assert free.parameters()["qcd_c1"].lower == -np.inf


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: AxisExponential(LAYOUT, "qcd", "flow", "x"), "without flow bins"),
        (lambda: AxisBernstein(LAYOUT, "qcd", "flow", "x", 1), "without flow bins"),
        (lambda: AxisExponential(LAYOUT, "qcd", "main", "cat"), "have no centres"),
        (lambda: AxisBernstein(LAYOUT, "qcd", "main", "x", 4), "cannot determine 5"),
        (lambda: AxisBernstein(LAYOUT, "qcd", "main", "x", -1), "degree 0 or more"),
        (
            lambda: AxisExponential(LAYOUT, "qcd", "main", "x", by="x"),
            "cannot be cells too",
        ),
        (lambda: AxisNorms(LAYOUT, (), "main", "x"), "at least one"),
        (lambda: AxisNorms(LAYOUT, "qcd", (), "x"), "at least one"),
        (lambda: AxisNorms(LAYOUT, "qcd", "main", ["x", "x"]), "each once"),
    ],
)
def test_shapes_that_cannot_be_are_refused(make, match):
    with pytest.raises(ArgumentValueError, match=match):
        make()


def test_channels_share_parameters_only_if_their_axes_agree():
    with pytest.raises(ShapeMismatchError, match="differ in names, edges or labels"):
        AxisNorms(LAYOUT, "signal", ["main", "flow"], "x")
    with pytest.raises(ShapeMismatchError, match="'main' and 'gen' cannot share"):
        AxisExponential(LAYOUT, "signal", ["main", "gen"], "x")


# Products


def test_a_composite_is_the_product():
    parts = [MODELS[name](LAYOUT) for name in ("strengths", "norms", "custom")]
    model = Composite(LAYOUT, parts)
    assert list(model.parameters()) == [n for p in parts for n in p.parameters()]
    point = inside(model)
    named = dict(zip(model.parameters(), jnp.asarray(point), strict=True))
    product = parts[0].rates(named) * parts[1].rates(named) * parts[2].rates(named)
    assert np.allclose(rates_of(model, jnp.asarray(point)), product, rtol=1e-14)


def test_models_share_parameters_that_they_define_in_the_same_way():
    pair = [
        SharedStrengths(LAYOUT, {"mu": ["signal", "other"]}),
        SharedStrengths(LAYOUT, {"mu": ["signal"]}),
    ]
    model = Composite(LAYOUT, pair)
    assert list(model.parameters()) == ["mu"]
    assert np.array_equal(model.rates({"mu": 3.0})[:, 0], [9.0, 3.0, 1.0, 1.0])
    pair[1] = pair[1].with_starts({"mu": 2.0})
    with pytest.raises(ConflictError, match="two models define 'mu'"):
        Composite(LAYOUT, pair)


def test_a_composite_is_made_of_models_of_one_layout():
    other = Layout(LAYOUT.channels[:1], PROCESSES)
    with pytest.raises(ShapeMismatchError, match="Fixed was made for other channels"):
        Composite(LAYOUT, [Fixed(other)])


# Names


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Strengths(LAYOUT, "signl"), "Did you mean 'signal'"),
        (lambda: SharedStrengths(LAYOUT, {"mu": ["qdc"]}), "Did you mean 'qcd'"),
        (lambda: Mixture(LAYOUT, [("signal", "fake")]), "Did you mean 'fakes'"),
        (lambda: AxisNorms(LAYOUT, "signl", "main", "x"), "Did you mean 'signal'"),
        (lambda: AxisNorms(LAYOUT, "signal", "mian", "x"), "Did you mean 'main'"),
        (lambda: AxisNorms(LAYOUT, "signal", "main", "cta"), "Did you mean 'cat'"),
        (lambda: AxisExponential(LAYOUT, "qcd", "main", "y"), "'y'"),
        (lambda: AxisBernstein(LAYOUT, "qcd", "gem", "x", 1), "Did you mean 'gen'"),
        (lambda: Strengths(LAYOUT, "signal").rates({"mu": 1.0}), "'signal'"),
    ],
)
def test_unknown_names_are_refused(make, match):
    with pytest.raises(UnknownKeyError, match=match):
        make()


def test_a_name_stands_for_one_parameter():
    with pytest.raises(ConflictError, match="a_b_c_mixing"):
        Mixture(
            Layout((Channel("ch0", ()),), ("a_b", "c", "a", "b_c")),
            [("a_b", "c"), ("a", "b_c")],
        )


class FittedBins(Tilt):
    """A line that forgets the masked channel."""

    def rates(self, params):
        return super().rates(params)[:, : self.layout.fitted]


class ManyTilts(Tilt):
    """A parameter that is no scalar."""

    def parameters(self) -> Mapping[str, RateParameter]:
        return {"tilt": RateParameter(np.zeros(2))}  # pyright: ignore[reportArgumentType]


def test_rates_of_other_shapes_are_refused():
    check_rates(Tilt(LAYOUT))
    with pytest.raises(ShapeMismatchError, match=r"rates of FittedBins .* masked ones"):
        check_rates(FittedBins(LAYOUT))
    with pytest.raises(ShapeMismatchError, match="'tilt' starts at an array"):
        check_rates(ManyTilts(LAYOUT))
    # Models ask for it.
    builder = TemplateBuilder()
    builder.add_channel([], "all")
    builder.add_channel([], "gen", masked=True)
    for channel in ("all", "gen"):
        builder.add_process(5.0, "w", channel)
    builder.add_data(5.0, "all")
    with pytest.raises(ShapeMismatchError, match="FittedBins"):
        builder.build(parameters=FittedBins)


def test_systematics_in_units_of_a_rate_of_zero_are_said():
    builder = TemplateBuilder("normal")
    builder.add_channel([], "all")
    for name in ("light", "heavy"):
        builder.add_process(5.0, name, "all")
    builder.add_norm_systematic("norm", ["light", "heavy"], "all", 1.1)
    builder.add_data(5.0, "all")
    mixture = Mixture(builder.layout, {"x": ("light", "heavy")})
    report = builder.build(parameters=mixture).report
    assert [s for s in report if "Systematics of process 'heavy' do nothing" in s]
    moved = mixture.with_starts({"x": 0.5})
    assert not any("do nothing" in s for s in builder.build(parameters=moved).report)
