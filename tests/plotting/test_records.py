"""Plots of records are those of the arrays inside them, and of loaded records too."""

import jax.numpy as jnp
import numpy as np
import pytest


pytest.importorskip("matplotlib")

import everwillow as ew
from everwillow import impacts, plotting, profile
from everwillow.io import load, save
from everwillow.plotting._records import scan_of
from everwillow.plotting.curves import make_curve
from tests.plotting.pictures import drawn


CONSTRAINTS = {"a": ew.Normal(0.0, 1.0), "b": ew.Normal(0.0, 0.5)}


def main_nll(params, data):
    rate = data["s"] * params["mu"] * (1 + 0.2 * params["a"]) + data["b"] * (
        1 + 0.1 * params["b"]
    )
    return jnp.sum(rate - data["n"] * jnp.log(rate))


DATA = {
    "s": np.array([10.0, 4.0]),
    "b": np.array([30.0, 50.0]),
    "n": np.array([45.0, 48.0]),
}


@pytest.fixture(scope="module")
def model():
    start = {"mu": 1.0, "a": 0.0, "b": 0.0}
    return ew.Model(main_nll, start, DATA, constraints=CONSTRAINTS)


@pytest.fixture(scope="module")
def best(model):
    return ew.fit(model)


@pytest.fixture(scope="module")
def scanned(model, best):
    return profile.scan(model, best, name="mu", values=np.linspace(0, 2.5, 11))


def back(record, folder):
    save(record, folder / "a.json")
    return load(folder / "a.json")


def same(first, second):
    np.testing.assert_array_equal(drawn(first), drawn(second))


@pytest.mark.slow
def test_scan(model, best, scanned, tmp_path):
    stat = profile.scan(
        model, best, name="mu", values=np.linspace(0, 2.5, 11), held=["a", "b"]
    )
    figure = plotting.scan(scanned, stat_only=stat)
    arrays = plotting.scan(
        values=scanned.values,
        twice_delta_nll=scanned.twice_delta_nll,
        best=float(best.params["mu"]),
        name="mu",
        stat_only=(stat.values, stat.twice_delta_nll),
    )
    same(figure, arrays)
    same(figure, plotting.scan(back(scanned, tmp_path), stat_only=stat))


@pytest.mark.slow
def test_the_interval_of_a_scan_is_close_to_minos(model, best, scanned, tmp_path):
    intervals = profile.minos(model, best, names=["mu"])
    values, heights, middle, success, _ = scan_of(scanned)
    curve = make_curve(values, heights, middle, success, "scan")
    np.testing.assert_allclose(
        np.array(curve.crossings(1.0)) - middle,
        [intervals.lower[0], intervals.upper[0]],
        rtol=0.01,
    )
    figure = plotting.scan(scanned, interval=intervals)
    title = figure.axes[0].get_legend().get_title().get_text()
    low, high = -intervals.lower[0], intervals.upper[0]
    assert title == rf"mu = $1.32\;^{{+{high:.2f}}}_{{-{low:.2f}}}$"
    same(figure, plotting.scan(scanned, interval=back(intervals, tmp_path)))
    with pytest.raises(KeyError, match="'nu'"):
        plotting.scan(scanned, name="nu", interval=intervals)


@pytest.mark.slow
def test_contour(model, best, tmp_path):
    curves = [profile.contour(model, best, names=("mu", "a"), cl=c) for c in (0.683,)]
    figure = plotting.contour(curves, others={"same": curves})
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == [
        "68.3% CL",
        "same, 68.3% CL",
        "Best fit",
    ]
    inner, again, cross = figure.axes[0].lines
    np.testing.assert_array_equal(inner.get_xdata(), again.get_xdata())
    assert cross.get_xdata()[0] == best.params["mu"]
    same(plotting.contour(curves[0]), plotting.contour(back(curves[0], tmp_path)))


@pytest.mark.slow
def test_ranking_and_pulls(model, best, tmp_path):
    ranked = impacts.rank(model, best, poi="mu", refit="postfit")
    figure = plotting.ranking(ranked)
    arrays = plotting.ranking(
        names=ranked.names,
        up=ranked.postfit_refits.up[0],
        down=ranked.postfit_refits.down[0],
        linear=ranked.postfit[0],
        prefit_up=ranked.prefit[0],
        pulls=ranked.pulls,
        errors=ranked.constraints,
        poi="mu",
        note=figure.axes[1].get_title(loc="right"),
    )
    same(figure, arrays)
    same(figure, plotting.ranking(back(ranked, tmp_path)))
    same(plotting.pulls(ranked), plotting.pulls(best))
    with pytest.raises(KeyError, match="'nu'"):
        plotting.ranking(ranked, poi="nu")


@pytest.mark.slow
def test_fit(best, tmp_path):
    loaded = back(best, tmp_path)
    same(plotting.pulls(best), plotting.pulls(loaded))
    same(plotting.correlation(best), plotting.correlation(loaded))


@pytest.mark.parametrize(
    "draw",
    [plotting.scan, plotting.contour, plotting.ranking, plotting.limit_summary],
    ids=lambda draw: draw.__name__,
)
def test_another_record_is_refused(draw, best):
    with pytest.raises(TypeError, match=r"cannot draw a FitResult; expected") as caught:
        draw(best)
    assert isinstance(caught.value, ew.EverwillowError)
