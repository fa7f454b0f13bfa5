"""Figures of results are those of the plots, with numbers from files."""

import dataclasses
import json

import numpy as np
import pytest


pytest.importorskip("matplotlib")

import everwillow as ew
from everwillow.models.scale_smearing import parameters_from_json, parameters_to_json
from everwillow.workflows import scale_smearing as workflow
from tests.workflows.scale_smearing import results


SAME = np.testing.assert_array_equal
STYLE = {"font.sans-serif": ["DejaVu Sans"], "mathtext.fontset": "dejavusans"}


@pytest.fixture
def nominal():
    return parameters_from_json(results.nominal())


def heights(axes):
    """Return the heights of all points with errors."""
    found = [c[0].get_ydata() for c in axes.containers if c[0] is not None]
    return np.concatenate([one for one in found if len(one)])


def large(categories, seed=3):
    """Return a result of many categories."""
    rng = np.random.default_rng(seed)
    size = int(np.prod([len(edges) - 1 for edges in categories.values()]))
    names = ("resp", "reso", "eresp", "ereso")
    return {
        "categories": categories,
        **{name: rng.uniform(0.9, 1.1, size).tolist() for name in names},
    }


def test_files_records_and_contents_give_the_same_figure(tmp_path, nominal):
    file = tmp_path / "result.json"
    parameters_to_json(nominal, file)
    (other,) = workflow.plot_results(str(file))
    for source in (nominal, results.nominal(), file):
        (figure,) = workflow.plot_results(source)
        for axes, one in zip(figure.axes, other.axes, strict=True):
            SAME(heights(axes), heights(one))
    # Series are bins of R9, infinite ones in the file as ±9999.
    resp = np.reshape(results.nominal()["resp"], (4, 2))
    SAME(heights(other.axes[0]), resp.T.ravel())
    assert [t.get_text() for t in other.legends[0].get_texts()] == ["< 0.94", "≥ 0.94"]


def test_results_alone_have_a_figure_each():
    both = {"A": results.nominal(), "B": results.window()}
    figures = workflow.plot_results(both)
    assert [f.axes[0].get_title(loc="left") for f in figures] == ["A", "B"]


def test_ratios_are_those_to_the_first():
    both = {"A": results.nominal(), "B": results.window()}
    (figure,) = workflow.plot_results(both, mode="ratio")
    ratio = np.array(both["B"]["resp"]) / both["A"]["resp"]
    np.testing.assert_allclose(heights(figure.axes[0]), ratio.reshape(4, 2)[:, 0])
    np.testing.assert_allclose(heights(figure.axes[2]), ratio.reshape(4, 2)[:, 1])


def test_comparisons_of_one_parameter_have_a_panel_for_each_bin():
    both = {"A": results.nominal(), "B": results.window()}
    (figure,) = workflow.plot_results(both, mode="compare", parameter="reso")
    assert [a.texts[0].get_text() for a in figure.axes] == ["r9 < 0.94", "r9 ≥ 0.94"]
    expected = [np.reshape(both[k]["reso"], (4, 2))[:, 0] for k in "AB"]
    SAME(heights(figure.axes[0]), np.concatenate(expected))


def test_many_panels_are_on_several_pages():
    edges = {"x": [0, 1, 2], "y": [0, 1, 2], "z": list(range(8))}
    figures = workflow.plot_results(large(edges))
    shown = [[a.texts[0].get_text() for a in f.axes[::2]] for f in figures]
    assert [len(one) for one in shown] == [3, 3, 1]
    texts = [text for page in shown for text in page]
    assert texts == [f"{i} ≤ z < {i + 1}" for i in range(7)]
    figures = workflow.plot_results(large(edges), parameter="resp")
    # The place of a last panel without another one beside it is empty.
    assert [len(figure.axes) for figure in figures] == [6, 1]
    both = {"A": large(edges), "B": large(edges, 4)}
    assert len(workflow.plot_results(both, mode="ratio", dims=["x", "y"])) == 1
    assert len(workflow.plot_results(both, mode="ratio", parameter="reso")) == 3


def test_a_second_gaussian_has_figures_of_its_own(nominal):
    ones = np.ones(8)
    double = {"mu": 0.9 * ones, "frac": 0.8 * ones, "reso2": 0.04 * ones}
    double |= {f"e{name}": 0.01 * ones for name in double}
    record = dataclasses.replace(nominal, double=double)
    _, width, others = workflow.plot_results(record)
    assert [axes.get_ylabel() for axes in width.axes] == ["Smearing of 2nd Gaussian"]
    SAME(heights(others.axes[0]), double["mu"])
    (figure,) = workflow.plot_results(record, parameter="frac")
    SAME(heights(figure.axes[0]), double["frac"])


def test_labels_are_those_of_the_configuration(nominal):
    origin = {"configuration": {"cat_latex": {"ScEta": r"$\eta$", "r9": "$R_9$"}}}
    record = dataclasses.replace(nominal, origin=origin)
    (figure,) = workflow.plot_results(record, labels={"r9": "own"}, resp=(0.98, 1.02))
    assert figure.axes[0].get_xlabel() == r"$\eta$"
    assert figure.legends[0].get_title().get_text() == "own"
    assert figure.axes[0].get_ylim() == (0.98, 1.02)


def test_systematics_are_differences_to_the_result():
    found = workflow.plot_systematics(
        results.with_systematics(), {"window": results.window()}
    )
    (figure,) = found
    shift = np.subtract(results.window()["resp"], results.nominal()["resp"])
    steps = [patch.get_data().values for patch in figure.axes[0].patches]
    expected = np.abs(shift).reshape(4, 2).T.ravel()
    np.testing.assert_allclose(steps[-1], expected)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["Total", "Simulation", "window"]


def test_sources_of_errors_are_those_of_the_file(nominal):
    parts = {"stat": np.eye(16), "mc": 4 * np.eye(16), "flat": 9 * np.eye(16)}
    record = dataclasses.replace(
        nominal, covariance=sum(parts.values()), covariances=parts
    )
    (figure,) = workflow.plot_systematics(record, parameter="reso")
    steps = [patch.get_data().values[0] for patch in figure.axes[0].patches[1:]]
    np.testing.assert_allclose(sorted(steps), [1, 2, 3, np.sqrt(14)])


def test_correlations(nominal):
    rng = np.random.default_rng(1)
    root = rng.normal(size=(16, 16))
    record = dataclasses.replace(nominal, covariance=root @ root.T)
    (figure,) = workflow.plot_correlations(record, parameter="reso")
    drawn = np.asarray(figure.axes[0].images[0].get_array())
    expected = record.covariance[8:, 8:]
    size = np.sqrt(np.diagonal(expected))
    np.testing.assert_allclose(drawn, expected / np.outer(size, size))
    assert drawn.shape == (8, 8)


def test_regions_are_on_several_pages():
    fit = {"categories": (0, 5), "edges": [80.0, 90.0, 100.0]}
    fit |= {"data": [40.0, 60.0], "expected": [45.0, 55.0]}
    figures = workflow.plot_region_fits(
        [fit] * 5, categories=results.nominal()["categories"], per_page=2, title="Own"
    )
    assert [len(figure.axes) for figure in figures] == [4, 4, 2]
    title = figures[0].axes[0].get_title(loc="left").split("\n")
    assert title[1] == "0 ≤ ScEta < 1.479, 0.94 ≤ r9 < 9999"
    assert all("Own" in [t.get_text() for t in f.texts] for f in figures)


def test_faults_are_named(nominal):
    both = {"A": results.nominal(), "B": large({"x": [0, 1, 2]})}
    for call, message in (
        (lambda: workflow.plot_results(nominal, mode="ratios"), "Did you mean 'ratio'"),
        (lambda: workflow.plot_results(nominal, dim=["r9"]), "Did you mean 'dims'"),
        (lambda: workflow.plot_results(nominal, dims=["r"]), "no variable 'r'"),
        (lambda: workflow.plot_results(3), "expected a SasParameters"),
        (lambda: workflow.plot_results({"A": 3}), "A: expected a SasParameters"),
        (lambda: workflow.plot_results(both, mode="compare"), "not those of A"),
        (lambda: workflow.plot_results({}, mode="compare"), "there is none"),
        (lambda: workflow.plot_results(nominal, mode="ratio"), "two results or more"),
        (lambda: workflow.plot_results(nominal, resp=(2, 1)), "resp: give a lower"),
        (
            lambda: workflow.plot_results(nominal, resp=(1, 2), parameter="reso"),
            "resp: it is not drawn, only reso",
        ),
        (
            lambda: workflow.plot_results(
                {"A": nominal}, mode="compare", truth=nominal
            ),
            "truth: it is drawn with",
        ),
        (
            lambda: workflow.plot_systematics(both["A"], {"B": both["B"]}),
            r"systematics\['B'\]: its categories",
        ),
        (lambda: workflow.plot_correlations(nominal), "it has no covariance"),
        (lambda: workflow.plot_region_fits([]), "no region to draw"),
        (lambda: workflow.plot_region_fits([], per_page=0), "per_page: it must be 1"),
        (lambda: workflow.plot_region_fits([], colums=1), "there is no argument"),
    ):
        with pytest.raises(ew.EverwillowError, match=message):
            call()


def test_a_picture_on_a_page_of_one_column_is_complete(tmp_path):
    (figure,) = workflow.plot_results(results.nominal(), size=(3.39, 4.6), style=STYLE)
    figure.draw_without_rendering()
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    figure.savefig(tmp_path / "figure.pdf")


def test_contents_are_not_changed():
    content = results.nominal()
    before = json.dumps(content)
    workflow.plot_results(content)
    assert json.dumps(content) == before
