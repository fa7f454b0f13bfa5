"""Every record with a table: escaped text, numbers without noise, rounded to errors."""

import ast
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import equinox as eqx
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import RESULTS
from everwillow.goodness import GoodnessResult, SaturatedToys, ToyPValue
from everwillow.hypotest import BandValues, HypoTestResult, TestStatResult
from everwillow.impacts import (
    Breakdown,
    GlobalImpacts,
    GroupImpacts,
    Measurements,
    NonprofiledImpacts,
    RefitImpacts,
    SplitErrors,
    StatisticalImpacts,
    Weights,
)
from everwillow.mappings import MappingResult
from everwillow.models.histfactory import inspection as pyhf_inspection
from everwillow.models.nsbi import inspection as nsbi_inspection
from everwillow.models.nsbi.diagnostics import CalibrationResult, ClosureResult
from everwillow.models.scale_smearing import Categories, SasParameters
from everwillow.models.templates.inputs_report import ChannelInputs, InputsReport
from everwillow.profile import (
    CROSSING,
    ContourResult,
    MinosResult,
    Scan2DResult,
    ScanResult,
    SplitScan,
)
from everwillow.toys import ToyFits
from everwillow.uncertainty import Degeneracies, PropagationResult
from everwillow.workflows.nsbi.ratio_statistics import RatioErrors
from everwillow.workflows.report import FitSummary, Limit, Parameters
from everwillow.workflows.scale_smearing import RegionalFit
from everwillow.workflows.templates import LCurve, TemplateResults


NAME, OTHER = "a<b", "c&d"
NOISE, VALUE, ERROR = -3e-17, 1.23456789, 0.0987654

# What numbers become: zero, the value and the error, with two digits of the error.
ZERO, ROUNDED, SPREAD = "0.000", "1.235", "0.099"
NUMBERS = np.array([NOISE, VALUE])
ERRORS = np.array([ERROR, ERROR])
YES = np.array([True, True])


def nll(params, data):
    first = (params[NAME] - VALUE) / ERROR
    return 0.5 * first**2 + 0.5 * ((params[OTHER] - data) / ERROR) ** 2


@pytest.fixture(scope="module")
def fitted():
    return ew.fit(nll, {NAME: 1.0, OTHER: 1.0}, NOISE)


def many(fitted):
    return ew.State.from_pytree({NAME: NUMBERS, OTHER: NUMBERS})


def scan(fitted, status=RESULTS.successful):
    rise = np.array([NOISE, 1.0])
    values, nll = NUMBERS, rise + fitted.nll
    return ScanResult(NAME, values, nll, rise, many(fitted), status, YES, fitted, ())


def scan2d(fitted):
    nll = np.array([[0.0, 1.0], [1.0, 2.0]]) + fitted.nll
    names, values = (NAME, OTHER), (NUMBERS, NUMBERS)
    status, good = RESULTS.successful, nll > -1
    return Scan2DResult(names, values, nll, many(fitted), status, good, fitted, ())


def contour(fitted):
    points = np.stack([NUMBERS, NUMBERS], 1)
    closed, fits = np.array(True), np.array(3)
    names = (NAME, OTHER)
    return ContourResult(names, 0.68, points, many(fitted), closed, fits, fitted, ())


def minos(fitted):
    one, params = CROSSING.found, many(fitted)
    found = eqx.tree_at(lambda code: code._value, one, np.full(2, one._value))
    ends = (-ERRORS, ERRORS, found, found, params, params)
    return MinosResult((NAME, OTHER), 0.68, NUMBERS, *ends, fitted, ())


def refits(moved):
    shifts = np.full((2, 1, moved), NOISE)
    shifts[0, 0, 0] = ERROR
    good, status = np.ones((2, moved), bool), RESULTS.successful
    return RefitImpacts(shifts[:, 0], shifts, good * 1.0, good, status, good)


def breakdown():
    numbers = np.array(VALUE), np.array([NOISE, ERROR]), np.array(ERROR)
    return Breakdown(*numbers, ("statistical", NAME), "mass")


def toy_pvalue():
    numbers = (NOISE, 0.12345, 0.1, 0.15, 12, 100, 0)
    return ToyPValue(*map(np.asarray, numbers))


def toy_fits(fitted):
    params, layout = many(fitted), fitted.layout
    status, steps = RESULTS.successful, np.array([3, 3])
    bound = np.zeros((2, 2), bool)
    numbers = (NUMBERS, YES, status, bound, steps, np.arange(2))
    return ToyFits(params, None, *numbers, free=(0, 1), layout=layout)


def parameters():
    no = ~YES
    numbers = (NUMBERS, ERRORS, NUMBERS, ERRORS, no, no, no, no, no)
    return Parameters((NAME, OTHER), *numbers)


def sas():
    categories = Categories.of({NAME: [0.0, 1.0, 2.0]})
    numbers = (NUMBERS, NUMBERS, ERRORS, ERRORS, ERRORS, ERRORS)
    return SasParameters(categories, *numbers, ("fitted",) * 2, ERRORS)


def pyhf_summary():
    one = pyhf_inspection.ParameterSummary(NAME, 1, "none", ("normfactor",))
    return pyhf_inspection.WorkspaceSummary(((NAME, 1),), ("s",), (one,), ())


def nsbi_summary():
    kind = ("binned", 1, 0, NOISE * 0, VALUE)
    channel = nsbi_inspection.ChannelSummary(NAME, *kind, ("s",))
    one = nsbi_inspection.ParameterSummary(NAME, 1.0, 0.0, 2.0, True, False, ("x",))
    return nsbi_inspection.WorkspaceSummary((channel,), (one,), (), ())


def ratio_errors():
    part = np.diag([ERROR**2, VALUE**2])
    return RatioErrors((NAME, OTHER), part, part, part)


def closure():
    edges, normalisation = np.array([0.0, 1.0, 2.0]), (1.0, 0.1)
    pairs = (NUMBERS, ERRORS, NUMBERS, ERRORS)
    rest = (NUMBERS, NUMBERS, np.eye(2), NUMBERS)
    return ClosureResult(edges, *pairs, *rest, *normalisation)


def template_results():
    summary = FitSummary(True, "Minimum found.", 1.0, 0.0, 3)
    return TemplateResults("data", "poisson", "1", parameters(), summary, {})


GOODNESS = GoodnessResult(*map(np.asarray, (1.5, 2.0, 0.25)))
RECORDS = {
    "State": lambda r: ew.State.from_pytree({NAME: 1.0}),
    "Description": lambda r: ew.describe(ew.State.from_pytree({NAME: 1.0})),
    "FitResult": lambda r: r,
    "ScanResult": scan,
    "Scan2DResult": scan2d,
    "SplitScan": lambda r: SplitScan(scan(r), scan(r)),
    "ContourResult": contour,
    "MinosResult": minos,
    "GroupImpacts": lambda r: GroupImpacts(
        NUMBERS[:, None], NUMBERS[:, None], ERRORS, (NAME, OTHER), ("g",), (("x",),)
    ),
    "SplitErrors": lambda r: SplitErrors(
        ERRORS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, (NAME, OTHER), ()
    ),
    "GlobalImpacts": lambda r: GlobalImpacts(
        NUMBERS[:, None], None, ERRORS, None, (NAME, OTHER), ("x",)
    ),
    "StatisticalImpacts": lambda r: StatisticalImpacts(
        NUMBERS, NUMBERS, NUMBERS, NUMBERS, ERRORS, (NAME, OTHER)
    ),
    "NonprofiledImpacts": lambda r: NonprofiledImpacts(
        refits(2), ERRORS, (NAME,), (NAME, OTHER)
    ),
    "Weights": lambda r: Weights(NUMBERS, None, (NAME, OTHER), "mass"),
    "Breakdown": lambda r: breakdown(),
    "Measurements": lambda r: Measurements(
        NUMBERS, ERRORS, ERRORS, NUMBERS, breakdown(), (NAME, OTHER)
    ),
    "Degeneracies": lambda r: Degeneracies(
        NUMBERS * 0,
        np.eye(2),
        np.array([[0, 1]]),
        np.array([0.99]),
        np.zeros((0, 2), int),
        np.zeros(0),
        ERRORS,
        (NAME, OTHER),
    ),
    "PropagationResult": lambda r: PropagationResult(
        {NAME: NUMBERS}, {NAME: ERRORS}, np.eye(2)
    ),
    "MappingResult": lambda r: MappingResult({NAME: NUMBERS}, {NAME: ERRORS}, None, ()),
    "TestStatResult": lambda r: TestStatResult(NOISE, test=VALUE),
    "HypoTestResult": lambda r: HypoTestResult(NOISE, 0.5, 0.5, TestStatResult(NOISE)),
    "BandValues": lambda r: BandValues(-0.0, 1.0, 2.0, 3.0, 4.0),
    "ToyFits": toy_fits,
    "ToyPValue": lambda r: toy_pvalue(),
    "GoodnessResult": lambda r: GOODNESS,
    "SaturatedToys": lambda r: SaturatedToys(
        GOODNESS, toy_pvalue(), NUMBERS, toy_fits(r)
    ),
    "ClosureResult": lambda r: closure(),
    "CalibrationResult": lambda r: CalibrationResult(
        np.arange(3.0), NUMBERS, NUMBERS, ERRORS, ERRORS, NUMBERS, np.eye(2), NUMBERS
    ),
    "WorkspaceSummary": lambda r: pyhf_summary(),
    "WorkspaceSummary of densities": lambda r: nsbi_summary(),
    "InputsReport": lambda r: InputsReport(
        (ChannelInputs(NAME, 1, False, VALUE, None),), (), (), (), (), ()
    ),
    "RatioErrors": lambda r: ratio_errors(),
    "LCurve": lambda r: LCurve(
        NUMBERS * 0, NUMBERS, NUMBERS * 0, NUMBERS * 0, NUMBERS * 0, (r, r)
    ),
    "RegionalFit": lambda r: RegionalFit(None, None, r),
    "SasParameters": lambda r: sas(),
    "Parameters": lambda r: parameters(),
    "TemplateResults": lambda r: template_results(),
    "Limit": lambda r: Limit(0.05, 1.5, np.arange(5.0), NAME),
}
# `test_notebooks.py` has these, from fits.
ELSEWHERE = {"LimitsResult", "ClsResult", "DiscoveryResult", "RankingResult"}
# Records without a name in their table, and those that a user names nothing in.
NAMELESS = {
    "TestStatResult",
    "HypoTestResult",
    "BandValues",
    "ToyPValue",
    "GoodnessResult",
    "SaturatedToys",
    "ClosureResult",
    "CalibrationResult",
    "LCurve",
}


def cells(text):
    return ["".join(cell.itertext()) for cell in ET.fromstring(text).iter("td")]


@pytest.mark.parametrize("kind", RECORDS)
def test_tables_are_escaped_and_without_noise(kind, fitted):
    text = RECORDS[kind](fitted)._repr_html_()
    assert cells(text)
    assert (kind in NAMELESS) or any(
        NAME in words for words in ET.fromstring(text).itertext()
    )
    for words in ET.fromstring(text).itertext():
        assert not re.search(r"e-(1[5-9]|[2-9]\d)", words), words
        assert not re.search(r"(?<![\d.])[-+]0(\.0*)?%?(?![\d.])", words), words


@pytest.mark.parametrize(
    "kind",
    [
        "FitResult",
        "MinosResult",
        "PropagationResult",
        "MappingResult",
        "Measurements",
        "Parameters",
        "TemplateResults",
        "SasParameters",
        "RegionalFit",
        "ClosureResult",
    ],
)
def test_values_have_two_digits_of_their_errors(kind, fitted):
    shown = cells(RECORDS[kind](fitted)._repr_html_())
    assert {ZERO, ROUNDED} <= set(shown)
    assert SPREAD in {text.lstrip("+-") for text in shown}


def test_every_class_with_a_table_is_here():
    found = set()
    for path in Path(ew.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef) or node.name == "Shown":
                continue
            bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
            methods = {getattr(part, "name", "") for part in node.body}
            if "Shown" in bases or "_repr_html_" in methods:
                found.add(node.name)
    assert found - set(RECORDS) - ELSEWHERE == set()
