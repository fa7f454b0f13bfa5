"""Records show themselves in notebooks as tables, and figures as pictures."""

import re
import warnings
import xml.etree.ElementTree as ET

import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import everwillow as ew
from everwillow._html import MOST_ROWS, Table, html_of, text_of
from everwillow.goodness import chi2_test


def nll(params, data):
    return 0.5 * (params["mu"] - data) ** 2 + 0.5 * ((params["nu"] - 2.0) / 0.15) ** 2


@pytest.fixture(scope="module")
def result():
    return ew.fit(nll, {"mu": 1.0, "nu": 1.0}, 0.0, fixed={})


def cells(text):
    """Return the rows of the first table of well-formed HTML."""
    table = ET.fromstring(text).find("table")
    return [["".join(cell.itertext()) for cell in row] for row in table]


def test_cells_are_escaped():
    text = html_of([Table([("name", "value"), ("a<b & c", "1")]), "x < y"])
    assert cells(text) == [["name", "value"], ["a<b & c", "1"]]
    assert "a&lt;b &amp; c" in text
    assert "x &lt; y" in text


def test_text_and_html_have_the_same_cells(result):
    lines = str(result).splitlines()
    rows = cells(result._repr_html_())
    assert [re.split(r"\s{2,}", line) for line in lines[: len(rows)]] == rows


def test_colours_are_those_of_the_page(result):
    assert not re.search(r"(?<!\w)color:|background|#[0-9a-f]{3}", result._repr_html_())


def test_values_are_rounded_to_their_errors(result):
    assert cells(result._repr_html_())[1:] == [
        ["mu", "0.0", "1.0"],
        ["nu", "2.00", "0.15"],
    ]


def test_noise_is_no_value():
    def centred(params, data):
        return 0.5 * (params["mu"] + 3.99521e-17) ** 2 + 0.5 * (params["nu"] - 1.0) ** 2

    result = ew.fit(centred, {"mu": 0.0, "nu": 1.0})
    assert "e-17" not in repr(result)
    assert "-0.0" not in repr(result)


def test_long_tables_are_cut():
    rows = [("name",), *((f"p{i}",) for i in range(MOST_ROWS + 5))]
    assert cells(html_of([Table(rows)]))[-1] == ["... and 5 more"]
    assert len(text_of([Table(rows)]).splitlines()) == MOST_ROWS + 6


@pytest.mark.parametrize(
    ("record", "head"),
    [
        (ew.State.from_pytree({"a<": 1.0}), "key"),
        (ew.describe(ew.State.from_pytree({"a": 1.0})), "parameter"),
        (chi2_test(np.array([1.0, 2.0]), np.eye(2)), "statistic"),
    ],
    ids=["State", "describe", "goodness"],
)
def test_records_are_tables(record, head):
    assert cells(record._repr_html_())[0][0] == head


@pytest.mark.slow
def test_records_of_inference_are_tables(result):
    def counts(params):
        return jnp.stack([5.0 * params["mu"] + 10.0 * params["bkg"]])

    def count_nll(params, data):
        rate = counts(params)
        return jnp.sum(rate - data * jnp.log(rate))

    model = ew.Model(
        count_nll,
        {"mu": 1.0, "bkg": 1.0},
        observation=np.array([12.0]),
        constraints={"bkg": ew.Normal(1.0, 0.1)},
        bounds={"mu": ew.Interval(0.0, 10.0)},
        expected=counts,
    )
    records = [
        (ew.limits(model, "mu"), "95 % CL upper limit on mu"),
        (ew.cls(model, "mu", 1.0), "CLs of mu = 1"),
        (ew.discovery(model, "mu"), "discovery of mu"),
        (ew.profile.minos(nll, result, 0.0), "parameter"),
        (ew.profile.scan(nll, result, 0.0, name="mu", values=[0.0, 1.0]), "mu"),
        (ew.impacts.rank(model, ew.fit(model), poi="mu"), "name"),
    ]
    for record, head in records:
        assert cells(record._repr_html_())[0][0] == head


@pytest.mark.slow
def test_a_notebook_shows_tables_pictures_and_the_line_of_a_mistake():
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    fit = "ew.fit(lambda p, d: (p['mu'] - d) ** 2 + (p['nu'] - 1.0) ** 2, start, 3.0)"
    sources = [
        f"import everwillow as ew, numpy as np\nstart = dict(mu=1.0, nu=0.5)\n{fit}",
        f"ew.plotting.correlation({fit})",
        f"%matplotlib inline\new.plotting.correlation({fit})",
        "ew.fit(lambda p, d: np.log(p['mu']), start, 3.0)",
    ]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = nbclient.NotebookClient(notebook, timeout=300, allow_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client.execute()
    shown = [
        [one.data for one in cell.outputs if one.output_type == "execute_result"]
        for cell in notebook.cells
    ]
    assert [len(outputs) for outputs in shown] == [1, 1, 1, 0]
    assert "<table" in shown[0][0]["text/html"]
    assert "image/png" in shown[1][0]
    assert "image/png" in shown[2][0]
    (error,) = notebook.cells[3].outputs
    assert error.ename == "TracingError"
    assert "<lambda> (cell, line 1, `ew.fit(lambda" in error.evalue
    assert "jax/_src" not in "".join(error.traceback)


def test_figures_are_pictures(result):
    figure = ew.plotting.correlation(result)
    before = {**mpl.rcParams, "backend": ""}
    data, size = figure._repr_png_()
    assert data.startswith(b"\x89PNG")
    inches = figure.get_size_inches()
    assert [size["width"], size["height"]] == [round(96 * x) for x in inches]
    assert {**mpl.rcParams, "backend": ""} == before
    # No window of pyplot holds the figure, so nothing else shows it a second time.
    assert plt.get_fignums() == []
