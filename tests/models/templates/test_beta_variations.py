"""Fluctuations of simulated samples that fill fitted and masked bins."""

import jax.numpy as jnp
import numpy as np
import pytest

from everwillow.models.templates import TemplateBuilder
from everwillow.models.templates.model import TemplateModel


def booked(change, *, systematic_type="log_normal"):
    out = TemplateBuilder(systematic_type)
    out.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
    out.add_channel([], "gen", masked=True)
    out.add_process([100.0, 0.0], "w", "ch0", signal=True, variances=[100.0, 0.0])
    out.add_process([50.0, 40.0], "flat", "ch0", variances=[0.0, 0.0])
    out.add_process(8.0, "w", "gen", signal=True, variances=0.0)
    out.add_norm_systematic("lumi", "w", "gen", 1.1)
    out.add_beta_variations(np.array(change), "w", "ch0", "gen")
    out.add_data([150.0, 40.0], "ch0")
    return out.spec()


@pytest.mark.parametrize("systematic_type", ["log_normal", "normal"])
@pytest.mark.parametrize("statistics", ["normal", "additive"])
def test_rates_and_systematics_act_on_what_moves(systematic_type, statistics):
    spec = booked([3.0, 0.0], systematic_type=systematic_type)
    model = TemplateModel.from_spec(spec, statistics=statistics, per_process=True)
    # The sample is known to 10 %, and moves up by that.
    normals = np.zeros(model.fluctuations)
    normals[0] = 1.0
    for strength, lumi in [(1.0, 0.0), (2.0, 0.0), (2.0, 1.0)]:
        params = {"lumi": lumi, "w": strength}
        plain = model.predicted(params)
        moved = model.predicted(params, None, jnp.asarray(normals))
        share = 0.1
        if statistics == "additive":
            # √V events, whatever the strength is.
            share /= strength
        np.testing.assert_allclose(
            moved["ch0"] - plain["ch0"], [share * 100 * strength, 0.0], rtol=1e-12
        )
        expected = plain["gen"] * (1 + share * 3.0 / 8.0)
        np.testing.assert_allclose(moved["gen"], expected, rtol=1e-12)


def test_entries_without_a_yield_are_said():
    assert not any("Beta variations" in text for text in booked([3.0, 0.0]).report)
    report = booked([3.0, 5.0]).report
    assert any("from 'ch0' to 'gen': 1 entries are for bins" in text for text in report)
