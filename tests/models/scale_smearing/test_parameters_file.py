"""Results that are written and read are the same; files of others are understood."""

import dataclasses
import json
import os
import pathlib
import stat

import numpy as np
import pytest

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MissingFileError,
    SpecificationError,
)
from everwillow.models.scale_smearing import (
    parameters_from_json,
    parameters_to_json,
)
from everwillow.models.scale_smearing.categories import Categories
from everwillow.models.scale_smearing.parameters import SasParameters


SIZE = 4
RNG = np.random.default_rng(5)


def full_parameters() -> SasParameters:
    """Return parameters in which every attribute has a value, and two are absent."""
    values = {
        name: RNG.normal(size=SIZE) / 3
        for name in ("resp", "reso", "eresp", "ereso", "eresp_mc", "ereso_mc")
    }
    for array in values.values():
        array[3] = np.nan
    covariance = RNG.normal(size=(2 * SIZE, 2 * SIZE))
    covariance[:, 3] = covariance[3] = np.nan
    return SasParameters(
        Categories.of({"ScEta": [-np.inf, 0, np.inf], "pt": [20.0, 45.0, 1e5]}),
        **values,
        status=("fitted", "fitted", "smearing at zero", "no region"),
        reso_upper=np.array([np.nan, np.nan, 0.01, np.nan]),
        pt_mean=np.array([33.0, 60.1]),
        covariance=covariance,
        covariances={"stat": covariance / 2, "a cut": covariance / 3},
        double={"mu": RNG.normal(size=SIZE), "std2G": np.array([1, 2, np.nan, 3.0])},
        nll=-1234567.890123456,
        edm=1e-9,
        success=True,
        message="it ended at a minimum",
        origin={"seed": 3, "version": "0.1", "configuration": {"file_dt": ["a.root"]}},
    )


def assert_same(one, other):
    """Compare records with arrays."""
    for field in dataclasses.fields(one):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if isinstance(left, np.ndarray):
            np.testing.assert_array_equal(left, right)
        elif field.name in ("covariances", "double"):
            assert left.keys() == right.keys()
            for key in left:
                np.testing.assert_array_equal(left[key], right[key])
        else:
            assert left == right, field.name


def written(tmp_path, parameters, **changes):
    file = tmp_path / "result.json"
    parameters_to_json(dataclasses.replace(parameters, **changes), file)
    return file


def minimal(**changes):
    document = {
        "categories": {"r9": [-9999.0, 0.94, 9999.0]},
        "resp": [0.99, 1.01],
        "reso": [0.01, 0.012],
        "eresp": [1e-3, 2e-3],
        "ereso": [2e-3, 3e-3],
    }
    return document | changes


def read(document):
    return parameters_from_json(json.dumps(document))


def test_every_bit_survives(tmp_path):
    parameters = full_parameters()
    assert_same(parameters_from_json(written(tmp_path, parameters)), parameters)


def test_the_file_is_strict_json_with_infinite_edges_as_numbers(tmp_path):
    def refuse(constant):
        raise AssertionError(constant)

    text = written(tmp_path, full_parameters()).read_text()
    document = json.loads(text, parse_constant=refuse)
    assert document["categories"]["ScEta"] == [-9999.0, 0.0, 9999.0]
    assert document["resp"][3] is None
    assert document["std2G"][2] is None
    assert document["seed"] == 3


def test_infinite_edges_beside_large_finite_ones(tmp_path):
    runs = Categories.of({"run": [-np.inf, 355374.0, 362760.0, np.inf]})
    three = np.ones(3)
    parameters = SasParameters(runs, *(three,) * 6, ("fitted",) * 3, three * np.nan)
    found = parameters_from_json(written(tmp_path, parameters))
    assert found.categories == runs


def test_values_outside_of_json_in_the_origin(tmp_path):
    origin = {
        "edges": [np.float32(0.5), np.inf],
        "path": pathlib.Path("data.parquet"),
        "counts": np.array([1, 2]),
        "none": float("nan"),
    }
    found = parameters_from_json(written(tmp_path, full_parameters(), origin=origin))
    assert found.origin == {
        "edges": [0.5, "inf"],
        "path": "data.parquet",
        "counts": [1, 2],
        "none": None,
    }
    with pytest.raises(ArgumentTypeError, match=r"origin is a object|'bad'.*object"):
        written(tmp_path, full_parameters(), origin={"a": {"bad": object()}})
    with pytest.raises(ArgumentValueError, match="'resp'"):
        written(tmp_path, full_parameters(), origin={"resp": 1})


def test_the_umask_gives_the_permissions_and_old_files_survive_failures(tmp_path):
    before = os.umask(0o027)
    try:
        file = written(tmp_path, full_parameters())
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    content = file.read_bytes()
    with pytest.raises(ArgumentValueError, match=r"no parameter 'mmu'.*'mu'"):
        written(tmp_path, full_parameters(), double={"mmu": np.ones(SIZE)})
    assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(MissingFileError, match="folder"):
        parameters_to_json(full_parameters(), tmp_path / "none" / "a.json")


def test_a_file_with_the_least_keys():
    found = read(minimal())
    assert found.categories.edges == ((-np.inf, 0.94, np.inf),)
    assert found.status == ("fitted", "fitted")
    assert np.isnan(found.eresp_mc).all()
    assert found.covariance is None
    assert found.nll is None
    assert found.success is None
    assert found.origin == {}


def test_a_category_at_the_start_values_without_errors_was_not_fitted():
    # Single precision, as other programs write.
    start = float(np.float32(0.02))
    document = minimal(
        resp=[0.99, 1.0],
        reso=[0.01, start],
        eresp=[1e-3, 0.0],
        ereso=[0.0, 0.0],
        eresp_mc=[5e-4, 0.0],
        mu=[0.95, 0.95],
        emu=[0.01, 1.0],
    )
    found = read(document)
    assert found.status == ("fitted", "not determined")
    np.testing.assert_array_equal(found.resp, [0.99, np.nan])
    np.testing.assert_array_equal(found.reso, [0.01, np.nan])
    np.testing.assert_array_equal(found.eresp, [1e-3, np.nan])
    np.testing.assert_array_equal(found.ereso, [np.nan, np.nan])
    np.testing.assert_array_equal(found.values("mu"), [0.95, np.nan])
    np.testing.assert_array_equal(found.values("emu"), [0.01, np.nan])


def test_zero_errors_stay_where_statuses_say_that_they_are_errors():
    found = read(minimal(eresp=[0.0, 0.1], status=["fitted", "fitted"]))
    np.testing.assert_array_equal(found.eresp, [0.0, 0.1])


def test_results_of_a_failed_fit_are_read():
    found = read(minimal(status=["fit failed", "no region"]))
    assert found.status == ("fit failed", "no region")


def test_nan_of_other_programs_has_no_number():
    text = json.dumps(minimal(resp=[float("nan"), 1.01]))
    assert parameters_from_json(text).status == ("not determined", "fitted")


def test_one_shared_number_of_a_double_gaussian():
    np.testing.assert_array_equal(read(minimal(mu=[0.9])).values("mu"), [0.9, 0.9])


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([1, 2], "not an object"),
        ({"categories": {}, "response": []}, r"'resp', 'reso', .*are missing"),
        ({k: v for k, v in minimal(Reso=[]).items() if k != "reso"}, "'Reso'"),
        (
            minimal(resp=[1.0]),
            r"'resp' has 1 numbers, and there are 2 .*\(2 bins of r9",
        ),
        (minimal(resp=["a", 1.0]), "'resp' is not a list of numbers"),
        (minimal(resp=1.0), "'resp' is not a list of numbers"),
        (minimal(categories=[0, 1]), "variables to edges"),
        (minimal(categories={"r9": [1, 0]}), "increasing"),
        (minimal(categories={"r9": [1, "a"]}), "increasing"),
        (minimal(status=["fitted"]), "2 texts"),
        (minimal(status=["fitted", "fited"]), "'fited' is not a status.*'fitted'"),
        (minimal(covariance=[[1.0]]), r"shape \(1, 1\).*\(4, 4\)"),
        (minimal(covariances={"stat": [1.0]}), r"covariances\['stat'\].*matrix"),
        (minimal(nll="low"), "'nll' is 'low', not a number"),
    ],
)
def test_wrong_documents_are_refused(document, message):
    with pytest.raises(SpecificationError, match=message):
        read(document)


def test_wrong_files_are_named(tmp_path):
    file = tmp_path / "a.json"
    file.write_text("{}")
    with pytest.raises(SpecificationError, match=r"a\.json: the keys 'categories'"):
        parameters_from_json(file)
    with pytest.raises(MissingFileError):
        parameters_from_json(tmp_path / "b.json")
