"""Documents of ROOT 6.40: -ln L is that of ROOT before the export.

Errors in the exports of HistFactory models have 7 digits.
"""

import json

import jax
import numpy as np
import pytest
import scipy.optimize

import everwillow as ew
from everwillow._errors import EverwillowError
from everwillow.models.hs3 import load, read_spec
from everwillow.models.hs3.terms import build_terms
from tests.models.hs3 import closed_form
from tests.models.hs3.documents import (
    DATA,
    MU,
    channel,
    constraint,
    document,
    modifier,
    parameter,
    sample,
)


ROOT = DATA / "root640"
EXPECTED = json.loads((ROOT / "expected.json").read_text())
HISTFACTORY = ("hf_basic", "hf_gauss", "hf_lumi", "hf_sf")
PACKAGES = {"metadata": {"hs3_version": "0.2", "packages": [{"name": "ROOT"}]}}


def export(name):
    return json.loads((ROOT / f"{name}.hs3.json").read_text())


def exported_spec(name):
    return read_spec(export(name), analysis="simPdf_obsData")


@pytest.mark.parametrize("name", HISTFACTORY)
def test_histfactory_along_the_poi(name):
    spec = exported_spec(name)
    start = closed_form.nll(spec, {"mu": 1.0})
    for mu, wanted in EXPECTED[name]["scan"]:
        found = closed_form.nll(spec, {"mu": mu}) - start
        assert found == pytest.approx(wanted, abs=1e-8)


@pytest.mark.parametrize("name", HISTFACTORY)
def test_histfactory_at_points_of_all_parameters(name):
    """Where ROOT truncates the constraint of the luminosity ours is not truncated.

    Over the range of its global observable, which ends at 1.2, the density of ROOT is
    larger by the inverse of what is left of it.
    """
    spec = exported_spec(name)
    start = closed_form.nll(spec, {"mu": 1.0})
    for point in EXPECTED[name]["points"]:
        values = point["parameters"]
        wanted = point["dnll"]
        if "Lumi" in values:
            wanted -= _log_share(values["Lumi"], spec) - _log_share(1.0, spec)
        found = closed_form.nll(spec, values) - start
        assert found == pytest.approx(wanted, abs=1e-6)


def _log_share(lumi, spec):
    """Return the logarithm of what a Gaussian around `lumi` has between 0 and 1.2."""
    stats = pytest.importorskip("scipy.stats")
    kind, nominal, sigma = constraint(spec, "Lumi")
    assert (kind, nominal) == ("normal", 1.0)
    inside = stats.norm.cdf([0.0, 1.2], lumi, sigma)
    return np.log(inside[1] - inside[0])


def test_a_shape_factor_is_free():
    """ROOT writes it as a shapesys whose `vals` are 0, with a constraint's type."""
    spec = exported_spec("hf_sf")
    for index in range(3):
        assert constraint(spec, f"gamma_freeCR_bin_{index}") is None
        assert not parameter(spec, f"gamma_freeCR_bin_{index}").fixed
    assert constraint(spec, "gamma_unc_bin_0") is not None
    assert any("'freeCR' are 0" in sentence for sentence in spec.report)


def shapesys(vals, **entries):
    names = [f"g{i}" for i in range(len(vals))]
    made = modifier("shapesys", parameters=names, data={"vals": vals}, name="free")
    return channel("SR", sample("b", [50.0, 40.0], made | entries, MU))


@pytest.mark.parametrize("word", [{}, {"constraint_type": "Gauss"}])
def test_bins_without_error_in_documents_of_root(word):
    """A bin without error is free unless the document holds it."""
    made = document(
        shapesys([0.1, 0.0], **word), points={"mu": 1.0, "g1": (1.0,)}, **PACKAGES
    )
    spec = read_spec(made)
    assert constraint(spec, "g0") is not None
    assert (constraint(spec, "g1"), parameter(spec, "g1").fixed) == (None, True)


def test_errors_of_zero_in_documents_of_others():
    """All of them zero is a ShapeFactor, for pyhf a shapesys that does nothing."""
    spec = read_spec(document(shapesys([0.0, 0.0])))
    assert (constraint(spec, "g0"), parameter(spec, "g0").fixed) == (None, False)
    spec = read_spec(document(shapesys([5.0, 0.0])))
    assert (constraint(spec, "g1")[0], parameter(spec, "g1").fixed) == ("poisson", True)
    packages = {"hs3_version": "0.2", "packages": [{"name": "pyhf"}]}
    spec = read_spec(document(shapesys([0.0, 0.0]), metadata=packages))
    assert (constraint(spec, "g0")[0], parameter(spec, "g0").fixed) == ("poisson", True)


def test_domains_and_points_of_root():
    """Null for no axes, one end only, and ranges in the points."""
    made = document(shapesys([0.1, 0.1]), points={"mu": 1.0}, **PACKAGES)
    made["domains"] = [
        {"name": "D", "type": "product_domain", "axes": None},
        {
            "name": "default_domain",
            "type": "product_domain",
            "axes": [{"name": "g0", "min": 0.5}],
        },
    ]
    made["parameter_points"].append({"name": "empty", "parameters": None})
    made["parameter_points"][0]["parameters"] += [
        {"name": "g1", "value": 1.0, "min": 0.25, "max": 4.0},
        {"name": "g0", "value": 1.0, "min": 0.25, "max": 4.0},
    ]
    spec = read_spec(made)
    assert (parameter(spec, "g0").lower, parameter(spec, "g0").upper) == (0.5, np.inf)
    assert (parameter(spec, "g1").lower, parameter(spec, "g1").upper) == (0.25, 4.0)
    assert any("ranges of 'g1'" in sentence for sentence in spec.report)


OTHERS = {
    "histpdf_sum": 1e-9,
    "realsum_interp": 1e-9,
    "unbinned_various": 1e-9,
    "generic_cheb": 5e-8,  # ROOT normalises the formula by quadrature
    "cb_voigt": 1e-9,
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "accuracy"), OTHERS.items())
def test_other_exports_along_the_poi(name, accuracy):
    model = load(export(name))
    values = dict(model.state)
    start = float(model.nll(values))
    for mu, wanted in EXPECTED[name]["scan"]:
        found = float(model.nll(values | {"mu": mu})) - start
        assert found == pytest.approx(wanted, abs=accuracy)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["histpdf_sum", "realsum_interp", "cb_voigt"])
def test_exports_fit_and_so_do_their_asimov_data(name):
    """The minimum is that of scipy; Asimov data are fitted by what made them."""
    model = load(export(name))
    free = sorted(set(model.state) - set(model.fixed))
    ends = [(model.bounds[n].lower, model.bounds[n].upper) for n in free]
    start = dict(model.state)
    value = jax.jit(lambda x: model.nll(start | dict(zip(free, x, strict=True))))
    found = ew.fit(model)
    assert found.success
    scipy_fit = scipy.optimize.minimize(
        value,
        [start[n] for n in free],
        jac=jax.jit(jax.grad(value)),
        bounds=ends,
        tol=1e-12,
    )
    assert float(model.nll(found.params)) == pytest.approx(scipy_fit.fun, abs=1e-7)
    truth = start | {"mu": 1.3}
    again = ew.fit(model, observation=model.asimov(truth))
    for n in free:
        assert float(again.params[n]) == pytest.approx(float(truth[n]), abs=1e-4)


def test_toys_of_histograms_have_their_means():
    model = load(export("realsum_interp"))
    truth = dict(model.state)
    wanted = model.asimov(truth)["main"]["main"]
    np.testing.assert_allclose(wanted, 2.0 * np.array([31, 26, 25, 16, 10]))
    draw = jax.jit(jax.vmap(lambda key: model.sample(truth, key)["main"]))
    toys = draw(jax.random.split(jax.random.key(3), 2000))
    pulls = (np.mean(toys, axis=0) - wanted) / np.sqrt(wanted / 2000)
    assert np.abs(pulls).max() < 4.0


def test_truncated_constraints_are_reported():
    """ROOT truncates at the range of the global observable; ours stays whole."""
    sentence = "ROOT normalises the constraints of 'Lumi'"
    for name, said in {"hf_basic": False, "hf_lumi": True}.items():
        report = exported_spec(name).report
        assert any(sentence in one for one in report) == said
    assert any(
        "constraints of 'B'" in one for one in load(export("histpdf_sum")).report
    )
    others = export("histpdf_sum") | {"misc": {}, "metadata": {"hs3_version": "0.2"}}
    assert not any("ROOT normalises" in one for one in load(others).report)


PIECES = {
    "signal": {"type": "gaussian_dist", "x": "x", "mean": 1.0, "sigma": 0.5},
    "flat": {"type": "uniform_dist", "x": ["x"]},
    "box": {"type": "uniform_dist", "x": ["x", "y"]},
    "some": {"type": "extend_pdf", "pdf": "signal", "norm": "s"},
    "more": {"type": "rate_extended_dist", "pdf": "flat", "norm": "b"},
    "none": {"type": "product_dist", "factors": []},
    "sum": {
        "type": "mixture_dist",
        "summands": ["some", "more"],
        "coefficients": [],
        "extended": True,
    },
    "explicit": {
        "type": "mixture_dist",
        "summands": ["signal", "flat"],
        "coefficients": ["s", "b"],
        "extended": True,
    },
    "times": {"type": "product_dist", "factors": ["sum", "none"]},
}
EVENTS = {
    "events": {
        "type": "unbinned",
        "entries": [[0.5], [1.5], [3.0]],
        "axes": [{"name": "x", "min": 0.0, "max": 4.0}],
    },
    "plane": {
        "type": "unbinned",
        "entries": [[0.5, 1.0], [1.5, 0.0]],
        "axes": [
            {"name": "x", "min": 0.0, "max": 4.0},
            {"name": "y", "min": 0.0, "max": 3.0},
        ],
    },
}


def test_other_spellings_of_root():
    """Rates of the summands for no coefficients, lists of variables, empty products."""
    pairs = [("explicit", "events"), ("sum", "events"), ("times", "events")]
    terms = build_terms([*pairs, ("box", "plane")], distributions=PIECES, data=EVENTS)
    values = {"s": 2.0, "b": 3.0}
    wanted = float(terms[0].nll(values, terms[0].data))
    for term in terms[1:3]:
        assert float(term.nll(values, term.data)) == pytest.approx(wanted, rel=1e-14)
    box = float(terms[3].nll({}, terms[3].data))
    assert box == pytest.approx(2 * np.log(12.0), rel=1e-14)


def test_a_rate_in_a_part_of_the_range_is_refused():
    specs = PIECES | {"some": PIECES["some"] | {"range": "signal_region"}}
    with pytest.raises(EverwillowError, match="part of the range"):
        build_terms([("some", "events")], distributions=specs, data=EVENTS)
