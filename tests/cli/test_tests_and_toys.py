"""Significances, toys and goodness of fit on the command line."""

import json
import math
import re

import numpy as np
import pytest

import everwillow as ew
from everwillow.goodness import saturated_test, saturated_toys
from everwillow.models.histfactory import from_pyhf
from everwillow.toys import fit_toys
from tests.cli.documents import QUICKSTART, SEARCH
from tests.cli.test_fit import row
from tests.cli.test_inference import table_in
from tests.cli.test_input import said


@pytest.fixture(scope="module")
def model():
    return from_pyhf(QUICKSTART)


@pytest.mark.slow
def test_significance_is_that_of_the_function(run, model, tmp_path):
    out = tmp_path / "z.json"
    done = run("significance", QUICKSTART, "--signal", 2, "--out", out)
    assert done.exit_code == 0, said(done)
    wanted = ew.discovery(model, mu_asimov=2.0)
    observed, expected = table_in(done.stdout, "Significance of mu > 0\n")
    assert observed == [
        "observed",
        f"{wanted.significance:.3f}",
        f"{wanted.pvalue:.3g}",
    ]
    assert expected[:2] == ["expected, mu = 2", f"{wanted.expected:.3f}"]
    stored = ew.io.load(out)
    np.testing.assert_allclose(stored.significance, wanted.significance, rtol=1e-6)
    answer = json.loads(run("significance", QUICKSTART, "--format", "json").stdout)
    assert answer["significance"] == pytest.approx(wanted.significance, rel=1e-6)
    assert answer["expected"]["signal"] == 1.0
    tail = math.erfc(answer["expected"]["significance"] / math.sqrt(2)) / 2
    assert answer["expected"]["pvalue"] == pytest.approx(tail)
    assert "--plot" not in run("significance", "--help").stdout


def test_a_wrong_signal_names_its_option(run):
    done = run("significance", SEARCH, "--signal", -1)
    assert done.exit_code == 2
    assert "--signal (mu): -1 is not" in done.stderr
    assert "--poi" not in done.stderr


@pytest.mark.slow
def test_a_p_value_that_underflows_is_a_bound(run):
    done = run("significance", SEARCH, "--poi", "lumi")
    assert row(done.stdout, "observed")[1] == "< 1e-300"


@pytest.mark.slow
def test_a_deficit_has_no_significance(run, write, tiny):
    tiny["observations"][0]["data"] = [40.0, 30.0]
    done = run("significance", write(tiny))
    assert done.exit_code == 0
    assert row(done.stdout, "observed")[0] == "0.000"
    assert "There is no excess" in done.stdout


@pytest.mark.slow
def test_toys_are_those_of_the_function(run, model, tmp_path):
    out = tmp_path / "toys.npz"
    options = ["--toys", 50, "--seed", 3, "--at", "mu=2", "--out", out]
    done = run("toys", QUICKSTART, *options)
    assert done.exit_code == 0, said(done)
    best = ew.fit(model).params
    truth = ew.State.from_pytree({**best, "mu": 2.0})
    wanted = fit_toys(model, truth, ntoys=50, key=3)
    stored = ew.io.load(out)
    np.testing.assert_allclose(stored["fits"].params["mu"], wanted.params["mu"], 1e-5)
    assert stored["true_values"]["mu"] == 2.0
    pulls = (wanted.params["mu"] - 2.0) / wanted.errors["mu"]
    pulls = pulls[np.isfinite(pulls)]
    cells = row(done.stdout, "mu")
    assert float(cells[0]) == 2.0
    assert cells[3:5] == [f"{pulls.mean():+.2f}", f"{pulls.std():.2f}"]
    assert cells[5].startswith(f"{np.mean(np.abs(pulls) <= 1):.3f} +- ")
    assert "50 of 50 toys ended at a minimum" in done.stdout
    answer = json.loads(run("toys", QUICKSTART, *options, "--format", "json").stdout)
    assert answer["failures"] == 0
    true = {one["name"]: one["true_value"] for one in answer["parameters"]}
    (fitted,) = [one for one in answer["parameters"] if one["name"] == "mu"]
    assert fitted["mean"] == pytest.approx(np.mean(wanted.params["mu"]), abs=1e-5)
    assert fitted["width"] == pytest.approx(np.std(wanted.params["mu"]), abs=1e-5)
    assert true["mu"] == 2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--at", "mu"], "--at mu: expected NAME=VALUE"),
        (["--at", "mv=1"], "--at: there is no parameter 'mv'"),
        (["--toys", "0"], "--toys"),
    ],
)
def test_wrong_options_of_toys(run, options, message):
    done = run("toys", QUICKSTART, *options)
    assert done.exit_code == 2
    assert message in said(done)


@pytest.mark.slow
def test_the_plot_of_toys(run, tmp_path):
    pytest.importorskip("matplotlib")
    plot = tmp_path / "toys.pdf"
    assert run("toys", QUICKSTART, "--toys", 20, "--plot", plot).exit_code == 0
    assert plot.read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_goodness_of_fit_is_that_of_the_functions(run, model, write, tiny, tmp_path):
    file = write(tiny)
    done = run("gof", file, "--out", tmp_path / "gof.json")
    assert done.exit_code == 0, said(done)
    model = from_pyhf(file)
    best = ew.fit(model)
    wanted = saturated_test(model, best)
    assert f"q = {wanted.statistic:.5g}, degrees of freedom 1" in done.stdout
    assert f"p = {wanted.pvalue:.3g} (chi2" in done.stdout
    stored = ew.io.load(tmp_path / "gof.json")
    np.testing.assert_allclose(stored.statistic, wanted.statistic, rtol=1e-6)
    done = run("gof", file, "--toys", 100, "--seed", 4, "--format", "json")
    answer = json.loads(done.stdout)["toys"]
    toys = saturated_toys(model, best, ntoys=100, key=4).toys
    assert answer["pvalue"] == pytest.approx(float(toys.pvalue), abs=0.021)
    assert answer["valid"] + answer["failed"] == 100


@pytest.mark.slow
def test_without_degrees_of_freedom_there_is_no_pvalue(run):
    done = run("gof", QUICKSTART)
    assert done.exit_code == 0
    assert "degrees of freedom 1" in done.stdout or "There is no p-value" in done.stdout


@pytest.mark.slow
def test_intervals_of_a_fit(run, model, tmp_path):
    out = tmp_path / "fit.json"
    done = run("fit", QUICKSTART, "--minos", "--out", out)
    assert done.exit_code == 0, said(done)
    found = ew.io.load(out)["intervals"]
    assert found.names == ("mu",)
    wanted = ew.profile.minos(model, ew.fit(model), names="mu")
    np.testing.assert_allclose(found.upper, wanted.upper, rtol=1e-5)
    ((name, *_),) = table_in(done.stdout, "Intervals from the profile likelihood")
    assert name == "mu"
    done = run("fit", QUICKSTART, "--minos=mu,alpha*", "--format", "json")
    names = [one["name"] for one in json.loads(done.stdout)["minos"]["intervals"]]
    assert sorted(names) == ["alpha_bkg", "mu"]
    done = run("fit", QUICKSTART, "--minos", "none")
    assert done.exit_code == 2
    assert "--minos: there is no parameter 'none'" in said(done)


@pytest.mark.slow
def test_an_element_is_of_interest(run, write, tiny):
    file = write(tiny)
    limit = json.loads(run("limit", file, "--poi", "stat[1]", "--format=json").stdout)
    wanted = ew.limits(from_pyhf(file), "stat[1]")
    assert limit["poi"] == "stat[1]"
    assert limit["observed"] == pytest.approx(float(wanted.observed), rel=1e-5)
    scan = run("scan", file, "--poi", "stat[1]", "--points", 3)
    assert scan.exit_code == 0, said(scan)
    assert "Profile of stat[1]" in scan.stdout
    ranked = run("impacts", file, "--poi", "stat[1]")
    assert re.search(r"Impacts on stat\[1\] = ", ranked.stdout)
    fitted = run("fit", file, "--poi", "stat[1]", "--minos")
    assert "Parameter of interest\n" in fitted.stdout
    done = run("limit", file, "--poi", "stat[2]")
    assert done.exit_code == 2
    assert "--poi: there is no parameter 'stat[2]'; 'stat' has the elements 0 to 1" in (
        said(done)
    )


@pytest.mark.slow
def test_what_the_document_fixes_is_freed(run, write, tiny):
    settings = tiny["measurements"][0]["config"]["parameters"]
    settings.append({"name": "norm", "fixed": True})
    file = write(tiny)
    assert "Fixed: norm" in run("fit", file).stdout
    free = run("fit", file, "--free", "norm")
    assert "Fixed" not in free.stdout
    settings.clear()
    wanted = run("fit", write(tiny)).stdout
    assert free.stdout.splitlines()[1:-1] == wanted.splitlines()[1:-1]
    some = run("fit", file, "--fix", "stat*", "--free", "stat[1]")
    assert "Fixed: stat[0]" in some.stdout
    done = run("fit", file, "--free", "nor")
    assert "--free: there is no parameter 'nor'. Did you mean 'norm'?" in said(done)
