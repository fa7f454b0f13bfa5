"""What a run makes of its start values: Asimov data, and numbers before the fit."""

import numpy as np
import pytest

from everwillow.mappings import Custom
from everwillow.models.templates import TemplateBuilder
from everwillow.workflows.templates import run


S, K = np.array([20.0, 60, 40, 10]), np.array([200.0, 180, 160, 140])


def booked():
    builder = TemplateBuilder()
    builder.add_channel([("x", np.arange(5.0))], "c")
    builder.add_process(S, "s", "c", signal=True, variances=0 * S)
    builder.add_process(K, "b", "c", variances=0 * K)
    builder.add_norm_systematic("u", "b", "c", 1.1)
    return builder


def spec():
    builder = booked()
    builder.add_data(1.3 * S + K, "c")
    return builder.spec()


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"fixed": {"u": 0.5}}])
def test_a_fit_of_asimov_data_ends_where_they_were_made(options):
    """Auxiliary data move along: s was 2.188, with u between 0 and 1."""
    start = {"s": 2.0, **({} if options else {"u": 1.0})}
    found = run(spec(), data="asimov", starts=start, **options)
    for name, value in start.items():
        assert found.parameters.by_name[name] == pytest.approx(value, abs=1e-6)
    assert found.fit.saturated.statistic == pytest.approx(0, abs=1e-6)


def cross_section(params, yields):
    del yields
    return 48.6 * params["s"]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"fixed": {"s": 1.0}}])
def test_a_custom_mapping_does_not_tell_a_hidden_number(options):
    """Before the fit it is that of the start value, not of the hidden scale."""
    mapping = Custom(cross_section, name="xsec")
    found = run(spec(), blind=True, mappings=[mapping], **options)
    histogram = found.mappings["xsec"].histograms["values"]
    assert float(histogram.prefit.values) == pytest.approx(48.6, rel=1e-12)
    assert histogram.postfit is None


def test_data_bring_their_variances():
    """A histogram of weighted data is fitted with its variances."""
    hist = pytest.importorskip("hist")
    filled = hist.Hist(hist.axis.Variable(np.arange(5.0), name="x"), storage="weight")
    filled.view().value, filled.view().variance = S + K, 3 * K
    builder = booked()
    builder.add_data(filled, "c")
    model = builder.build(likelihood="chi2")
    np.testing.assert_array_equal(model.terms.term.variance, 3 * K)
    counted = hist.Hist(hist.axis.Variable(np.arange(5.0), name="x"))
    counted.view()[...] = S + K
    builder = booked()
    builder.add_data(counted, "c")
    assert builder.spec().observed_variance is None
