"""Contours: ellipses, what bends them, and what cuts them."""

import numpy as np
import pytest

import everwillow as ew
from everwillow.profile import contour
from tests.helpers import count_jax_work
from tests.profile.models import START, bounds, data, fixed_fit, landscape


def curve(observation, *, names=("a", "c"), box=None, **options):
    box = bounds() if box is None else box
    start = options.pop("start", START)
    return contour(landscape, start, observation, names=names, bounds=box, **options)


def heights(result, observation):
    """Return -ln L at each point on the curve over the level, in NumPy and JAX."""
    params = [
        {key: value[i] for key, value in result.params.to_pytree().items()}
        for i in range(len(result.points))
    ]
    values = np.array([float(landscape(p, observation)) for p in params])
    return values - result.minimum.nll + np.log1p(-result.cl)


def assert_profiled(result, observation, box, *, every=7):
    """Fit some of the points anew: the others have to be at their minimum there."""
    for i in range(0, len(result.points), every):
        held = {key: float(result.params[key][i]) for key in ("a", "c")}
        fit = fixed_fit(observation, held, box)
        level = result.minimum.nll - np.log1p(-result.cl)
        np.testing.assert_allclose(fit.nll, level, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("cl", [0.3935, 0.6827, 0.95])
def test_the_contour_of_a_gaussian_is_an_ellipse(cl):
    result = curve(data(), cl=cl)
    assert bool(result.closed)
    np.testing.assert_array_equal(result.points[0], result.points[-1])
    covariance = result.minimum.covariance[np.ix_([0, 3], [0, 3])]
    best = [result.minimum.params["a"], result.minimum.params["c"]]
    away = result.points - best
    radius = np.einsum("ij,jk,ik->i", away, np.linalg.inv(covariance), away)
    np.testing.assert_allclose(radius, -2 * np.log1p(-cl), rtol=1e-7)
    assert len(result.points) == 61
    # In its own coordinates the steps are even, but for the last one and those that end
    # where a parameter is extreme.
    turned = np.linalg.solve(np.linalg.cholesky(covariance), away.T)
    steps = np.linalg.norm(np.diff(turned), axis=0)
    even = np.abs(steps / np.median(steps) - 1) < 1e-3
    assert np.sum(~even) <= 5
    assert steps.max() <= 1.6 * np.median(steps)
    # There the points are exact.
    errors = np.sqrt(-2 * np.log1p(-cl) * np.diag(covariance))
    np.testing.assert_allclose(away.max(axis=0), errors, rtol=1e-6)
    np.testing.assert_allclose(away.min(axis=0), -errors, rtol=1e-6)


@pytest.mark.slow
def test_it_touches_the_intervals_of_each_parameter():
    result = curve(data(), cl=1 - np.exp(-0.5))
    errors = np.sqrt(np.diag(result.minimum.covariance))[[0, 3]]
    np.testing.assert_allclose(np.ptp(result.points, axis=0), 2 * errors, rtol=1e-6)


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_units_do_not_matter(size):
    observation = data(mean=size, precision=4.0 / size**2, tilt=0.6 / size)
    observation["slope"] = observation["slope"] / size
    start = ew.State.from_pytree({**START.to_pytree(), "a": 0.8 * size})
    result = curve(observation, start=start)
    assert bool(result.closed)
    np.testing.assert_allclose(
        result.points / [size, 1.0], curve(data()).points, rtol=1e-6, atol=1e-9
    )


NARROW = data(bend=np.array([1.0, -1.0]), precision=0.5, spread=np.array([0.5, 0.9]))
SPLIT = data(
    mean=0.0, precision=1.0, slope=np.zeros(2), tilt=0.0, pitch=1.0, quartic=1.0
)


@pytest.mark.parametrize(
    ("observation", "names", "cl"),
    [
        (data(bend=np.array([0.6, -0.3]), quartic=0.5), ("a", "c"), 0.95),
        # A banana 2000 times as long as its tips are round.
        (NARROW, ("a", "b[0]"), 0.6827),
        (SPLIT, ("a", "c"), 0.95),
        (data(mean=-1.0, precision=0.1, well=1.0, tilt=0.0), ("a", "c"), 0.9),
        (data(offset=1e8), ("a", "c"), 0.6827),
        (data(), ("b[0]", "b[1]"), 0.6827),
    ],
    ids=["bent", "banana", "heart", "two wells", "large", "elements"],
)
def test_curves_that_are_no_ellipses_close_and_stay_on_the_level(
    observation, names, cl
):
    result = curve(observation, names=names, cl=cl)
    assert bool(result.closed)
    rounding = 50 * np.finfo(float).eps * float(observation["offset"])
    np.testing.assert_allclose(heights(result, observation), 0, atol=1e-8 + rounding)
    # Nothing is left out: neighbours are near, in units of the extension.
    assert np.max(np.diff(result.points, axis=0) / np.ptp(result.points, axis=0)) < 0.2
    # Once around the best fit, in one sense.
    if names == ("a", "c"):
        away = result.points - [result.minimum.params[key] for key in names]
        turns = np.unwrap(np.arctan2(*away.T[::-1]))
        np.testing.assert_allclose(abs(turns[-1] - turns[0]), 2 * np.pi)


@pytest.mark.slow
def test_the_others_are_at_their_minimum_on_the_curve():
    observation = data(bend=np.array([0.6, -0.3]), quartic=0.5)
    assert_profiled(curve(observation, cl=0.95), observation, bounds())


@pytest.mark.slow
def test_a_bound_of_another_parameter_bends_the_curve():
    box = bounds(b=((-5.0, -0.9), (5.0, 0.9)))
    result = curve(data(), box=box)
    assert bool(result.closed)
    active = result.params["b"][:, 1] <= -0.9
    assert 0 < active.sum() < len(active)
    assert_profiled(result, data(), box)


@pytest.mark.parametrize(
    ("box", "ends"),
    [
        (bounds(a=(0.5, 10.0)), [("a", 0.5), ("a", 0.5)]),
        (bounds(a=(0.7, 10.0), c=(0.1, 10.0)), [("c", 0.1), ("a", 0.7)]),
    ],
)
def test_bounds_cut_the_curve(box, ends):
    result = curve(data(), box=box)
    assert not bool(result.closed)
    np.testing.assert_allclose(heights(result, data()), 0, atol=1e-8)
    for row, (name, end) in zip((0, -1), ends, strict=True):
        np.testing.assert_allclose(result.params[name][row], end, atol=1e-5)
    whole = curve(data())
    inside = np.all(whole.points >= [box["a"].lower, box["c"].lower], axis=1)
    # Both are made of steps of one size.
    assert abs(len(result.points) - inside.sum()) < 30


def test_both_pieces_are_found_where_bounds_cut_twice():
    result = curve(data(), box=bounds(a=(0.5, 1.5)))
    assert not bool(result.closed)
    (gap,) = np.nonzero(np.isnan(result.points[:, 0]))
    assert gap.size == 1
    pieces = result.points[: gap[0]], result.points[gap[0] + 1 :]
    for piece in pieces:
        np.testing.assert_allclose(np.sort(piece[[0, -1], 0]), [0.5, 1.5], atol=1e-5)
    assert pieces[0][:, 1].mean() > result.minimum.params["c"] > pieces[1][:, 1].mean()
    assert np.isnan(result.params["b"][gap[0]]).all()


def test_a_minimum_at_a_bound_has_half_a_curve():
    result = curve(data(mean=-0.3), box=bounds(a=(0.0, 5.0)))
    assert result.minimum.params["a"] == 0
    assert not bool(result.closed)
    np.testing.assert_allclose(heights(result, data(mean=-0.3)), 0, atol=1e-8)
    np.testing.assert_allclose(result.points[[0, -1], 0], 0, atol=1e-5)


def test_a_curve_ends_where_fits_fail():
    result = curve(data(wall=1.6))
    assert not bool(result.closed)
    assert np.isfinite(result.points).all()
    np.testing.assert_allclose(result.points[[0, -1], 0], 1.6, atol=1e-5)
    np.testing.assert_allclose(heights(result, data(wall=1.6)), 0, atol=1e-8)


def test_no_curve_comes_with_a_warning():
    flat = data(
        precision=0.0,
        tilt=0.0,
        slope=np.zeros(2),
        height=0.3,
        pitch=0.0,
    )
    with pytest.warns(UserWarning, match="no point of the curve"):
        result = curve(flat, names=("a", "c"), box=bounds(a=(-1, 1), c=(-0.5, 0.5)))
    assert result.points.shape == (0, 2)
    assert not bool(result.closed)


def test_held_parameters_make_it_smaller():
    full, result = curve(data()), curve(data(), held=["b*"])
    assert result.held == ("b[0]", "b[1]")
    np.testing.assert_allclose(heights(result, data()), 0, atol=1e-8)
    assert np.all(np.ptp(result.points, axis=0) < np.ptp(full.points, axis=0))
    np.testing.assert_array_equal(np.ptp(result.params["b"], axis=0), 0)


def test_a_second_contour_traces_nothing():
    curve(data())
    with count_jax_work() as work:
        curve(NARROW, names=("b[1]", "a"), cl=0.9, held=["c"])
    assert work.traces == 0
    assert work.compilations == 0
