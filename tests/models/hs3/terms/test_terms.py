"""Terms of a likelihood: which data, which range, what is counted, toys and Asimov."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats

from everwillow._errors import EverwillowError
from everwillow.models.hs3.terms import (
    BinnedTerm,
    PointTerm,
    UnbinnedTerm,
    build_terms,
)


AXIS = {"name": "x", "min": 10.0, "max": 20.0}
DISTRIBUTIONS = {
    "signal": {"type": "gaussian_dist", "x": "x", "mean": 15.0, "sigma": "width"},
    "background": {"type": "exponential_dist", "x": "x", "c": "slope"},
    "model": {
        "type": "mixture_dist",
        "summands": ["signal", "background"],
        "coefficients": ["yield", "n_bkg"],
        "extended": True,
    },
    "shape": {
        "type": "mixture_dist",
        "summands": ["signal", "background"],
        "coefficients": ["fraction"],
    },
    "constraint": {"type": "normal_dist", "x": "nom", "mean": "alpha", "sigma": 1.0},
    "count": {"type": "poisson_dist", "x": "n0", "mean": "tau_gamma"},
    "flat": {"type": "uniform_dist", "x": "alpha"},
    "channel": {"type": "product_dist", "factors": ["model", "constraint"]},
    "plane": {"type": "product_dist", "factors": ["signal", "other"]},
    "other": {"type": "exponential_dist", "x": "y", "c": 0.3},
    "counts": {
        "type": "bincounts_extended_dist",
        "rate": "n_bkg",
        "dist": "background",
    },
}
FUNCTIONS = {
    "yield": {"type": "product", "factors": ["mu", 7.0]},
    "tau_gamma": {"type": "product", "factors": ["gamma", 25.0]},
}
ENTRIES = [13.7, 13.8, 18.1, 11.6, 16.3, 15.9, 11.1, 17.2, 10.7, 13.9, 12.8, 14.6]
EDGES = [10.0, 11.0, 13.0, 16.0, 20.0]
DATA = {
    "events": {"type": "unbinned", "entries": [[x] for x in ENTRIES], "axes": [AXIS]},
    "histogram": {
        "type": "binned",
        "contents": [3, 4, 6, 0],
        "axes": [{"name": "x", "edges": EDGES}],
    },
    "point": {"type": "point", "value": 12.5, "axes": [AXIS]},
    "map": {
        "type": "binned",
        "contents": [1, 2, 3, 4, 5, 6],
        "axes": [
            {**AXIS, "nbins": 2},
            {"name": "y", "min": 0.0, "max": 6.0, "nbins": 3},
        ],
    },
}
VALUES = {
    "mu": 1.2,
    "n_bkg": 23.0,
    "slope": 0.3,
    "width": 0.8,
    "fraction": 0.3,
    "alpha": 0.4,
    "gamma": 1.1,
}


def terms(pairs, **options):
    options = {"distributions": DISTRIBUTIONS, "functions": FUNCTIONS} | options
    return build_terms(pairs, data=DATA, **options)


def nll(made):
    return float(sum(term.nll(VALUES, term.data) for term in made))


def signal(x):
    """The density over the range, and the cumulative one."""
    normal = scipy.stats.norm(15.0, VALUES["width"])
    low, high = normal.cdf([10.0, 20.0])
    return normal.pdf(x) / (high - low), (normal.cdf(x) - low) / (high - low)


def background(x):
    c = VALUES["slope"]
    total = math.exp(-10.0 * c) - math.exp(-20.0 * c)
    return c * np.exp(-c * x) / total, (math.exp(-10.0 * c) - np.exp(-c * x)) / total


def rates(x, which):
    return (
        7.0 * VALUES["mu"] * signal(x)[which] + VALUES["n_bkg"] * background(x)[which]
    )


@pytest.mark.slow
def test_extended_events():
    (term,) = terms([("model", "events")])
    assert isinstance(term, UnbinnedTerm)
    assert term.parameters == ("width", "slope", "mu", "n_bkg")
    expected = 7.0 * 1.2 + 23.0 - np.sum(np.log(rates(np.array(ENTRIES), 0)))
    assert nll([term]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
def test_the_shape_of_events():
    (term,) = terms([("shape", "events")])
    x = np.array(ENTRIES)
    density = 0.3 * signal(x)[0] + 0.7 * background(x)[0]
    assert nll([term]) == pytest.approx(-np.sum(np.log(density)), rel=1e-12)
    half = {**term.data, "weights": jnp.full(len(x), 0.5)}
    assert float(term.nll(VALUES, half)) == pytest.approx(0.5 * nll([term]))


@pytest.mark.slow
def test_extended_bins_are_poisson_probabilities_of_integrals():
    (term,) = terms([("model", "histogram")])
    assert isinstance(term, BinnedTerm)
    expected = np.diff(rates(np.array(EDGES), 1))
    poisson = scipy.stats.poisson(expected).logpmf([3, 4, 6, 0]).sum()
    assert nll([term]) == pytest.approx(-poisson, rel=1e-12)
    np.testing.assert_allclose(term.expected(VALUES), expected, rtol=1e-12)


def test_bins_of_a_shape_are_multinomial():
    (term,) = terms([("shape", "histogram")])
    edges = np.array(EDGES)
    shares = np.diff(0.3 * signal(edges)[1] + 0.7 * background(edges)[1])
    wanted = scipy.stats.multinomial(13, shares).logpmf([3, 4, 6, 0])
    assert nll([term]) == pytest.approx(-wanted, rel=1e-12)
    np.testing.assert_allclose(term.expected(VALUES), 13.0 * shares, rtol=1e-12)
    drawn = term.sample(VALUES, jr.key(1))
    assert drawn.sum() == 13.0
    assert drawn.dtype == jnp.float64


def test_bins_may_come_from_the_distribution():
    axes = [{"name": "x", "edges": EDGES}]
    spec = {**DISTRIBUTIONS, "counts": {**DISTRIBUTIONS["counts"], "axes": axes}}
    (own,) = terms([("counts", "histogram")], distributions=spec)
    (given,) = terms([("counts", "histogram")])
    assert nll([own]) == pytest.approx(nll([given]))
    np.testing.assert_allclose(
        given.expected(VALUES), 23.0 * np.diff(background(np.array(EDGES))[1])
    )


def test_bins_of_two_axes_are_in_row_major_order():
    (term,) = terms([("plane", "map")])
    along_x = np.diff(signal(np.array([10.0, 15.0, 20.0]))[1])
    along_y = np.diff(np.exp(-0.3 * np.array([0.0, 2.0, 4.0, 6.0])))
    shares = np.outer(along_x, along_y / along_y.sum()).ravel()
    np.testing.assert_allclose(term.expected(VALUES), 21.0 * shares, rtol=1e-12)


def test_a_point_is_one_observation_within_its_axis():
    (term,) = terms([("background", "point")])
    assert isinstance(term, PointTerm)
    assert nll([term]) == pytest.approx(-math.log(background(12.5)[0]))


def test_numbers_given_inline_are_normalised_over_the_natural_range():
    (term,) = terms([("constraint", 0.0)])
    assert term.parameters == ("alpha",)
    assert nll([term]) == pytest.approx(-scipy.stats.norm(0.4).logpdf(0.0))
    (count,) = terms([("count", [30])])
    assert nll([count]) == pytest.approx(-scipy.stats.poisson(27.5).logpmf(30))
    assert count.parameters == ("gamma",)


def test_a_global_observable_is_data_of_its_constraint():
    (term,) = terms([], aux_distributions=["constraint"], observed={"nom": 1.0})
    assert term.parameters == ("alpha",)
    assert term.data.tolist() == [1.0]
    assert nll([term]) == pytest.approx(-scipy.stats.norm(0.4).logpdf(1.0))
    moved = term.nll(VALUES, jnp.array([0.4]))
    assert float(moved) == pytest.approx(0.5 * math.log(2.0 * math.pi))
    assert term.expected(VALUES).tolist() == [0.4]


@pytest.mark.parametrize(
    "spec",
    [
        {"x": "alpha", "mean": "nom", "sigma": 1.0},
        {"x": "alpha", "mean": 1.0, "sigma": 1.0},
        {"x": 1.0, "mean": "alpha", "sigma": 1.0},
    ],
)
def test_a_gaussian_has_its_datum_on_either_side(spec):
    spec = {"c": {"type": "gaussian_dist", **spec}}
    options = {"aux_distributions": ["c"], "observed": {"nom": 1.0}}
    (term,) = terms([], distributions=spec, **options)
    assert term.parameters == ("alpha",)
    assert term.data.tolist() == [1.0]
    assert nll([term]) == pytest.approx(-scipy.stats.norm(0.4).logpdf(1.0))


def test_a_density_of_a_parameter_is_a_penalty_without_data():
    (term,) = terms([], aux_distributions=["constraint"])
    assert set(term.parameters) == {"nom", "alpha"}
    assert term.data.shape == (0,)
    value = term.nll({**VALUES, "nom": 1.0}, term.data)
    assert float(value) == pytest.approx(-scipy.stats.norm(0.4).logpdf(1.0))
    assert term.sample(VALUES, jr.key(0)).shape == (0,)
    assert term.expected(VALUES).shape == (0,)


def test_a_density_of_a_function_is_a_penalty_too():
    spec = {"c": {"type": "normal_dist", "x": "yield", "mean": "m", "sigma": 2.0}}
    (term,) = terms([], distributions=spec, aux_distributions=["c"])
    assert set(term.parameters) == {"mu", "m"}
    value = float(term.nll({"mu": 1.2, "m": 8.0}, term.data))
    assert value == pytest.approx(-scipy.stats.norm(8.0, 2.0).logpdf(8.4))


def test_a_flat_density_of_a_parameter_is_zero():
    (term,) = terms([], aux_distributions=["flat"])
    assert nll([term]) == 0.0
    assert term.notes == ()


def test_a_penalty_that_is_not_normalised_says_so():
    pytest.importorskip("lark")
    spec = {"c": {"type": "generic_dist", "expression": "exp(-alpha^2)"}}
    (term,) = terms([], distributions=spec, aux_distributions=["c"])
    assert nll([term]) == pytest.approx(0.16)
    assert "not normalised" in term.notes[0]


def test_a_factor_that_is_a_constraint_is_counted_once():
    observed = {"nom": 1.0}
    pairs = [("channel", "events"), ("channel", "histogram")]
    aux = ["constraint"]
    made = terms(pairs, aux_distributions=aux, observed=observed)
    assert [type(term) for term in made] == [UnbinnedTerm, BinnedTerm, PointTerm]
    bare = terms([("model", "events"), ("model", "histogram")])
    constraint = -scipy.stats.norm(0.4).logpdf(1.0)
    assert nll(made) == pytest.approx(nll(bare) + constraint)
    assert "counted once" in made[0].notes[0]
    without = terms(pairs, observed=observed)
    assert nll(without) == pytest.approx(nll(made))


@pytest.fixture(scope="module")
def likelihood():
    """A likelihood of each kind of term, and its gradient, compiled once."""
    made = terms(
        [("model", "events"), ("model", "histogram")],
        aux_distributions=["constraint", "count"],
        observed={"nom": 0.0, "n0": 25.0},
    )

    def total(values, data):
        each = zip(made, data, strict=True)
        return sum(term.nll(values, datum) for term, datum in each)

    return made, jax.jit(jax.value_and_grad(total))


def floats(values):
    return {name: jnp.asarray(value) for name, value in values.items()}


@pytest.mark.slow
def test_the_gradient_of_asimov_data_vanishes_at_the_truth(likelihood):
    made, evaluate = likelihood
    values = floats(VALUES)
    asimov = [term.expected(values) for term in made]
    assert asimov[0]["weights"].sum() == pytest.approx(7.0 * 1.2 + 23.0)
    _, gradient = evaluate(values, asimov)
    for name, slope in gradient.items():
        assert float(slope) == pytest.approx(0.0, abs=1e-10), name


def test_jit_is_eager_and_the_gradient_is_a_finite_difference(likelihood):
    made, evaluate = likelihood
    values, data = floats(VALUES), [term.data for term in made]
    value, gradient = evaluate(values, data)
    assert float(value) == pytest.approx(nll(made), rel=1e-13)
    for name in ("mu", "n_bkg", "slope", "width", "alpha", "gamma"):
        up = evaluate({**values, name: values[name] + 1e-6}, data)[0]
        down = evaluate({**values, name: values[name] - 1e-6}, data)[0]
        slope = float(up - down) / 2e-6
        assert float(gradient[name]) == pytest.approx(slope, rel=1e-6, abs=1e-6)


@pytest.mark.slow
def test_toys_scatter_around_what_is_expected(likelihood):
    made, _ = likelihood
    values = floats(VALUES)
    for term in made:
        draw = jax.jit(jax.vmap(lambda key, term=term: term.sample(values, key)))
        toys = draw(jr.split(jr.key(3), 400))
        same = jax.tree.map(lambda a, b: a.dtype == b.dtype, toys, term.data)
        assert all(jax.tree.leaves(same))
        if isinstance(term, UnbinnedTerm):
            numbers = np.asarray(toys["weights"].sum(axis=1))
            assert numbers.mean() == pytest.approx(31.4, abs=4 * math.sqrt(31.4 / 400))
            assert numbers.var() == pytest.approx(31.4, rel=0.3)
            x = np.asarray(toys["entries"])[np.asarray(toys["weights"]) > 0, 0]
            cumulative = lambda x: rates(x, 1) / 31.4
            assert scipy.stats.kstest(x, cumulative).pvalue > 1e-3
        else:
            mean = np.asarray(toys).mean(axis=0)
            expected = np.asarray(term.expected(values))
            width = 1.0 if term.name == "constraint" else np.sqrt(expected)
            assert np.all(np.abs(mean - expected) < 4.5 * width / math.sqrt(400))


@pytest.mark.slow
def test_toys_that_do_not_fit_are_not_a_number():
    (term,) = terms([("model", "events")], capacity=3)
    toy = term.sample(floats(VALUES), jr.key(0))
    assert toy["entries"].shape == (3, 1)
    assert np.isnan(term.nll(floats(VALUES), toy))


@pytest.mark.slow
def test_toys_of_a_shape_have_the_observed_number_of_events():
    (term,) = terms([("shape", "events")])
    assert term.capacity == 2 * len(ENTRIES) + 100
    assert term.sample(floats(VALUES), jr.key(0))["weights"].sum() == len(ENTRIES)


def test_the_number_of_operations_does_not_grow_with_events():
    (term,) = terms([("model", "events")])

    def operations(events):
        data = {"entries": jnp.full((events, 1), 12.0), "weights": jnp.ones(events)}
        return len(str(jax.make_jaxpr(term.nll)(VALUES, data)).splitlines())

    assert operations(10) == operations(5000)


def test_terms_of_one_structure_are_equal_but_for_their_data():
    (one,), (other,) = terms([("model", "events")]), terms([("model", "events")])
    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert hash(jax.tree.structure(one)) == hash(jax.tree.structure(other))


def changed(**specs):
    return {"distributions": DISTRIBUTIONS | specs}


@pytest.mark.parametrize(
    ("pair", "options", "words"),
    [
        (("modell", "events"), {}, "'model'"),
        (("model", "event"), {}, "'events'"),
        (("model", "events"), {"known": ["slop", "mu", "width", "n_bkg"]}, "'slop'"),
        (("other", "events"), {}, "depends on none of the observables of its data"),
        (("other", "point"), {}, "depends on none of the observables of its data"),
        (("counts", "events"), {}, "not paired with the unbinned data"),
        (("flat", 1.0), {}, "give its datum an axis"),
        (("constraint", [1.0, 2.0]), {}, "2 numbers were observed and it has 1"),
        (("constraint", [math.nan]), {}, "is no observation"),
        (("count", -1.0), {}, "outside of its range"),
        (
            ("bad", "events"),
            changed(bad={"type": "product_dist", "factors": ["model", "signal"]}),
            "cannot be multiplied",
        ),
        (
            ("bad", "histogram"),
            changed(
                bad={
                    **DISTRIBUTIONS["counts"],
                    "axes": [{"name": "x", "edges": [10, 20]}],
                }
            ),
            "its bins are not those of the data",
        ),
    ],
)
def test_what_does_not_fit_is_named(pair, options, words):
    with pytest.raises(EverwillowError, match=words):
        terms([pair], **options)


def test_functions_that_nobody_needs_are_not_read():
    functions = FUNCTIONS | {"strange": {"type": "derivative"}}
    (term,) = terms([("model", "events")], functions=functions)
    assert nll([term]) == nll(terms([("model", "events")]))


def test_axes_that_do_not_enter_are_said():
    data = {
        "wide": {
            "type": "unbinned",
            "entries": [[12.0, 1.0]],
            "axes": [AXIS, {"name": "z", "min": 0, "max": 2}],
        }
    }
    (term,) = build_terms(
        [("signal", "wide")], distributions=DISTRIBUTIONS, functions={}, data=data
    )
    assert term.notes == (
        "distributions/signal: it does not depend on the axis 'z' of its data.",
    )
    assert float(term.nll(VALUES, term.data)) == pytest.approx(-np.log(signal(12.0)[0]))
