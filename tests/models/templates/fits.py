"""The template fits of `tests/cases/templates/expected_fits.json`, as models."""

import functools as ft
import json

import numpy as np

from everwillow.mappings import parse_mapping
from everwillow.models.templates import TemplateModel
from everwillow.models.templates.likelihood.regularisation import Curvature
from everwillow.models.templates.rates import Fixed, Mixture, Strengths
from tests.models.templates import cases


def mixture(layout):
    starts = {"signal_exp_bkg_mixing": 0.8}
    return Mixture(layout, [("signal", "exp_bkg")]).with_starts(starts)


def negative(layout):
    return Strengths(layout, "signal", negative=True)


# What each fit asks for besides the templates.
OPTIONS = {
    "default": {},
    "noBBB": {"statistics": None},
    "asym": {},
    "conservative": {},
    "quadratic": {},
    "systnormal": {"parameters": negative},
    "bb_full_normmult": {"per_process": True},
    "bb_lite_normmult": {"statistics": "normal"},
    "bb_lite_normadd": {"statistics": "additive"},
    "chisq": {"likelihood": "chi2", "statistics": None},
    "covfit": {"likelihood": "covariance"},
    "asimov": {},
    "allowneg": {"parameters": negative},
    "ones": {"parameters": Fixed},
    "mixture": {"parameters": mixture},
    "external": {},
    "sparse": {},
    "svd_reg": {
        "regularisation": Curvature(parse_mapping("Project ch0 x"), strength=1.0)
    },
    "frozen_nonprof": {},
}
FROZEN = {"flat_bkg_norm": 0.0, "exp_bkg_shape": 0.0}


@ft.cache
def reference():
    """Return what another tool found."""
    return json.loads((cases.FOLDER / "expected_fits.json").read_text())


@ft.cache
def model(name):
    """Return the model of a fit, without its results."""
    spec = cases.builder(reference()["fits"][name]["model"]).spec()
    return TemplateModel.from_spec(spec, **OPTIONS[name])


def expected(name):
    """Return names, values, errors and covariance on the physical scale."""
    said = reference()["fits"][name]
    values, size = np.array(said["values"]), len(said["names"])
    slope = np.ones(size)
    if "--allowNegativeParam" not in said["options"]:
        # The first one may be a strength or a fraction, of which the root is stored.
        roots = np.array([n.startswith("signal") for n in said["names"]])
        slope = np.where(roots, 2 * values, 1)
        values = np.where(roots, values**2, values)
    lower = np.zeros((size, size))
    lower[np.tril_indices(size)] = said["covariance"]
    covariance = lower + np.tril(lower, -1).T
    errors = slope * np.array(said["errors"])
    return said["names"], values, errors, slope[:, None] * covariance * slope
