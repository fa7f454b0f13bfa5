"""The shift of results by the noise of templates, against fits to noisy templates."""

import dataclasses

import numpy as np
import pytest

from everwillow.models.scale_smearing import Categories, Region, SasModel, SasSpec
from everwillow.models.scale_smearing.regions import RegionTable
from everwillow.workflows.scale_smearing.regional_fit import bias_notes, fit_regions


EVENTS, RATIO, TOYS = 20_000, 1.0, 80
VARIANCE = 0.015**2


@pytest.fixture(scope="module")
def spec():
    """One region with Asimov data and a template without noise."""
    masses = np.arange(70.05, 110, 0.1)
    shape = 1 / (1 + ((masses - 91.2) / 2) ** 2)
    template = RATIO * EVENTS * shape / shape.sum()
    edges = np.linspace(80, 100, 21)
    region = Region((0, 0), edges, np.full(20, EVENTS / 20), template, template)
    made = SasSpec(Categories.of({"x": [0, 1]}), masses, (region,))
    model = SasModel.from_spec(made, starts={"reso": np.array([VARIANCE**0.5])})
    counts = np.asarray(model.expected(model.state.to_pytree()))
    return dataclasses.replace(
        made, regions=(dataclasses.replace(region, counts=counts),)
    )


def fitted(spec, template):
    region = dataclasses.replace(spec.regions[0], template=template, variances=template)
    noisy = dataclasses.replace(spec, regions=(region,))
    return fit_regions(RegionTable(noisy, ("fitted",), (), (0, 0)))


@pytest.mark.slow
def test_fits_to_noisy_templates_are_shifted_as_estimated(spec):
    rng = np.random.default_rng(3)
    template = spec.regions[0].template
    shifts, estimates, errors = [], [], []
    for _ in range(TOYS):
        fit = fitted(spec, rng.poisson(template).astype(float))
        place = fit.model.places("var")[0]
        shifts.append(fit.vector[place] - VARIANCE)
        estimates.append(fit.simulation_bias()[place])
        errors.append(np.sqrt(fit.simulation_covariance()[place, place]))
    mean, spread = np.mean(shifts), np.std(shifts)
    # The covariance from simulation is that of the fits, and the mean is shifted up.
    assert spread == pytest.approx(np.mean(errors), rel=0.25)
    assert mean == pytest.approx(np.mean(estimates), abs=3 * spread / np.sqrt(TOYS))
    assert np.mean(estimates) > 0


def test_without_noise_there_is_no_shift(spec):
    region = spec.regions[0]
    still = dataclasses.replace(region, variances=np.zeros(region.variances.size))
    table = RegionTable(
        dataclasses.replace(spec, regions=(still,)), ("fitted",), (), (0, 0)
    )
    fit = fit_regions(table)
    assert not np.any(fit.simulation_bias())
    np.testing.assert_allclose(fit.vector[fit.model.places("var")[0]], VARIANCE)


def test_large_shifts_are_told():
    bias = np.array([1e-4, -6e-4, np.nan])
    (text,) = bias_notes(bias, np.full(3, 1e-3), "resolutions")
    assert "up to 0.6 of their error (category 1)" in text
    assert bias_notes(bias, np.full(3, 1e-2), "resolutions") == []
