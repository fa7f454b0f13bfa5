"""Observables that are categories, and densities of events with steps."""

import jax
import numpy as np
import pytest

from everwillow._errors import EverwillowError
from everwillow.models.hs3 import read_spec
from everwillow.models.hs3.terms import build_terms
from tests.models.hs3.documents import MU, channel, document, sample


REGIONS = {"name": "region", "categories": ["SR", "CR", "VR"]}
AXIS = {"name": "x", "min": 0.0, "max": 4.0}
SIGNAL = [[3.0, 1.0], [0.2, 0.4], [0.5, 0.5]]
FUNCTIONS = {
    "s": {
        "type": "histogram",
        "data": {
            "axes": [REGIONS, AXIS | {"nbins": 2}],
            "contents": [v for row in SIGNAL for v in row],
        },
    },
    "b": {
        "type": "step",
        "variables": ["region"],
        "axes": [REGIONS],
        "parameters": ["k0", 2.0, 1.0],
    },
}
MODEL = {
    "model": {
        "type": "weighted_sum_dist",
        "samples": ["s", "b"],
        "coefficients": ["mu", 1.5],
        "extended": True,
    }
}
EVENTS = [["SR", 0.5], ["SR", 3.1], [1, 2.5], ["VR", 1.0]]
DATA = {
    "events": {"type": "unbinned", "entries": EVENTS, "axes": [REGIONS, AXIS]},
    "counts": {
        "type": "binned",
        "contents": [7, 6, 5, 5, 4, 2],
        "axes": [REGIONS, AXIS | {"nbins": 2}],
    },
}
VALUES = {"mu": 1.2, "k0": 0.7}
HEIGHTS = 1.2 * np.array(SIGNAL) + 1.5 * np.array([[0.7], [2.0], [1.0]])


def terms():
    pairs = [("model", name) for name in DATA]
    return build_terms(pairs, distributions=MODEL, functions=FUNCTIONS, data=DATA)


@pytest.mark.slow
def test_a_category_counts_as_a_sum():
    """The rate is a sum over categories of integrals over the other observable."""
    events, counts = terms()
    seen = HEIGHTS[[0, 0, 1, 2], [0, 1, 1, 0]]
    wanted = 2.0 * HEIGHTS.sum() - np.log(seen).sum()
    assert float(events.nll(VALUES, events.data)) == pytest.approx(wanted, rel=1e-13)
    expected = counts.expected(VALUES)
    np.testing.assert_allclose(expected, 2.0 * HEIGHTS.ravel(), rtol=1e-13)


@pytest.mark.slow
def test_asimov_data_and_toys_have_whole_categories():
    events, _ = terms()
    asimov = events.expected(VALUES)
    assert set(np.asarray(asimov["entries"][:, 0])) == {0.0, 1.0, 2.0}
    assert float(asimov["weights"].sum()) == pytest.approx(2.0 * HEIGHTS.sum())
    toy = events.sample(VALUES, jax.random.key(1))
    assert set(np.asarray(toy["entries"][:, 0])) <= {0.0, 1.0, 2.0}


@pytest.mark.slow
def test_the_slope_of_asimov_data_vanishes_at_the_truth():
    """Also where steps of the density are no edges of equal panels."""
    axis = {"name": "x", "edges": [0.0, 0.777, 1.9, 4.0]}
    functions = {
        "s": {"type": "histogram", "data": {"axes": [axis], "contents": [1, 5, 2]}},
        "b": {"type": "polynomial", "x": "x", "coefficients": [1.0, "slope"]},
    }
    data = {"events": {"type": "unbinned", "entries": [[1.0]], "axes": [AXIS]}}
    (term,) = build_terms(
        [("model", "events")],
        distributions={"model": MODEL["model"] | {"coefficients": ["mu", 3.0]}},
        functions=functions,
        data=data,
    )
    truth = {"mu": 0.8, "slope": 0.3}
    asimov = term.expected(truth)
    slope = jax.grad(lambda values: term.nll(values, asimov))(
        {name: np.float64(value) for name, value in truth.items()}
    )
    assert max(abs(float(s)) for s in slope.values()) < 1e-11
    whole = 0.8 * (0.777 + 5 * 1.123 + 2 * 2.1) + 3.0 * (4.0 + 0.3 * 8.0)
    assert float(asimov["weights"].sum()) == pytest.approx(whole, rel=1e-13)


@pytest.mark.parametrize("entry", [["XR", 0.5], [3, 0.5], [0.5, 0.5], ["SR"]])
def test_entries_that_are_no_category(entry):
    data = {"events": DATA["events"] | {"entries": [entry]}}
    with pytest.raises(EverwillowError, match=r"category|coordinates"):
        build_terms(
            [("model", "events")], distributions=MODEL, functions=FUNCTIONS, data=data
        )


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_categories_that_are_none(names):
    made = channel("SR", sample("b", [5.0, 6.0], MU))
    made["axes"] = [{"name": "r", "categories": names}]
    with pytest.raises(EverwillowError, match="different names"):
        read_spec(document(made))


def test_channels_and_domains_with_categories():
    """A histfactory distribution has a bin for each of them."""
    made = channel("SR", sample("b", [5.0, 6.0, 7.0], MU), axes=[REGIONS])
    given = document(made)
    given["domains"][0]["axes"].append(REGIONS)
    spec = read_spec(given)
    assert spec.channels[0].observed.tolist() == [5.0, 6.0, 7.0]
    short = channel("SR", sample("b", [5.0, 6.0], MU), axes=[REGIONS])
    with pytest.raises(EverwillowError, match="3 bins"):
        read_spec(document(short))
