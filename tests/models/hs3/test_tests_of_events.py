"""Limits and significances of documents with unbinned data.

The Asimov data of such a term are a grid of weighted events. The truth is the same
document with counts in fine bins, and fits of both data sets one by one.
"""

import functools as ft

import numpy as np
import pytest

import everwillow as ew
from everwillow.hypotest.formulas import expected_cls, qtilde_log_cls
from everwillow.models.hs3 import load
from tests.models.hs3.documents import peak_over_flat


BINS = 400


@ft.cache
def events():
    rng = np.random.default_rng(3)
    return np.concatenate([rng.uniform(0.0, 10.0, 30), rng.normal(5.0, 0.7, 7)])


def unbinned():
    entries = [[float(x)] for x in events()]
    return peak_over_flat({"type": "unbinned", "entries": entries})


def binned():
    contents, _ = np.histogram(events(), BINS, (0.0, 10.0))
    return peak_over_flat({"type": "binned", "contents": contents.tolist()})


def numbers(limits):
    return np.array([limits.observed, *(value for _, value in limits.expected)])


def q_by_hand(model, observation, mu):
    held, free = (
        float(ew.fit(model, observation=observation, fixed=fixed).nll)
        for fixed in ({"mu": mu}, {})
    )
    return 2 * (held - free)


@pytest.mark.slow
def test_limits_are_those_of_fine_bins():
    fine, single = load(binned()), load(unbinned())
    shapes = [
        single.asimov(single.state)["main"]["spectrum"]["entries"].shape,
        single.observation["main"]["spectrum"]["entries"].shape,
    ]
    assert shapes == [(1024, 1), (37, 1)]
    for nuisances in ("a posteriori", "a priori"):
        found = numbers(ew.limits(single, nuisances=nuisances))
        wanted = numbers(ew.limits(fine, nuisances=nuisances))
        # The bins move the data, hence the observed limits.
        np.testing.assert_allclose(found[0], wanted[0], rtol=3e-3)
        np.testing.assert_allclose(found[1:], wanted[1:], rtol=1e-4)
    found, wanted = (ew.discovery(model, "mu") for model in (single, fine))
    assert found.significance == pytest.approx(wanted.significance, rel=3e-3)
    assert found.expected == pytest.approx(wanted.expected, rel=1e-4)


@pytest.mark.slow
def test_limits_by_hand():
    model = load(unbinned())
    limits = ew.limits(model)
    asimov = model.asimov(ew.fit(model, fixed={"mu": 0.0}).params)
    median = q_by_hand(model, asimov, float(limits.expected.median))
    assert expected_cls(median).median == pytest.approx(0.05, abs=1e-6)
    data = model.observation, asimov
    tests = [q_by_hand(model, one, float(limits.observed)) for one in data]
    assert np.exp(qtilde_log_cls(*tests)) == pytest.approx(0.05, abs=1e-6)
