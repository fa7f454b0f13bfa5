"""Functions and densities that are constant in bins, against NumPy and by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from everwillow._errors import EverwillowError
from everwillow.models.hs3 import read_spec
from everwillow.models.hs3.distributions import Builder
from everwillow.models.hs3.functions.graph import Graph, Scope
from everwillow.models.hs3.terms import build_terms
from tests.models.hs3.closed_form import interpolated
from tests.models.hs3.documents import MU, channel, document, modifier, sample


EDGES = [0.0, 1.0, 2.5, 4.0, 10.0]
AXIS = {"name": "x", "edges": EDGES}
OTHER = {"name": "y", "min": 0.0, "max": 6.0, "nbins": 3}
HISTOGRAM = {"type": "histogram", "data": {"axes": [AXIS], "contents": [1, 4, 9, 2]}}
X = jnp.array([-0.1, 0.0, 0.5, 1.0, 2.4, 4.0, 9.9, 10.0, 10.1])
ROOT_CODES = ("code0", "code1", "code2", "code2", "code4p", "code4", "code6")


def value(functions, name, **values):
    return np.asarray(Scope(values, graph=Graph(functions))[name])


def test_a_histogram_is_its_content_in_each_bin():
    """A bin owns its lower edge, the last one its upper edge; outside is nothing."""
    for kind in ("histogram", "step"):
        found = value({"h": HISTOGRAM | {"type": kind}}, "h", x=X)
        assert found.tolist() == [0, 1, 1, 4, 4, 2, 2, 2, 0]


def test_histograms_of_two_variables_are_in_row_major_order():
    contents = list(range(12))
    spec = {"type": "histogram", "data": {"axes": [AXIS, OTHER], "contents": contents}}
    found = value(
        {"h": spec}, "h", x=jnp.array([0.5, 0.5, 3.0]), y=jnp.array([1, 3, 5])
    )
    assert found.tolist() == [0, 1, 8]


def test_steps_are_parameters():
    functions = {
        "s": {
            "type": "step",
            "variables": ["x"],
            "axes": [AXIS],
            "parameters": ["a", "b", 3.0, "f"],
        },
        "f": {"type": "product", "factors": ["a", "b"]},
    }
    found = value(functions, "s", x=X, a=2.0, b=5.0)
    assert found.tolist() == [2, 2, 2, 5, 5, 10, 10, 10, 10]


def test_steps_of_two_variables_are_ordered_as_root_does():
    """The first variable runs fastest: x has 4 bins, y 3."""
    functions = {
        "s": {
            "type": "step",
            "variables": ["x", "y"],
            "axes": [OTHER, AXIS],
            "parameters": list(range(12)),
        }
    }
    x, y = jnp.array([0.5, 1.5, 0.5, 5.0]), jnp.array([1.0, 1.0, 3.0, 5.0])
    assert value(functions, "s", x=x, y=y).tolist() == [0, 1, 4, 11]


@pytest.mark.parametrize(
    ("entries", "inverse"),
    [
        ({"type": "binvolume"}, False),
        ({"type": "inverse_binvolume"}, True),
        ({"type": "binwidth", "divideByBinWidth": True}, True),
        ({"type": "binwidth", "divideByBinWidth": False}, False),
    ],
)
def test_volumes_of_bins(entries, inverse):
    axes = [AXIS, OTHER]
    spec = {"type": "histogram", "data": {"axes": axes, "contents": [1.0] * 12}}
    functions = {"h": spec, "v": entries | {"histogram": "h"}}
    found = value(functions, "v", x=jnp.array([0.5, 2.0, 9.0]), y=jnp.array([0, 3, 5]))
    volumes = np.array([2.0, 3.0, 12.0])
    np.testing.assert_allclose(found, 1 / volumes if inverse else volumes)


def by_root(codes, nominal, low, high, alphas):
    """One parameter after the other adds its change, or multiplies."""
    total = nominal
    for code, down, up, alpha in zip(codes, low, high, alphas, strict=True):
        name = ROOT_CODES[code]
        if name in ("code1", "code4", "code6"):
            kind = "code4p" if name == "code6" else name
            total *= interpolated(1.0, down / nominal, up / nominal, alpha, kind)
        else:
            total += interpolated(nominal, down, up, alpha, name) - nominal
    return total


ALPHAS = (-2.5, -1.0, -0.3, 0.0, 0.6, 1.0, 1.8)


@pytest.mark.parametrize("code", range(7))
@pytest.mark.parametrize("kind", ["interpolation", "interpolation0d"])
def test_codes_of_interpolations(kind, code):
    """FlexibleInterpVar, `interpolation0d`, means 5 by 4."""
    spec = {
        "type": kind,
        "nom": 2.0,
        "low": [1.6],
        "high": [2.9],
        "vars": ["alpha"],
        "interpolationCodes": [code],
    }
    found = [float(value({"f": spec}, "f", alpha=alpha)) for alpha in ALPHAS]
    code = 5 if (kind, code) == ("interpolation0d", 4) else code
    wanted = [by_root([code], 2.0, [1.6], [2.9], [alpha]) for alpha in ALPHAS]
    assert found == pytest.approx(wanted, rel=1e-14)


@pytest.mark.slow
def test_a_hundred_interpolations_of_several_parameters():
    """Random histograms, codes and parameters against the loops above."""
    rng = np.random.default_rng(64)
    for _ in range(100):
        codes = rng.integers(0, 7, 3).tolist()
        nominal, low, high = rng.uniform(0.5, 3.0, (3, 3, 4))
        alphas = rng.uniform(-2.0, 2.0, 3)
        contents = {"n": nominal[0]}
        contents |= {f"l{i}": low[i] for i in range(3)}
        contents |= {f"h{i}": high[i] for i in range(3)}
        functions = {
            name: {
                "type": "histogram",
                "data": {"axes": [AXIS], "contents": numbers.tolist()},
            }
            for name, numbers in contents.items()
        }
        functions["f"] = {
            "type": "interpolation",
            "nom": "n",
            "low": ["l0", "l1", "l2"],
            "high": ["h0", "h1", "h2"],
            "vars": ["a0", "a1", "a2"],
            "interpolationCodes": codes,
            "positiveDefinite": bool(rng.integers(2)),
        }
        values = {f"a{i}": a for i, a in enumerate(alphas)}
        found = value(functions, "f", x=jnp.array([0.5, 2.0, 3.0, 7.0]), **values)
        wanted = [
            by_root(codes, nominal[0][b], low[:, b], high[:, b], alphas)
            for b in range(4)
        ]
        if functions["f"]["positiveDefinite"]:
            wanted = np.maximum(wanted, 0.0)
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)


def test_values_that_are_cut_off():
    spec = {"nom": 1.0, "low": [0.5], "high": [3.0], "vars": ["a"]}
    spec |= {"interpolationCodes": [0]}
    functions = {
        "free": spec | {"type": "interpolation"},
        "cut": spec | {"type": "interpolation", "positiveDefinite": True},
        "factor": spec | {"type": "interpolation0d"},
    }
    found = {name: float(value(functions, name, a=-4.0)) for name in functions}
    assert (found["free"], found["cut"]) == (-1.0, 0.0)
    assert 0.0 < found["factor"] < 1e-300


@pytest.mark.slow
def test_bins_of_nothing_and_templates_of_zero():
    """Nothing stays nothing; a template of 0 is the limit, with derivatives."""
    for code, nominal, down, up in itertools.product(
        (1, 5, 6), (0.0, 2.0), *[[0.0]] * 2
    ):
        spec = {
            "type": "interpolation",
            "nom": nominal,
            "low": [down],
            "high": [up],
            "vars": ["a"],
            "interpolationCodes": [code],
        }
        graph = Graph({"f": spec})

        def bound(a, graph=graph):
            return Scope({"a": a}, graph=graph)["f"]

        assert float(bound(1.0)) == pytest.approx(0.0, abs=1e-290)
        assert float(bound(0.0)) == nominal
        for alpha in (-1.5, -0.5, 0.5, 1.5):
            assert np.isfinite(jax.grad(bound)(alpha))


def test_without_codes_an_interpolation_is_linear_and_says_so():
    spec = {"type": "interpolation", "nom": 1, "low": [0], "high": [3], "vars": ["a"]}
    graph = Graph({"f": spec})
    assert float(Scope({"a": 0.5}, graph=graph)["f"]) == 2.0
    assert "code 0 is assumed" in "".join(graph.notes)


def test_weighted_sums():
    functions = {
        "all": {
            "type": "weighted_sum",
            "samples": ["a", "b"],
            "coefficients": [2, "c"],
        },
        "rest": {"type": "weighted_sum", "samples": ["a", "b"], "coefficients": ["c"]},
    }
    values = {"a": 3.0, "b": 5.0, "c": 0.25}
    assert value(functions, "all", **values) == 7.25
    assert value(functions, "rest", **values) == 4.5


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"type": "histogram"}, "'data' is missing"),
        ({"type": "histogram", "data": {"contents": [1]}}, "'axes' is missing"),
        (
            {"type": "histogram", "data": {"axes": [AXIS], "contents": [1, 2]}},
            "2 numbers, but 'f' has 4 bins",
        ),
        (
            {
                "type": "histogram",
                "data": {"axes": [{"name": "x", "min": 0, "max": 1}], "contents": [1]},
            },
            "axis 'x' has no bins",
        ),
        ({"type": "step", "variables": ["x"], "parameters": [1]}, "no 'axes'"),
        (
            {"type": "step", "variables": ["x"], "axes": [AXIS], "parameters": [1]},
            "1 parameters for 4 bins",
        ),
        (
            {"type": "step", "variables": ["z"], "axes": [AXIS], "parameters": [1]},
            "not those of its axes",
        ),
        (
            {"type": "interpolation", "nom": 1, "low": [1], "high": [], "vars": ["a"]},
            "as many 'low' and 'high'",
        ),
        (
            {
                "type": "interpolation",
                "nom": 1,
                "low": [1],
                "high": [2],
                "vars": ["a"],
                "interpolationCodes": [7],
            },
            "only 0 to 6",
        ),
        (
            {"type": "weighted_sum", "samples": [1, 2, 3], "coefficients": [1]},
            "one less",
        ),
        ({"type": "binvolume", "histogram": 3}, "must be a name"),
    ],
)
def test_definitions_that_cannot_be_used(spec, words):
    with pytest.raises(EverwillowError, match=words):
        Graph({"f": spec})


def test_a_volume_needs_bins():
    graph = Graph({"v": {"type": "binvolume", "histogram": "a"}})
    with pytest.raises(EverwillowError, match="'a' has none"):
        Scope({"a": 1.0}, graph=graph)["v"]


def density(spec, domain, functions=None, **values):
    made = Builder({"it": spec}, functions).build("it")
    return made, Scope(values, domain, graph=Graph(functions))


def test_a_histogram_density_against_scipy():
    """Contents over widths, over the part of the range that the data have."""
    contents = np.array([1.0, 4.0, 9.0, 2.0])
    wanted = scipy.stats.rv_histogram((contents, EDGES), density=False)
    spec = {
        "type": "histogram_dist",
        "data": {"axes": [AXIS], "contents": [1, 4, 9, 2]},
    }
    x = np.array([0.5, 1.7, 3.0, 8.0])
    made, scope = density(spec, {"x": (0.0, 10.0)}, x=x)
    np.testing.assert_allclose(np.exp(made.log_prob(scope)), wanted.pdf(x), rtol=1e-14)
    made, scope = density(spec, {"x": (2.0, 7.0)}, x=np.array([1.0, 2.2, 6.0]))
    inside = wanted.cdf(7.0) - wanted.cdf(2.0)
    found = np.exp(made.log_prob(scope))
    np.testing.assert_allclose(found[1:], wanted.pdf([2.2, 6.0]) / inside, rtol=1e-14)
    region = {"x": (np.array([2.0, 3.3]), np.array([3.3, 7.0]))}
    bins = np.exp(made.log_probability(scope, region))
    shares = np.diff(wanted.cdf([2.0, 3.3, 7.0])) / inside
    np.testing.assert_allclose(bins, shares, rtol=1e-14)


def test_a_histogram_density_of_two_variables():
    contents = np.arange(1.0, 13.0).reshape(4, 3)
    data = {"axes": [AXIS, OTHER], "contents": contents.ravel().tolist()}
    made, scope = density(
        {"type": "histogram_dist", "data": data},
        {"x": (0.0, 10.0), "y": (1.0, 6.0)},
        x=np.array([0.5, 9.0]),
        y=np.array([1.5, 5.0]),
    )
    inside = contents.sum() - contents[:, 0].sum() / 2
    wanted = np.array([1.0 / 2.0, 12.0 / 12.0]) / inside
    np.testing.assert_allclose(np.exp(made.log_prob(scope)), wanted, rtol=1e-14)


@pytest.mark.parametrize("contents", [[1, -1, 3, 4], [0, 0, 0, 0]])
def test_a_histogram_that_is_no_density(contents):
    spec = {"type": "histogram_dist", "data": {"axes": [AXIS], "contents": contents}}
    with pytest.raises(EverwillowError, match="not negative"):
        Builder({"it": spec}).build("it")


def test_a_weighted_sum_of_distributions_is_refused():
    specs = {
        "it": {"type": "weighted_sum_dist", "samples": ["g"], "coefficients": [1]},
        "g": {"type": "gaussian_dist", "x": "x", "mean": 0, "sigma": 1},
    }
    with pytest.raises(EverwillowError, match="'g' is a distribution"):
        Builder(specs).build("it")


DATA_EDGES = np.linspace(0.0, 10.0, 6)


def random_document(rng):
    """A weighted sum with a step in each bin of the data, and all of its formulas."""
    inner = DATA_EDGES[:-1] + rng.uniform(0.2, 1.8, 5)
    edges = np.concatenate([[0.0], inner, [10.0]])
    axis = {"name": "x", "edges": edges.tolist()}
    nominal, signal = rng.uniform(0.5, 4.0, (2, 6))
    low, high = nominal * rng.uniform(0.75, 1.25, (2, 6))
    code, mu, alpha = int(rng.integers(7)), rng.uniform(0, 3), rng.uniform(-1.5, 1.5)
    gammas = rng.uniform(0.7, 1.3, 6)
    functions = {
        name: {"type": "histogram", "data": {"axes": [axis], "contents": c.tolist()}}
        for name, c in {"n": nominal, "l": low, "u": high, "s": signal}.items()
    }
    functions |= {
        "v": {"type": "inverse_binvolume", "histogram": "s"},
        "shape": {"type": "product", "factors": ["s", "v"]},
        "g": {
            "type": "step",
            "variables": ["x"],
            "axes": [axis],
            "parameters": [f"g{i}" for i in range(6)],
        },
        "b": {"type": "product", "factors": ["morphed", "g"]},
        "morphed": {
            "type": "interpolation",
            "nom": "n",
            "low": ["l"],
            "high": ["u"],
            "vars": ["alpha"],
            "interpolationCodes": [code],
        },
    }
    values = {"mu": mu, "alpha": alpha} | {f"g{i}": g for i, g in enumerate(gammas)}
    morphed = [
        by_root([code], *args, [alpha])
        for args in zip(nominal, low[:, None], high[:, None], strict=True)
    ]
    heights = mu * signal / np.diff(edges) + np.array(morphed) * gammas
    return functions, values, edges, heights


@pytest.mark.slow
def test_two_hundred_weighted_sums_and_their_terms():
    """Counts and events, extended or not, against sums over pieces."""
    rng = np.random.default_rng(6400)
    axis = {"name": "x", "min": 0.0, "max": 10.0}
    events = rng.uniform(0.0, 10.0, 30)
    weights = rng.uniform(0.5, 2.0, 30)
    counts = rng.poisson(9.0, 5).astype(float)
    data = {
        "bins": {
            "type": "binned",
            "contents": counts.tolist(),
            "axes": [axis | {"nbins": 5}],
        },
        "events": {
            "type": "unbinned",
            "entries": events[:, None].tolist(),
            "weights": weights.tolist(),
            "axes": [axis],
        },
    }
    for _ in range(50):
        functions, values, edges, heights = random_document(rng)
        total = {"type": "weighted_sum_dist", "samples": ["shape", "b"]}
        total |= {"coefficients": ["mu", 1.0]}
        specs = {"yes": total | {"extended": True}, "no": total | {"extended": False}}
        pairs = [(name, datum) for name in specs for datum in data]
        terms = build_terms(pairs, distributions=specs, functions=functions, data=data)
        found = [float(term.nll(values, term.data)) for term in terms]
        cuts = np.sort(np.concatenate([edges, DATA_EDGES[1:-1]]))
        at = heights[np.searchsorted(edges, (cuts[1:] + cuts[:-1]) / 2) - 1]
        owner = np.searchsorted(DATA_EDGES, (cuts[1:] + cuts[:-1]) / 2) - 1
        rates = np.bincount(owner, at * np.diff(cuts), 5)
        intensity = heights[np.searchsorted(edges, events) - 1]
        shape = -np.sum(weights * np.log(intensity / rates.sum()))
        wanted = [
            -scipy.stats.poisson.logpmf(counts, rates).sum(),
            rates.sum() - np.sum(weights * np.log(intensity)),
            -scipy.stats.multinomial.logpmf(
                counts, int(counts.sum()), rates / rates.sum()
            ),
            shape,
        ]
        assert found == pytest.approx(wanted, rel=1e-12)


def test_a_function_of_bins_scales_no_sample():
    axes = [{"name": "x", "min": 0.0, "max": 2.0, "nbins": 2}]
    function = {"name": "f", "type": "histogram"}
    function |= {"data": {"axes": axes, "contents": [1.0, 2.0]}}
    made = channel("SR", sample("b", [5.0, 6.0], modifier("custom", name="f"), MU))
    with pytest.raises(EverwillowError, match="cannot scale a whole sample"):
        read_spec(document(made, functions=[function]))
