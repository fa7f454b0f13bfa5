"""An auxiliary measurement is one, however it is written and wherever it stands."""

import jax
import numpy as np
import pytest

from everwillow.model.constraint_terms import expected_aux, sampled_aux
from everwillow.models.hs3 import load
from tests.models.hs3 import constraint_documents as documents


POINT = {"mu": 1.3, "a": 0.4, "b": -0.3, "g": 0.95, "k": 1.1}


def check(seed):
    """Compare a document with -ln L by hand, and Asimov data and toys of it."""
    made, truth, parts = documents.write(np.random.default_rng(seed))
    model = load(made)
    assert set(model.state) <= set(POINT)  # what was observed is no parameter
    point = {name: POINT[name] for name in model.state}
    main = documents.main_nll(parts, POINT)
    aux = documents.constraint_nll(truth, POINT)
    assert float(model.nll(point)) == pytest.approx(main + aux, rel=1e-10)
    assert float(model.constraint_nll(point)) == pytest.approx(aux, abs=1e-10)
    found = {getattr(c, "keys", (n,)): n for n, c in model.constraints.items()}
    assert {frozenset(names) for names in found} == {frozenset(n) for n in truth}
    moved = expected_aux(model.constraints, point)
    toy = sampled_aux(model.constraints, point, jax.random.key(seed))
    for names, (density, measured) in truth.items():
        (own,) = [one for one in found if set(one) == set(names)]
        order = [names.index(one) for one in own]
        name, scale = found[own], density if names == ("g",) else 1.0
        data = np.squeeze(np.array(measured)[order])
        np.testing.assert_allclose(model.observation["aux"][name], data, rtol=1e-12)
        wanted = np.squeeze([POINT[one] for one in own]) * scale
        np.testing.assert_allclose(moved[name], wanted, rtol=1e-12)
        if names == ("g",):
            assert fluctuates(model.constraints[name], point["g"], data, seed)
        else:
            assert np.all(np.abs(toy[name] - data) > 1e-6)


def fluctuates(constraint, value, data, seed):
    """Return whether counts differ from the observed one, which may be by chance.

    So many of a mean of 20 or more all agree with it once in 10^50 times.
    """
    counts = constraint.sample(np.full(50, value), jax.random.key(seed))
    return np.any(np.abs(counts - data) > 1e-6)


@pytest.mark.parametrize("block", range(10))
def test_constraints_in_all_ways_and_places(block):
    """Each is counted once and moves, and nothing else of the document changes."""
    for seed in range(20 * block, 20 * block + 20):
        check(seed)


def _blocks():
    for block in range(10, 60):
        yield pytest.param(block, marks=[pytest.mark.exhaustive] if block >= 20 else [])


@pytest.mark.slow
@pytest.mark.parametrize("block", list(_blocks()))
def test_more_constraints_in_all_ways_and_places(block):
    for seed in range(50 * block, 50 * block + 50):
        check(seed)
