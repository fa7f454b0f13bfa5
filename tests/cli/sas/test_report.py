"""Tables of responses and resolutions."""

import dataclasses

import numpy as np
import pytest

from everwillow.cli.report.sas import (
    error_tables,
    results_head,
    results_table,
    second_table,
)
from everwillow.models.scale_smearing import Categories, parameters_from_json
from everwillow.models.scale_smearing.parameters import AT_BOUND, FITTED, NO_REGION
from tests.workflows.scale_smearing import results


@pytest.fixture(autouse=True)
def width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def nominal():
    return parameters_from_json(results.nominal())


def cells(text):
    """Return the cells of each row of a table, by the category."""
    lines = text.split("\n\n")[0].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("---")) + 1
    rows = [[c for c in line.split("  ") if c.strip()] for line in lines[start:]]
    return {row[0].strip(): [c.strip() for c in row[1:]] for row in rows}


def test_rows_have_bins_and_numbers_with_two_digits_of_errors(nominal):
    rows = cells(results_table(nominal))
    assert len(rows) == 8
    assert rows["0"] == [
        *("-2.5 to -1.479", "< 0.94"),
        *("0.9933", "0.0011", "0.0265", "0.0018"),
    ]
    assert rows["5"][1:] == [">= 0.94", "1.00407", "0.00022", "0.00787", "0.00084"]
    assert max(map(len, results_table(nominal).splitlines())) <= 80


def test_categories_without_numbers_have_words(nominal):
    resp, reso, upper = nominal.resp.copy(), nominal.reso.copy(), np.full(8, np.nan)
    resp[2] = reso[2] = np.nan
    reso[4], upper[4] = 0.0, 0.00412
    record = dataclasses.replace(
        nominal,
        resp=resp,
        reso=reso,
        reso_upper=upper,
        status=(FITTED, FITTED, NO_REGION, FITTED, AT_BOUND, FITTED, FITTED, FITTED),
    )
    text = results_table(record)
    assert cells(text)["2"] == ["-1.479 to 0", "< 0.94", "no region"]
    assert cells(text)["4"][2:] == ["1.00061", "0.00037", "< 0.0041"]
    assert "one-sided interval at 68.3 %" in text
    assert "one-sided" not in results_table(nominal)
    assert "nan" not in text


def test_long_tables_say_what_they_leave_out():
    edges = {"x": list(range(31))}
    ones = [1.0] * 30
    given = {"categories": edges, "resp": ones, "reso": ones}
    record = parameters_from_json({**given, "eresp": ones, "ereso": ones})
    assert "the first 20 of 30 (or --all)" in results_table(record)
    assert len(cells(results_table(record))) == 20
    assert len(cells(results_table(record, everything=True))) == 30


def test_more_variables_are_in_one_column():
    edges = {"x": [0, 1], "y": [-np.inf, np.inf], "z": [0, 5, np.inf]}
    nothing = np.full(2, np.nan)
    record = parameters_from_json(
        {
            "categories": {**edges, "y": [-9999, 9999], "z": [0, 5, 9999]},
            **{key: [1.0, 2.0] for key in ("resp", "reso")},
            **{key: [0.1, 0.1] for key in ("eresp", "ereso")},
        }
    )
    assert record.categories == Categories.of(edges)
    rows = cells(results_table(record))
    assert rows["1: x 0 to 1, y all, z >= 5"] == ["2.00", "0.10", "2.00", "0.10"]
    bare = dataclasses.replace(record, eresp=nothing, ereso=nothing)
    assert cells(results_table(bare))["1: x 0 to 1, y all, z >= 5"] == ["2", "2"]


def test_errors_by_source(nominal):
    stat, mc = 4e-8 * np.eye(16), 9e-8 * np.eye(16)
    moved = np.full((16, 16), 1.44e-6)
    record = dataclasses.replace(
        nominal,
        eresp=np.full(8, np.sqrt(1.57e-6)),
        covariances={"window": moved, "mc": mc, "stat": stat},
    )
    responses, resolutions = error_tables(record)
    assert responses.splitlines()[1].split() == [
        *("category", "total", "stat.", "sim.", "window"),
    ]
    assert cells(responses)["3"] == ["0.0013", "0.0002", "0.0003", "0.0012"]
    assert resolutions.splitlines()[0] == "Errors of resolutions"
    # The total error of category 3 decides on the decimals.
    assert cells(resolutions)["3"] == ["0.00063", "0.00020", "0.00030", "0.00120"]


def test_files_without_covariances_have_the_part_from_simulation(nominal):
    (first, _) = error_tables(nominal)
    assert cells(first)["0"] == ["0.00110", "0.00061"]
    nothing = np.full(8, np.nan)
    assert not error_tables(
        dataclasses.replace(nominal, eresp_mc=nothing, ereso_mc=nothing)
    )


def test_wide_tables_are_divided(nominal):
    parts = {f"systematic_{i}": 1e-8 * np.eye(16) for i in range(12)}
    record = dataclasses.replace(nominal, covariances=parts)
    tables = error_tables(record)
    assert max(len(line) for text in tables for line in text.splitlines()) <= 80
    assert "Errors of responses (continued)" in tables[1]
    heads = [word for text in tables for word in text.splitlines()[1].split()]
    assert sum(word.startswith("systematic") for word in heads) == 24


def test_a_second_gaussian_has_its_table(nominal):
    assert second_table(nominal) == ""
    double = {"mu": np.full(8, 0.9532), "emu": np.full(8, 0.0021)}
    record = dataclasses.replace(nominal, double=double)
    assert cells(second_table(record))["7"] == ["0.9532", "0.0021"]


def test_the_head_says_how_the_fit_ended(nominal):
    record = dataclasses.replace(
        nominal,
        nll=341766.58446,
        edm=3.2e-10,
        success=True,
        message="The fit converged.",
        origin={"n_regions": 32, "n_data": 112549, "n_mc": 198000},
    )
    assert results_head(record, time=0.28).splitlines() == [
        "32 regions, 112 549 events in data, 198 000 simulated events",
        "The fit converged.",
        "-ln L = 341766.5845, EDM 3.2e-10, 0.28 s",
    ]
    named = dataclasses.replace(record, message="Minimum found, EDM 3.2e-10.")
    assert results_head(named).count("EDM") == 1
    assert results_head(nominal) == ""
    failed = dataclasses.replace(record, success=False, message="No minimum.")
    assert "FAILED: No minimum." in results_head(failed)
