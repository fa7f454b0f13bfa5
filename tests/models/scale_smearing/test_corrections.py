"""Files of corrections, evaluated by correctionlib in every category.

Its parser of numbers may miss the last bit.
"""

import gzip
import itertools
import json
import sys

import correctionlib
import correctionlib.schemav2
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import ArgumentValueError, SpecificationError
from everwillow.models.scale_smearing import write_compound, write_corrections
from everwillow.models.scale_smearing.correction_files import (
    correction,
    formula,
    write_set,
)
from tests.models.scale_smearing.results import centres, made_parameters


EDGES = {
    "ScEta": [-2.5, -1.479, 0.0, 1.479, 2.5],
    "r9": [-np.inf, 0.94, np.inf],
    "run": [355374.0, 357000.0, np.inf],
}
LOST = (3, 12)


def read(file):
    return correctionlib.CorrectionSet.from_file(str(file))


@pytest.fixture
def parameters():
    return made_parameters(EDGES, lost=LOST)


@pytest.fixture
def file(parameters, tmp_path):
    return write_corrections(
        parameters, tmp_path / "new", dataset="2022", correction_set="EtaR9", version=3
    )


def test_scale_in_every_category(parameters, file):
    assert file.name == "EGMScalesSmearing_2022.v3.json.gz"
    found = read(file)["EGMScale_EtaR9_2022"]
    assert [one.name for one in found.inputs] == ["syst", "ScEta", "r9", "run"]
    assert found.version == 3
    points = centres(parameters.categories)
    resp, error = parameters.resp, parameters.eresp
    expected = {
        "scale": 1 / resp,
        "escale": error / resp**2,
        "scale_up": (1 + error / resp) / resp,
        "scale_down": (1 - error / resp) / resp,
    }
    for key, values in expected.items():
        evaluated = found.evaluate(key, *points.values())
        np.testing.assert_allclose(evaluated, values, rtol=1e-14)
        assert np.flatnonzero(np.isnan(evaluated)).tolist() == list(LOST)


def test_smearing_in_every_category(parameters, file):
    found = read(file)["EGMSmearAndSyst_EtaR9_2022"]
    points = centres(parameters.categories)
    reso, ereso = parameters.reso, parameters.ereso
    relative = parameters.eresp / parameters.resp
    expected = {
        "smear": reso,
        "esmear": ereso,
        "smear_up": reso + ereso,
        "smear_down": reso - ereso,
        "escale": relative,
        "scale_up": 1 + relative,
        "scale_down": 1 - relative,
    }
    for key, values in expected.items():
        evaluated = found.evaluate(key, *points.values())
        np.testing.assert_allclose(evaluated, values, rtol=1e-14)


def test_the_smearing_is_never_negative_and_has_a_one_sided_error_at_zero(tmp_path):
    nan = np.nan
    parameters = made_parameters(
        {"r9": [0, 1, 2, 3]},
        reso=np.array([0.001, 0.0, 0.01]),
        ereso=np.array([0.002, nan, nan]),
        reso_upper=np.array([nan, 0.004, nan]),
        status=("fitted", "smearing at zero", "fitted"),
    )
    file = write_corrections(parameters, tmp_path, dataset="d", correction_set="c")
    found = read(file)["EGMSmearAndSyst_c_d"]
    r9 = np.array([0.5, 1.5, 2.5])
    expected = {
        "smear": [0.001, 0.0, 0.01],
        "esmear": [0.002, 0.004, nan],
        "smear_up": [0.003, 0.004, nan],
        "smear_down": [0.0, 0.0, nan],
    }
    for key, values in expected.items():
        np.testing.assert_allclose(found.evaluate(key, r9), values, rtol=1e-14)


def test_a_double_gaussian_stays_inside_of_its_bounds(tmp_path):
    double = {
        "reso2": np.array([0.01, 0.04]),
        "ereso2": np.array([0.02, 0.01]),
        "mu": np.array([0.95, 0.9]),
        "emu": np.array([0.01, 0.02]),
        "frac": np.array([0.99, 0.9]),
        "efrac": np.array([0.05, 0.05]),
        "mean2G": np.array([1.0, 1.0]),
    }
    parameters = made_parameters({"r9": [0, 1, 2]}, double=double)
    file = write_corrections(parameters, tmp_path, dataset="d", correction_set="c")
    found = read(file)["EGMSmearAndSyst_c_d"]
    r9 = np.array([0.5, 1.5])
    expected = {
        "reso2_down": [0.0, 0.03],
        "reso2_up": [0.03, 0.05],
        "emu": [0.01, 0.02],
        "mu_up": [0.96, 0.92],
        "frac": [0.99, 0.9],
        "frac_up": [1.0, 0.95],
    }
    for key, values in expected.items():
        np.testing.assert_allclose(found.evaluate(key, r9), values, rtol=1e-12)
    assert "reso2_up" in found.inputs[0].description


def test_outside_of_the_edges_is_the_nearest_bin(parameters, file):
    found = read(file)["EGMScale_EtaR9_2022"]
    inside = found.evaluate("scale", 2.0, 0.99, 3.6e5)
    assert found.evaluate("scale", 4.0, 1e5, 9e5) == inside
    assert inside == pytest.approx(1 / parameters.resp[-1], rel=1e-14)


def test_unknown_keys_have_no_value(file):
    with pytest.raises(IndexError, match="nominal"):
        read(file)["EGMScale_EtaR9_2022"].evaluate("nominal", 0.1, 0.9, 3.6e5)


def test_the_file_is_strict_json_of_the_schema_and_does_not_depend_on_time(
    parameters, file, tmp_path
):
    def refuse(constant):
        raise AssertionError(constant)

    text = gzip.decompress(file.read_bytes())
    document = json.loads(text, parse_constant=refuse)
    assert document["schema_version"] == 2
    again = correctionlib.schemav2.CorrectionSet.model_validate(document)
    scale = again.corrections[0].data.content[0].value
    assert scale.edges[1] == [-9999.0, 0.94, 9999.0]
    # 9999 is not above the other edges.
    assert scale.edges[2][-1] == "inf"
    for made in again.corrections:
        assert made.description
        assert all(one.description for one in (*made.inputs, made.output))
    assert file.read_bytes()[4:8] == bytes(4)
    other = write_corrections(
        parameters,
        tmp_path / "same.json",
        dataset="2022",
        correction_set="EtaR9",
        version=3,
    )
    assert other.read_bytes() == text


def test_what_correctionlib_refuses_is_not_written(tmp_path):
    wrong = correction("a", formula("p+", []), variables=[], output=("a", ""))
    with pytest.raises(SpecificationError, match=r"a\.json: correctionlib cannot"):
        write_set(tmp_path / "a.json", "", [wrong])
    assert not list(tmp_path.iterdir())


def chain():
    return {
        "Time": made_parameters({"run": [0, 10, 20]}, seed=2),
        "EtaR9": made_parameters(
            {"ScEta": [-2.5, 0, 2.5], "r9": [-np.inf, 0.9, np.inf]}, seed=3
        ),
        # Responses far from 1, so that pt moves to other bins.
        "Pt": made_parameters({"pt": [20, 40, 60, 1e3]}, resp=[0.8, 1.3, 0.9]),
        "PTsplit": made_parameters(
            {"AbsScEta": [0, 1.5, 2.5], "pt": [20, 45, 55, 1e3]}, seed=5, lost=(5,)
        ),
    }


def expected_product(steps, point, variation=""):
    """Walk through the steps, and multiply pt by the scale of each."""
    point = dict(point)
    total = 1.0
    for step in steps.values():
        values = {name: np.array([point[name]]) for name in step.categories.names}
        place = int(step.categories.index(values)[0])
        scale, error = 1 / step.resp[place], step.eresp[place] / step.resp[place] ** 2
        scale += {"": 0, "_up": error, "_down": -error}[variation]
        total *= scale
        point["pt"] *= scale
    return total


def test_a_compound_is_the_product_of_its_steps(tmp_path):
    steps = chain()
    order = ("run", "ScEta", "r9", "AbsScEta", "pt", "seedGain")
    file = write_compound(steps, tmp_path, dataset="2022", inputs=order)
    assert file.name == "EGMScalesSmearing_Pho_2022.v1.json.gz"
    found = read(file)
    compound = found.compound["EGMScale_Compound_Pho_2022"]
    assert [one.name for one in compound.inputs] == ["syst", *order]
    grid = itertools.product(
        (5, 15), (-1.0, 2.0), (0.8, 0.95), (30.0, 39.0, 41.0, 50.0, 59.0, 70.0)
    )
    points = [
        {"run": run, "ScEta": eta, "r9": r9, "AbsScEta": abs(eta), "pt": pt}
        for run, eta, r9, pt in grid
    ]
    inputs = [np.array([point.get(name, 12) for point in points]) for name in order]
    moved = 0
    for variation in ("", "_up", "_down"):
        expected = [expected_product(steps, point, variation) for point in points]
        evaluated = compound.evaluate(f"scale{variation}", *inputs)
        np.testing.assert_allclose(evaluated, expected, rtol=1e-13)
        moved += np.isnan(expected).sum()
    # The category without a number is reached, and only by some.
    assert 0 < moved < 3 * len(points)


def test_errors_of_a_compound_in_quadrature(tmp_path):
    steps = chain()
    del steps["Pt"]
    found = read(write_compound(steps, tmp_path, dataset="d", name="Ele"))
    variance = found.compound["EGMScaleVariance_Compound_Ele_d"]
    assert [one.name for one in variance.inputs] == [
        *("run", "ScEta", "r9", "AbsScEta", "pt")
    ]
    first = [
        (one.eresp / one.resp)[place]
        for one, place in zip(steps.values(), (0, 3, 1), strict=True)
    ]
    evaluated = variance.evaluate(5.0, 1.0, 0.95, 1.0, 50.0)
    assert np.sqrt(evaluated) == pytest.approx(np.linalg.norm(first), rel=1e-13)
    with pytest.raises(IndexError, match="escale"):
        found.compound["EGMScale_Compound_Ele_d"].evaluate(
            "escale", 5.0, 1.0, 0.95, 1.0, 50.0
        )


def test_each_step_of_a_compound_is_in_the_file(tmp_path):
    steps = chain()
    found = read(write_compound(steps, tmp_path, dataset="2022"))
    smearing = found["EGMSmearAndSyst_PhoPTsplit_2022"]
    expected = pytest.approx(steps["PTsplit"].reso[3], rel=1e-14)
    assert smearing.evaluate("smear", 2.0, 30.0) == expected
    first = steps["Time"]
    expected = pytest.approx(first.eresp[1] / first.resp[1] ** 2, rel=1e-14)
    assert found["EGMScale_PhoTime_2022"].evaluate("escale", 15.0) == expected


def test_wrong_chains_are_refused(tmp_path):
    with pytest.raises(ArgumentValueError, match="steps: there is none"):
        write_compound({}, tmp_path, dataset="d")
    with pytest.raises(ArgumentValueError, match=r"inputs: .*'ScEta'.*'SCEta'"):
        write_compound(chain(), tmp_path, dataset="d", inputs=["run", "SCEta"])


def test_without_correctionlib_an_error_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "correctionlib.schemav2", None)
    with pytest.raises(ImportError, match=r'pip install "\.\[sas\]"') as error:
        write_compound(chain(), tmp_path, dataset="d")
    assert isinstance(error.value, ew.EverwillowError)
