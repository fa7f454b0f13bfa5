"""Corrections applied to energies, from results and from files, compared by hand."""

import math

import correctionlib
import correctionlib.schemav2 as schema
import numpy as np
import pytest

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    SpecificationError,
    UnknownKeyError,
)
from everwillow.models.scale_smearing import (
    FileCorrections,
    ParameterCorrections,
    parameters_to_json,
    scale_data,
    smear_simulation,
    standard_normals,
    uniform_numbers,
    write_compound,
    write_corrections,
)
from tests.models.scale_smearing.results import made_parameters


EDGES = {"ScEta": [-2.5, 0, 2.5], "r9": [-np.inf, 0.9, np.inf]}
VARIABLES = {
    "ScEta": np.array([-1.0, -1.0, 1.0, 1.0, 3.0, np.nan]),
    "r9": np.array([0.8, 0.95, 0.8, 0.95, 0.95, 0.95]),
}
PLACES = np.array([0, 1, 2, 3])
ENERGIES = np.array([50.0, 60.0, 70.0, 80.0, 90.0, 100.0])
ERRORS = 0.02 * ENERGIES
NORMALS = np.array([1.0, -2.0, 0.5, 0.1, 0.2, 0.3])


@pytest.fixture
def parameters():
    return made_parameters(EDGES, lost=[2])


def test_data_are_multiplied_by_the_scale(parameters):
    data = scale_data(parameters, ENERGIES, VARIABLES, energy_errors=ERRORS)
    scale = 1 / parameters.resp
    np.testing.assert_allclose(data.energy[:4], ENERGIES[:4] * scale, rtol=1e-15)
    expected = np.sqrt(
        (ERRORS[:4] * scale) ** 2 + (parameters.reso * ENERGIES[:4] * scale) ** 2
    )
    np.testing.assert_allclose(data.energy_error[:4], expected, rtol=1e-14)
    # One category has no number. Objects outside of the edges have the nearest one,
    # unless a variable is NaN.
    assert data.without_number == np.isnan(data.energy).sum() == 2
    assert np.isnan(data.energy[2])
    assert scale_data(parameters, ENERGIES, VARIABLES).energy_error is None


def test_all_variations_of_simulation_share_one_random_number(parameters):
    one = smear_simulation(
        parameters, ENERGIES, VARIABLES, NORMALS, energy_errors=ERRORS
    )
    energies, z = ENERGIES[:4], NORMALS[:4]
    reso, ereso = parameters.reso, parameters.ereso
    relative = parameters.eresp / parameters.resp
    expected = {
        "energy": energies * (1 + reso * z),
        "scale_up": energies * (1 + reso * z) * (1 + relative),
        "scale_down": energies * (1 + reso * z) * (1 - relative),
        "smear_up": energies * (1 + (reso + ereso) * z),
        "smear_down": energies * (1 + (reso - ereso) * z),
        "energy_error": np.hypot(
            ERRORS[:4] * (1 + reso * z), reso * energies * (1 + reso * z)
        ),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(one, name)[:4], values, rtol=1e-14)
    assert one.without_number == 2


@pytest.mark.parametrize("kind", ["results", "correctionlib"])
def test_files_give_the_same_as_results(parameters, tmp_path, kind):
    file = tmp_path / "a.json"
    if kind == "results":
        parameters_to_json(parameters, file)
    else:
        write_corrections(parameters, file, dataset="d", correction_set="c")
    inside = {name: values[:4] for name, values in VARIABLES.items()}
    arguments = (ENERGIES[:4], inside)
    for function, more in ((scale_data, ()), (smear_simulation, (NORMALS[:4],))):
        given = {"energy_errors": ERRORS[:4]}
        one = function(parameters, *arguments, *more, **given)
        other = function(file, *arguments, *more, **given)
        assert other.without_number == 1
        np.testing.assert_allclose(other.energy, one.energy, rtol=1e-14)
        np.testing.assert_allclose(other.energy_error, one.energy_error, rtol=1e-14)


def test_files_have_no_value_where_a_variable_is_nan(parameters, tmp_path):
    file = write_corrections(parameters, tmp_path, dataset="d", correction_set="c")
    data = scale_data(file, ENERGIES, VARIABLES)
    assert np.isnan(data.energy).tolist() == [False, False, True, False, False, True]
    # correctionlib itself takes the last bin.
    found = correctionlib.CorrectionSet.from_file(str(file))["EGMScale_c_d"]
    assert found.evaluate("scale", math.nan, 0.95) > 0


def test_a_compound_corrects_data_and_its_last_step_smears_simulation(tmp_path):
    steps = {
        "Time": made_parameters({"run": [0, 10, 20]}, seed=2),
        "Pt": made_parameters({"pt": [20, 50, 90]}, resp=[0.8, 1.2], seed=4),
    }
    file = write_compound(steps, tmp_path, dataset="d")
    run, pt = np.array([5, 15, 5]), np.array([49.999, 30.0, 60.0])
    steps["Time"].resp[0] = 0.99
    file = write_compound(steps, tmp_path, dataset="d")
    # The first step moves the first object to the other bin of pt.
    scale = np.array([1 / 0.99 / 1.2, 1 / steps["Time"].resp[1] / 0.8, 1 / 0.99 / 1.2])
    data = scale_data(file, pt, {"run": run, "pt": pt}, energy_errors=0.02 * pt)
    np.testing.assert_allclose(data.energy, pt * scale, rtol=1e-14)
    # The width is that at the corrected pt.
    reso = steps["Pt"].reso[[0, 0, 1]]
    expected = np.hypot(0.02, reso) * pt * scale
    assert (pt * scale < 50).tolist() == [True, True, False]
    np.testing.assert_allclose(data.energy_error, expected, rtol=1e-13)
    one = smear_simulation(file, pt, {"pt": pt}, NORMALS[:3])
    expected = pt * (1 + steps["Pt"].reso[[0, 0, 1]] * NORMALS[:3])
    np.testing.assert_allclose(one.energy, expected, rtol=1e-14)


def test_a_double_gaussian_has_the_moments_of_its_mixture():
    double = {
        "reso2": np.array([0.04]),
        "mu": np.array([0.93]),
        "frac": np.array([0.8]),
    }
    parameters = made_parameters({"r9": [0, 1]}, double=double)
    size = 200_000
    variables = {"r9": np.full(size, 0.5)}
    normals = standard_normals(3, np.arange(size))
    with pytest.raises(ArgumentValueError, match="uniforms: they are missing"):
        smear_simulation(parameters, np.ones(size), variables, normals)
    one = smear_simulation(
        parameters,
        np.full(size, 50.0),
        variables,
        normals,
        uniforms=uniform_numbers(3, np.arange(size)),
        energy_errors=np.zeros(size),
    )
    mean = 0.8 + 0.2 * 0.93
    width = one.energy_error / one.energy
    np.testing.assert_allclose(width, width[0], rtol=1e-12)
    assert one.factor.mean() == pytest.approx(mean, abs=5 * width[0] / size**0.5)
    assert one.factor.std() == pytest.approx(width[0], rel=0.02)


def test_wrong_variables_keys_and_files(parameters, tmp_path):
    with pytest.raises(UnknownKeyError, match=r"variables: .*'ScEta'.*'scEta'"):
        scale_data(parameters, [1.0], {"scEta": [0.0], "r9": [1.0]})
    with pytest.raises(UnknownKeyError, match=r"smear: .*'smear_pu'.*'smear_up'"):
        ParameterCorrections(parameters).evaluate("smear", "smear_pu", VARIABLES)
    file = write_corrections(parameters, tmp_path, dataset="d", correction_set="c")
    with pytest.raises(UnknownKeyError, match=r"smear: .*'smear_pu'.*'smear_up'"):
        FileCorrections(file).evaluate("smear", "smear_pu", VARIABLES)
    with pytest.raises(UnknownKeyError, match=r"scale: .*'EGMScale_c'.*EGMScale_c_d"):
        FileCorrections(file, scale="EGMScale_c")
    parameters_to_json(parameters, tmp_path / "a.json")
    with pytest.raises(SpecificationError, match="schema_version"):
        FileCorrections(tmp_path / "a.json")


def test_a_file_with_several_corrections_needs_a_name(parameters, tmp_path):
    file = tmp_path / "a.json"
    write_corrections(parameters, file, dataset="d", correction_set="c")
    made = schema.CorrectionSet.model_validate_json(file.read_text())
    both = []
    for one in made.corrections:
        both += [one, one.model_copy(update={"name": one.name + "2"})]
    made = made.model_copy(update={"corrections": both})
    file.write_text(made.model_dump_json(exclude_unset=True))
    with pytest.raises(SpecificationError, match=r"2 corrections.*Give one as `scale`"):
        scale_data(file, ENERGIES, VARIABLES)
    chosen = FileCorrections(file, scale="EGMScale_c_d2")
    assert scale_data(chosen, ENERGIES, VARIABLES).without_number == 2
    assert chosen.keys("scale") == ("scale", "escale", "scale_up", "scale_down")


def test_random_numbers_do_not_depend_on_order_and_division():
    run, event = np.full(1000, 362760), np.arange(10**10, 10**10 + 1000)
    numbers = standard_normals(7, run, event, 1)
    halves = [standard_normals(7, 362760, part, 1) for part in np.split(event, 2)]
    np.testing.assert_array_equal(np.concatenate(halves), numbers)
    np.testing.assert_array_equal(
        standard_normals(7, run, event[::-1], 1), numbers[::-1]
    )
    # The type of an integer does not count.
    np.testing.assert_array_equal(
        standard_normals(7, run.astype(np.uint32), event.astype(np.uint64), 1), numbers
    )


def test_random_numbers_are_normal_and_independent():
    size = 100_000
    event = np.arange(size)
    numbers = standard_normals(1, event)
    expected = 0.5 * (1 + np.vectorize(math.erf)(np.sort(numbers) / 2**0.5))
    distance = np.abs(expected - (np.arange(size) + 0.5) / size).max()
    assert distance < 1.63 / size**0.5  # Kolmogorov and Smirnov, 1 %
    others = [
        standard_normals(2, event),
        standard_normals(1, event + 1),
        standard_normals(1, event, 0),
        standard_normals(1, event, source="other"),
        uniform_numbers(1, event) - 0.5,
    ]
    for other in others:
        correlation = np.corrcoef(numbers, other)[0, 1]
        assert abs(correlation) < 4 / size**0.5


def test_random_numbers_stay_the_same_in_later_versions():
    # Computed with Python's integers, from the definition of the generator.
    def mixed(state):
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            state = (state ^ (state >> shift)) * factor % 2**64
        return state ^ (state >> 31)

    step, state = 0x9E3779B97F4A7C15, 0
    for one in (5, *b"smearing", 8, 362760, 2**64 - 3):
        state = mixed(((state ^ one) + step) % 2**64)
    first, second = (mixed((state + k * step) % 2**64) >> 11 for k in (1, 2))
    radius = math.sqrt(-2 * math.log((first + 1) / 2**53))
    expected = radius * math.cos(2 * math.pi * second / 2**53)
    found = standard_normals(5, 362760, np.array([-3]))
    assert found[0] == pytest.approx(expected, rel=1e-14)


def test_rounded_identifiers_are_refused():
    with pytest.raises(ArgumentTypeError, match="expected integers, got float64"):
        standard_normals(1, np.array([1.0]))


def test_energy_errors_are_known_where_the_second_gaussian_has_no_values():
    double = {"frac": [1.0], "mu": [np.nan], "reso2": [np.nan]}
    double = {name: np.array(values) for name, values in double.items()}
    parameters = made_parameters({"r9": [0, 1]}, double=double)
    single = made_parameters({"r9": [0, 1]})
    found, expected = (
        scale_data(one, [50.0], {"r9": [0.5]}, energy_errors=[1.0]).energy_error
        for one in (parameters, single)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-14)
