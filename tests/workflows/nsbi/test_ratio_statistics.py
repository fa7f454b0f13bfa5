"""Errors from the statistics of density ratios, against fits with other ratios."""

import dataclasses

import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import ArgumentValueError
from everwillow.models.nsbi import NsbiModel
from everwillow.workflows.nsbi.ratio_statistics import ratio_errors
from tests.models.nsbi import analytic


MEMBERS = 4


def sample(rng, points):
    """Events drawn from the reference density, with a systematic."""
    name = rng.choice(list(analytic.SAMPLES), points)
    x = np.where(
        name == "signal",
        rng.normal(*analytic.SAMPLES["signal"], points),
        rng.normal(*analytic.SAMPLES["background"], points),
    )
    return x, analytic.events(x, np.ones(points))


def spec_with_members():
    rng = np.random.default_rng(8)
    x, width = analytic.grid(301)
    observed = analytic.events(x, analytic.mixture(x) * width)
    x_reference, reference = sample(rng, 600)
    # Networks that are off by tilts below a per mille, the same for all events.
    tilts = 0.0005 * rng.normal(size=MEMBERS)
    tilts -= tilts.mean()

    def with_members(events, x):
        nominal = events.ratios["background"]
        change = events.variations["signal", "scale"].up
        members = {
            ("background", "", ""): tuple(nominal * (1 + t * x) for t in tilts),
            ("signal", "scale", "up"): tuple(change * (1 - t * x) for t in tilts),
        }
        return dataclasses.replace(events, members=members)

    return analytic.spec(
        with_members(observed, x), with_members(reference, x_reference)
    )


def with_member(spec, number):
    """The specification with one network of both ensembles in place of the mean."""

    def changed(events, key):
        sample_name, parameter, _ = key
        values = events.members[key][number]
        if not parameter:
            ratios = {**events.ratios, sample_name: values}
            return dataclasses.replace(events, ratios=ratios)
        change = events.variations[sample_name, parameter]._replace(up=values)
        variations = {**events.variations, (sample_name, parameter): change}
        return dataclasses.replace(events, variations=variations)

    (region,) = spec.unbinned
    for key in region.events.members:
        yield dataclasses.replace(
            spec,
            unbinned=(
                dataclasses.replace(
                    region,
                    events=changed(region.events, key),
                    reference=changed(region.reference, key),
                ),
            ),
        )


@pytest.fixture(scope="module")
def fitted():
    spec = spec_with_members()
    model = NsbiModel.from_spec(spec)
    return spec, model, ew.fit(model)


@pytest.mark.slow
def test_ensembles_move_the_fit_as_refits_do(fitted):
    spec, model, result = fitted
    found = ratio_errors(model, result, samples=2)
    expected = 0.0
    for each in zip(*(with_member(spec, k) for k in range(MEMBERS)), strict=True):
        fits = [ew.fit(NsbiModel.from_spec(one)).params for one in each]
        shifts = [[float(params[name]) for name in found.labels] for params in fits]
        expected = expected + np.cov(np.array(shifts).T)
    np.testing.assert_allclose(found.ensemble, expected, rtol=0.02)
    assert found.ensemble[0, 0] > 0
    independent = ratio_errors(model, result, ensemble="independent", samples=2)
    np.testing.assert_allclose(independent.ensemble, found.ensemble / MEMBERS)


@pytest.mark.slow
def test_resampling_the_reference_is_what_other_reference_samples_do(fitted):
    spec, model, result = fitted
    found = ratio_errors(model, result, samples=300)
    (region,) = spec.unbinned
    shifts = []
    for seed in range(60):
        _, other = sample(np.random.default_rng(100 + seed), 600)
        changed = dataclasses.replace(region, reference=other)
        one = NsbiModel.from_spec(dataclasses.replace(spec, unbinned=(changed,)))
        params = ew.fit(one).params
        shifts.append([float(params[name]) for name in found.labels])
    expected = np.sqrt(np.diagonal(np.cov(np.array(shifts).T)))
    # 60 samples give the standard deviation to 9 %.
    np.testing.assert_allclose(
        np.sqrt(np.diagonal(found.reference)), expected, rtol=0.3
    )
    errors = found.errors
    for place, name in enumerate(found.labels):
        parts = found.fit + found.ensemble + found.reference
        np.testing.assert_allclose(errors[name] ** 2, parts[place, place])
    assert str(found).splitlines()[0].split() == [
        "parameter",
        "fit",
        "networks",
        "reference",
        "total",
    ]


@pytest.mark.slow
def test_without_normalisation_the_reference_has_no_part(fitted):
    spec, _, _ = fitted
    model = NsbiModel.from_spec(spec, normalize=False)
    result = ew.fit(model)
    found = ratio_errors(model, result)
    assert not found.reference.any()


@pytest.mark.slow
def test_equal_weights_of_the_reference_change_nothing(fitted):
    _, model, _ = fitted
    same = model.with_reference_weights({"SR": np.full(600, 1 / 600)})
    params = {"mu": 1.2, "scale": 0.4}
    np.testing.assert_allclose(same.nll(params), model.nll(params), rtol=1e-14)
    other = model.with_reference_weights({"SR": np.linspace(0, 2 / 600, 600)})
    assert abs(float(other.nll(params) - model.nll(params))) > 1e-3


@pytest.mark.slow
def test_a_fit_without_covariance_is_refused(fitted):
    _, model, result = fitted
    broken = dataclasses.replace(result, hessian=None)
    with pytest.raises(ArgumentValueError, match="with a covariance"):
        ratio_errors(model, broken)
