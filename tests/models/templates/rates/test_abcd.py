"""Backgrounds predicted from control regions: closed forms, and what is refused."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from everwillow._errors import (
    ArgumentValueError,
    ShapeMismatchError,
    UnknownKeyError,
)
from everwillow.fitting import fit
from everwillow.likelihood.histograms import Channel, Layout
from everwillow.models.templates.booking.builder import TemplateBuilder
from everwillow.models.templates.rates import (
    ABCD,
    Composite,
    ExtendedABCD,
    Strengths,
    nominal_yields,
    rates_of,
)
from tests.models.templates.layouts import (
    ABCD_REGIONS,
    CAT,
    EXTENDED_REGIONS,
    LAYOUT,
    X,
    nominal_of,
)


def region(values, label, regions=ABCD_REGIONS, row=3):
    """The numbers of a process in a region, along x."""
    where = regions[label][1]
    side = np.asarray(values)[row, LAYOUT.bins_of("side")].reshape(3, 2, 4)
    return side[where["iso"], where["mt"]]


positive = st.floats(0.1, 10.0)


@given(st.lists(positive, min_size=12, max_size=12))
@settings(max_examples=20)
def test_abcd_predicts_the_yield_of_its_region(norms):
    nominal = nominal_of(LAYOUT)
    plain = ABCD(LAYOUT, nominal, "fakes", ABCD_REGIONS, corrected=False)
    corrected = ABCD(LAYOUT, nominal, "fakes", ABCD_REGIONS)
    for model in (plain, corrected):
        yields = nominal * rates_of(model, jnp.array(norms))
        a, b, c, d = (region(yields, label) for label in "ABCD")
        a0, b0, c0, d0 = (region(nominal, label) for label in "ABCD")
        factor = 1.0 if model is plain else d0 * b0 / (c0 * a0)
        assert np.allclose(d, factor * c * a / b, rtol=1e-13)
        assert np.allclose(np.concatenate([a / a0, b / b0, c / c0]), norms, rtol=1e-13)


def test_extended_abcd_predicts_the_yield_of_its_region():
    nominal = nominal_of(LAYOUT)
    plain = ExtendedABCD(LAYOUT, nominal, "fakes", EXTENDED_REGIONS, corrected=False)
    names = [f"fakes_{r}_x{i}" for r in ("A", "Ax", "B", "Bx", "C") for i in range(4)]
    assert list(plain.parameters()) == names
    yields = nominal * rates_of(plain, jnp.linspace(0.5, 2.0, 20))
    a, ax, b, bx, c, d = (
        region(yields, label, EXTENDED_REGIONS)
        for label in ("A", "Ax", "B", "Bx", "C", "D")
    )
    assert np.allclose(d, c * ax * b**2 / (bx * a**2), rtol=1e-13)


def test_extended_abcd_is_abcd_where_the_ratio_does_not_change():
    nominal = nominal_of(LAYOUT)
    extended = ExtendedABCD(LAYOUT, nominal, "fakes", EXTENDED_REGIONS)
    norms = dict.fromkeys(extended.parameters(), 1.0)
    for i in range(4):
        norms |= {f"fakes_B_x{i}": 1.5, f"fakes_Bx_x{i}": 1.5, f"fakes_C_x{i}": 0.7}
    assert np.allclose(
        region(extended.rates(norms), "D", EXTENDED_REGIONS), 0.7 * 1.5, rtol=1e-14
    )


def test_smooth_norms_are_exponentials_of_chebyshev_polynomials():
    nominal = nominal_of(LAYOUT)
    model = ABCD(
        LAYOUT, nominal, "fakes", ABCD_REGIONS, smooth_axis="x", name="f", degree=2
    )
    names = [f"f_{r}_c{k}" for r in "ABC" for k in range(3)]
    assert list(model.parameters()) == names
    values = np.random.default_rng(1).normal(0.0, 0.5, (3, 3))
    rates = rates_of(model, jnp.asarray(values.ravel()))
    t = np.array([0.5, 1.5, 3.0, 6.0]) / 4.0 - 1.0
    a, b, c = (np.exp(v[0] + v[1] * t + v[2] * (2 * t**2 - 1)) for v in values)
    for label, expected in zip("ABCD", (a, b, c, a * c / b), strict=True):
        assert np.allclose(region(rates, label), expected, rtol=1e-13)


def test_cells_of_one_bin_share_a_norm_and_keep_the_shape_of_the_prediction():
    nominal = nominal_of(LAYOUT)
    model = ABCD(LAYOUT, nominal, "fakes", ABCD_REGIONS, axes=(), corrected=False)
    assert list(model.parameters()) == ["fakes_A", "fakes_B", "fakes_C"]
    yields = nominal * rates_of(model, jnp.array([2.0, 0.5, 3.0]))
    a, b, c, d = (region(yields, label) for label in "ABCD")
    assert np.isclose(d.sum(), c.sum() * a.sum() / b.sum(), rtol=1e-13)
    shape = region(nominal, "D")
    assert np.allclose(d / d.sum(), shape / shape.sum(), rtol=1e-13)


def test_norms_that_divide_stay_above_zero_and_others_reach_it():
    model = ABCD(LAYOUT, nominal_of(LAYOUT), "fakes", ABCD_REGIONS)
    for name, parameter in model.parameters().items():
        assert parameter.lower == (1e-6 if name.startswith("fakes_B") else 0.0)
        assert not parameter.interest
    # At a norm of zero derivatives are finite, in the prediction too.
    zero = jnp.zeros(12).at[4:8].set(1.0)
    slope = jax.grad(lambda v: rates_of(model, v)[3].sum())(zero)
    assert np.all(np.isfinite(slope))


def test_regions_are_found_by_label_and_by_channel():
    channels = tuple(Channel(name, (X,)) for name in "ABC")
    layout = Layout((*channels, Channel("last", (CAT, X))), ("fakes",))
    regions = {"A": "A", "B": "B", "C": "C", "D": ("last", {"cat": "high"})}
    model = ABCD(layout, np.ones((1, layout.bins)), "fakes", regions)
    rates = rates_of(model, jnp.full(12, 2.0))
    assert np.array_equal(rates[0, layout.bins_of("last")], [1.0] * 4 + [2.0] * 4)


def test_empty_cells_are_refused_where_a_norm_would_act_on_nothing():
    nominal = nominal_of(LAYOUT)
    side = nominal[3, LAYOUT.bins_of("side")].reshape(3, 2, 4)
    side[1, 0, 2] = 0.0
    nominal[3, LAYOUT.bins_of("side")] = side.ravel()
    with pytest.raises(ArgumentValueError, match="region 'B', cell 'x2'"):
        ABCD(LAYOUT, nominal, "fakes", ABCD_REGIONS)
    ABCD(LAYOUT, nominal, "fakes", ABCD_REGIONS, axes=())
    ABCD(LAYOUT, nominal, "fakes", ABCD_REGIONS, smooth_axis="x")


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"Z": "main"}, UnknownKeyError, "'Z'"),
        ({"D": None}, ArgumentValueError, r"\['D'\] are missing"),
        ({"D": ("side", {"iso": 1, "mt": 1})}, ArgumentValueError, "overlaps"),
        ({"D": ("side", {"iso": 7, "mt": 1})}, ArgumentValueError, "0 to 2"),
        ({"D": ("main", {"cat": "up"})}, UnknownKeyError, "'up'"),
        ({"D": ("side", {"is": 1})}, UnknownKeyError, "Did you mean 'iso'"),
        ({"D": "nowhere"}, UnknownKeyError, "channel"),
        ({"D": "main"}, ShapeMismatchError, "cannot be compared bin by bin"),
        ({"D": "flow"}, ShapeMismatchError, "cannot be compared bin by bin"),
    ],
)
def test_regions_that_cannot_be_are_refused(change, error, match):
    regions = {k: v for k, v in {**ABCD_REGIONS, **change}.items() if v}
    with pytest.raises(error, match=match):
        ABCD(LAYOUT, nominal_of(LAYOUT), "fakes", regions)


def test_nominal_yields_of_another_shape_are_refused():
    with pytest.raises(ShapeMismatchError, match=r"got \(2, 3\)"):
        ABCD(LAYOUT, np.ones((2, 3)), "fakes", ABCD_REGIONS)


@pytest.mark.slow
def test_the_fit_has_the_error_of_the_counts_that_predict():
    """As many parameters as bins: the closed form is propagation of Poisson errors."""
    builder = TemplateBuilder()
    for name in "ABCD":
        builder.add_channel([], name)
        builder.add_process(80.0, "fakes", name)
    builder.add_process(50.0, "signal", "D", signal=True)
    builder.add_norm_systematic("lumi", "signal", "D", 1.02)
    counts = {"A": 120.0, "B": 400.0, "C": 300.0, "D": 165.0}
    for name, count in counts.items():
        builder.add_data(count, name)
    layout = builder.layout
    regions = {name: name for name in "ABCD"}
    fakes = ABCD(layout, nominal_yields(builder.spec()), "fakes", regions)
    signal = Strengths(layout, "signal")
    model = builder.build(
        parameters=Composite(layout, [signal, fakes]), statistics=None
    )
    result = fit(model)
    a, b, c, d = counts.values()
    predicted = a * c / b
    strength = (d - predicted) / 50.0
    variance = d + predicted**2 * (1 / a + 1 / b + 1 / c)
    variance = variance / 50.0**2 + (strength * np.log(1.02)) ** 2
    assert np.isclose(result.params["signal"], strength, rtol=1e-7)
    assert np.isclose(result.errors["signal"], np.sqrt(variance), rtol=1e-7)
    assert np.isclose(result.params["fakes_B"], b / 80.0, rtol=1e-7)
