"""Zeros in every place of a template fit: yields, variances, data, whole processes.

A number of 0 is the limit of small ones, so predictions and their derivatives at 0 are
those at next to 0.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow.mappings import Identity, Select, postfit, residual_chi2
from everwillow.models.templates import TemplateBuilder


BINS = 4
KINDS = [
    ("gamma", False),
    ("gamma", True),
    ("normal", False),
    ("normal", True),
    ("additive", False),
    ("additive", True),
    (None, False),
]
# Next to nothing, relative to the numbers beside it.
TINY = 1e-11


def made(yields, variances, data, **options):
    """Return a model of a signal, two backgrounds, and what data are there."""
    builder = TemplateBuilder()
    builder.add_channel([("x", np.arange(len(data) + 1.0))], "c")
    names = ("s", "a", "b")
    for name, values, squares in zip(names, yields, variances, strict=True):
        signal = name == "s"
        builder.add_process(values, name, "c", signal=signal, variances=squares)
    builder.add_norm_systematic("u", ["a", "b"], "c", 1.1)
    builder.add_data(data, "c")
    return builder.build(**options)


def drawn(seed):
    """Return yields, variances and data with zeros in some places.

    A full bin and one with a zero yield in each process keep the arrays of one size.
    """
    rng = np.random.default_rng(seed)
    yields = rng.uniform(5, 60, (3, BINS)).round(1)
    variances = yields * rng.uniform(0.2, 2.0, (3, BINS))
    data = rng.poisson(yields.sum(0)).astype(float)
    inner = slice(1, None)
    variances[:, inner] *= rng.random((3, BINS - 1)) < 0.6
    yields[:, inner] *= rng.random((3, BINS - 1)) < 0.7
    data[inner] *= rng.random(BINS - 1) < 0.7
    if seed % 5 == 0:
        variances[seed % 3] = 0
    if seed % 7 == 0:
        yields[:, -1] = variances[:, -1] = data[-1] = 0
    if seed % 11 == 0:
        variances[:] = 0
    return yields, variances, data


def possible(yields, variances, data, kind):
    """Leave no data where nothing is expected, and no variances of no yield.

    The latter count with additive statistics only.
    """
    alone = kind == "additive"
    variances = variances if alone else np.where(yields > 0, variances, 0)
    there = (yields > 0) | ((variances > 0) & alone)
    return yields, variances, np.where(there.any(0), data, 0)


def arrays_of(model):
    """Return all numbers of a model in a list, and their structure."""
    return jax.tree.flatten(model.bare)


def slopes(model, params, data):
    """Return predictions, and derivatives by parameters and fluctuations."""
    names, vector = list(params), jnp.array(list(params.values()))
    size = len(names)

    def fn(both):
        tree = dict(zip(names, both[:size], strict=True))
        return jnp.sum(model.predicted(tree, data, both[size:]).values, 0)

    both = jnp.concatenate([vector, jnp.zeros(model.fluctuations)])
    return fn(both), jax.jacfwd(fn)(both), jax.jacrev(fn)(both)


@pytest.mark.parametrize(("kind", "per_process"), KINDS)
def test_derivatives_of_predictions(kind, per_process):
    """Both modes agree, are numbers, and have no jump at a variance of 0."""
    compiled, structures = jax.jit(slopes), set()
    for seed in range(32):
        yields, variances, data = possible(*drawn(seed), kind)
        options = {"statistics": kind, "per_process": per_process}
        params = {"s": 1.0 + 0.2 * (seed % 3), "u": 0.3}
        # With one factor for a bin exact templates beside others do not follow it.
        exact = (variances == 0) & (per_process | (variances == 0).all(0))
        found = []
        for small in (0.0, TINY):
            more = np.where(exact & (yields > 0), small, 0)
            model = made(yields, variances + more, data, **options)
            structures.add(jax.tree.structure(model.bare))
            found.append(compiled(model.bare, params, model.observation))
        value, forward, reverse = found[0]
        assert np.isfinite(value).all()
        np.testing.assert_allclose(forward, reverse, rtol=1e-9, atol=1e-9)
        for at_zero, near in zip(found[0], found[1], strict=True):
            np.testing.assert_allclose(at_zero, near, rtol=1e-4, atol=1e-4)
    # One program for nearly all of them: zeros are numbers.
    assert len(structures) <= 2


def pearson(model, result):
    """Return Pearson's chi2 with all squared pulls, in NumPy, and what is measured."""
    observation, known = model.observation, model.terms.statistics
    counts = observation["main"]["counts"]
    expected = np.asarray(model.yields(result.params, observation).values.sum(0))
    there = expected > 0
    total = np.sum((counts - expected)[there] ** 2 / expected[there])
    total += result.params["u"] ** 2
    if known.kind is not None:
        values = jnp.array(list(map(float, result.params.values())))
        beta = np.asarray(model.terms.at(values, observation["main"])[1].beta)
        spread = np.asarray(known.variance_at(beta))
        loose = spread > 0
        away = (beta - np.asarray(known.nominal))[loose]
        total += np.sum(away**2 / spread[loose])
    return total


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "per_process"), KINDS)
def test_fits(kind, per_process):
    """Errors are numbers, and the chi2 of all bins is that of Pearson with pulls."""
    options, failed = {"statistics": kind, "per_process": per_process}, 0
    for seed in range(40):
        yields, variances, data = possible(*drawn(seed), kind)
        model = made(yields, variances, data, **options)
        result = ew.fit(model, throw=False)
        if not result.success:
            failed += 1
            continue
        errors = postfit(Identity(), model, result).errors["c"]
        # Bins of what is held at 0 alone have no error by convention.
        some = yields[1:].any(0) | ~yields.any(0) | ~np.any(result.at_bound)
        assert np.isfinite(errors[some]).all()
        found = residual_chi2(Select("c"), model, result)
        yields_there = model.yields(result.params, model.observation)
        expected = np.asarray(yields_there.values).sum(0)
        if kind in ("gamma", None):
            held = int(np.sum(np.asarray(result.at_bound)))
            free = sum(name == "s" for name in result.labels) - held
            assert float(found.ndof) == np.sum(expected > 1e-9) - free
            np.testing.assert_allclose(
                found.statistic, pearson(model, result), rtol=1e-6, atol=1e-6
            )
        else:
            # An empty bin that samples hold at 0 has no residual to tell its pull.
            assert found.statistic <= pearson(model, result) * (1 + 1e-6)
        assert np.isfinite([found.statistic, found.ndof]).all()
    assert failed <= 4
