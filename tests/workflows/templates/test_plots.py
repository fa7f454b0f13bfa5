"""What is drawn of results: read back from the figures."""

import numpy as np
import pytest


pytest.importorskip("matplotlib")

from everwillow.likelihood.histograms import Axis
from everwillow.plotting import cross_section
from everwillow.workflows.report import FitSummary, Parameters
from everwillow.workflows.templates.files import read_record, write_record
from everwillow.workflows.templates.plots import result_figures
from everwillow.workflows.templates.results import (
    Expectation,
    HistogramResult,
    MappingOutcome,
    TemplateResults,
    Variations,
)


DATA = np.array([1.3, 0.7, 1.1])
BEFORE = Expectation(np.array([1.0, 1.0, 1.0]), np.array([0.3, 0.3, 0.3]))
AFTER = Expectation(np.array([1.2, 0.8, 1.05]), np.array([0.1, 0.1, 0.1]))
MOVED = Variations(("r",), AFTER.values[None] + 0.1, AFTER.values[None] - 0.2)


def results(data):
    """Return results with one mapping that has no processes, such as a ratio."""
    one, no = np.ones(1), np.zeros(1, bool)
    ratio = HistogramResult(
        axes=(Axis("x", edges=(0.0, 1.0, 2.0, 4.0)),),
        process_names=(),
        prefit=BEFORE,
        postfit=AFTER,
        data=data,
        data_errors=None if data is None else np.full(3, 0.2),
        quantity="Ratio",
        postfit_variations=MOVED,
    )
    return TemplateResults(
        data="data",
        likelihood="poisson",
        made_by="",
        parameters=Parameters(("r",), one, one, one, np.nan * one, ~no, no, no, no, no),
        fit=FitSummary(True, "", 0.0, 0.0, 1),
        channels={},
        mappings={"Ratio a b": MappingOutcome("Ratio a b", {"values": ratio})},
    )


@pytest.mark.parametrize(
    ("data", "points", "ratio"),
    [(DATA, DATA, "Pred. − Data"), (None, AFTER.values, "Pred. − Post-fit")],
)
def test_data_are_points_where_there_are_any(data, points, ratio):
    (name, figure), (other, moved) = result_figures(results(data))
    assert name == "mapping_Ratio a b_postfit"
    assert other == "mapping_Ratio a b_postfit_variations"
    panel, below = figure.axes
    assert panel.get_ylabel() == "Ratio"
    lines = [p for p in moved.axes[1].patches if not p.get_fill()]
    for line, values in zip(lines, (MOVED.up, MOVED.down), strict=True):
        away = values[0] - AFTER.values
        np.testing.assert_allclose(line.get_data().values, away)
    np.testing.assert_array_equal(panel.containers[0].lines[0].get_ydata(), points)
    legend = {text.get_text() for text in panel.get_legend().get_texts()}
    assert legend == {"Pre-fit", "Post-fit"} | ({"Data"} if data is not None else set())
    assert below.get_ylabel() == ratio


def test_titles_of_axes_are_written(tmp_path):
    h5py = pytest.importorskip("h5py")
    axes = (
        Axis("m", edges=(0.0, 1.0, 2.0, 4.0), title="Mass [GeV]"),
        Axis("k", labels=(1,)),
    )
    values = np.ones((3, 1))
    before = HistogramResult(axes, (), Expectation(values, values))
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        write_record(file, before, h5py.string_dtype())
        after = read_record(file, HistogramResult)
    assert [axis.title for axis in after.axes] == ["Mass [GeV]", ""]
    options = {"values": [1.0, 2.0, 3.0], "errors": [1.0, 1.0, 1.0]}
    figure = cross_section(axes=after.axes[:1], **options)
    assert figure.axes[-1].get_xlabel() == "Mass [GeV]"
    figure = cross_section(axes=after.axes[:1], **options, labels={"m": "M"})
    assert figure.axes[-1].get_xlabel() == "M"
    wide = (Axis("k", labels=(1, 2), title="Kind"), after.axes[0])
    figure = cross_section(axes=wide, values=np.ones((2, 3)), errors=np.ones((2, 3)))
    assert figure.axes[-1].get_xlabel() == "Bins of Mass [GeV], in Kind"
