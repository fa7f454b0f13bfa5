"""Each member of a back-end does what spey's contract says of it."""

import importlib.metadata
import subprocess
import sys

import numpy as np
import pytest

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    FitError,
    KeyCollisionError,
    NonFiniteError,
    ShapeMismatchError,
    UnknownKeyError,
)
from tests.helpers import (
    count_jax_work,
    finite_difference_gradient,
    finite_difference_jacobian,
)
from tests.interop.spey_models import (
    APOSTERIORI,
    APRIORI,
    DOCUMENT,
    document,
    shared,
    spey,
    two_bins,
)
from tests.interop.workspaces import patched, two_bins as two_bin_workspace


ALPHA, MU = 0, 1
POINT = np.array([0.4, 1.3])
LISTS = ("doi", "arXiv", "zenodo", "inspire")


def backend():
    return shared().backend


@pytest.mark.parametrize("name", ["everwillow.hs3", "everwillow.pyhf"])
def test_spey_finds_the_back_ends_and_their_metadata(name):
    assert name in spey.AvailableBackends()
    metadata = spey.get_backend_metadata(name)
    assert metadata["name"] == name
    assert metadata["version"] == importlib.metadata.version("everwillow")
    assert metadata["author"]
    assert "0.2.6" in metadata["spey_requires"]
    entry = spey._backend_entries[name].load()
    assert all(isinstance(getattr(entry, key), list) for key in LISTS)


def test_without_spey_the_error_says_what_to_install():
    script = "import sys; sys.modules['spey'] = None; import everwillow.interop.spey"
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert 'pip install ".[spey]"' in done.stderr


def test_config():
    config = backend().config()
    # mu_bkg is fixed, and no part of the parameters.
    assert config.parameter_names == ["alpha_bkg", "mu"]
    assert config.poi_index == MU
    assert config.minimum_poi == pytest.approx(-8.0, rel=1e-12)
    assert config.suggested_init == [0.0, 1.0]
    assert config.suggested_bounds == [(-5.0, 5.0), (config.minimum_poi, 10.0)]
    bounded = backend().config(allow_negative_signal=False, poi_upper_bound=40.0)
    assert bounded.suggested_bounds == [(-5.0, 5.0), (0.0, 40.0)]
    # spey writes into the lists.
    config.suggested_init[MU] = 7.0
    assert backend().config().suggested_init == [0.0, 1.0]


@pytest.mark.slow
def test_a_parameter_of_interest_that_the_document_holds_floats():
    held = document()
    held["parameter_points"][0]["parameters"][0]["const"] = True
    model = two_bins(hs3_dict=held)
    assert model.backend.config().parameter_names == ["alpha_bkg", "mu"]
    assert model.maximize_likelihood()[0] == pytest.approx(
        shared().maximize_likelihood()[0], rel=1e-8
    )


def test_gradient_is_that_of_finite_differences():
    for data in (None, [50.0, 61.0], [50.0, 61.0, 0.7]):
        value = backend().get_objective_function(data=data, do_grad=False)
        both = backend().get_objective_function(data=data, do_grad=True)
        assert both(POINT)[0] == value(POINT)
        assert value(POINT) == -backend().get_logpdf_func(data=data)(POINT)
        expected = finite_difference_gradient(value, POINT)
        np.testing.assert_allclose(both(POINT)[1], expected, rtol=1e-9)


def test_hessian_is_that_of_finite_differences():
    found = backend().get_hessian_logpdf_func(expected=APRIORI)(POINT)
    slope = backend().get_objective_function(expected=APRIORI)
    expected = -finite_difference_jacobian(lambda x: slope(np.asarray(x))[1], POINT)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.slow
def test_sigma_of_the_poi_is_that_of_the_covariance():
    nll, pars = backend().negative_loglikelihood(1.0)
    hessian = -backend().get_hessian_logpdf_func()(pars)
    expected = np.sqrt(np.linalg.inv(hessian)[MU, MU])
    assert shared().sigma_mu(1.0) == pytest.approx(expected, rel=1e-5)
    assert nll == pytest.approx(backend().get_objective_function()(pars)[0])


def test_data_without_auxiliary_ones_have_those_observed():
    main = backend().get_logpdf_func(data=[53.0, 57.0])(POINT)
    both = backend().get_logpdf_func(data=[53.0, 57.0, 0.0])(POINT)
    assert main == both == backend().get_logpdf_func()(POINT)
    moved = backend().get_logpdf_func(data=[53.0, 57.0, 0.4])(POINT)
    # The constraint is a unit Gaussian around alpha = 0.4.
    assert moved - both == pytest.approx(0.5 * 0.4**2, rel=1e-12)


def test_expected_data_by_hand():
    # Inside +-1 the code 4 of a symmetric +-10 % is not linear; at 1 it is exact.
    found = backend().expected_data([1.0, 2.0])
    np.testing.assert_allclose(found, [44.0 + 10.0, 66.0 + 10.0, 1.0], rtol=1e-13)
    nominal = two_bins(auxiliary_asimov="nominal").backend.expected_data([1.0, 2.0])
    assert nominal == found[:2]


def test_a_fit_of_asimov_data_ends_where_they_were_made():
    for kind, statistic, value in (
        (APOSTERIORI, "qtilde", 0.0),
        (APRIORI, "q", 0.0),
        (APOSTERIORI, "q0", 1.0),
    ):
        nll, pars = backend().minimize_asimov_negative_loglikelihood(kind, statistic)
        _, made = backend().negative_loglikelihood(value, kind)
        np.testing.assert_allclose(pars, made, atol=1e-6)
        data = backend().expected_data(made)
        expected = -backend().get_logpdf_func(data=data)(made)
        assert nll == pytest.approx(expected, rel=1e-12)
        at, _ = backend().asimov_negative_loglikelihood(value, kind, statistic)
        assert at == pytest.approx(nll, rel=1e-12)


def test_a_priori_data_are_the_nominal_background():
    shifted = document()
    shifted["parameter_points"][0]["parameters"][2]["value"] = 0.8
    log_density = two_bins(hs3_dict=shifted).backend.get_logpdf_func(APRIORI)
    expected = backend().get_logpdf_func(data=[40.0, 60.0, 0.0])(POINT)
    # The auxiliary measurement of alpha is at 0, wherever a fit may start.
    assert log_density(POINT) == pytest.approx(expected, rel=1e-13)


def test_fast_members_return_what_their_caller_expects():
    nll, pars = backend().negative_loglikelihood(poi_test=2.0)
    assert isinstance(nll, float)
    assert pars.shape == (2,)
    assert pars[MU] == 2.0
    assert shared().likelihood(2.0) == nll
    again, found = shared().likelihood(2.0, return_parameters=True)
    assert again == nll
    np.testing.assert_array_equal(found, pars)
    least, best = backend().minimize_negative_loglikelihood()
    assert shared().maximize_likelihood() == (best[MU], least)
    chosen, _ = shared().maximize_likelihood(poi_indices=["alpha_bkg", 1])
    assert chosen == {"alpha_bkg": best[ALPHA], 1: best[MU]}


def test_fits_agree_with_those_of_spey():
    # A setting of its optimisers is a wish for them.
    for mu in (0.0, 1.0, 3.0):
        theirs = shared().likelihood(mu, minimizer="scipy")
        assert theirs == pytest.approx(shared().likelihood(mu), abs=1e-6)
        assert shared().likelihood(mu) <= theirs + 1e-10
    theirs = shared().asimov_likelihood(2.0, tol=1e-9)
    assert theirs == pytest.approx(shared().asimov_likelihood(2.0), abs=1e-6)
    best, least = shared().maximize_likelihood(method="SLSQP")
    ours = shared().maximize_likelihood()
    assert best == pytest.approx(ours[0], abs=1e-2)
    assert ours[1] <= least + 1e-10


def test_parameters_can_be_held_started_and_bounded():
    both, pars = backend().negative_loglikelihood({"mu": 1.0, "alpha_bkg": 0.5})
    assert both == pytest.approx(8.198021455432, rel=1e-12)
    np.testing.assert_array_equal(pars, [0.5, 1.0])
    assert shared().likelihood({"mu": 1.0, 0: 0.5}) == both
    _, inside = shared().likelihood(
        4.0, par_bounds=[(-0.1, 0.1), (None, None)], return_parameters=True
    )
    assert inside[ALPHA] == pytest.approx(-0.1)
    assert shared().likelihood(4.0, init_pars=[3.0, 9.0]) == pytest.approx(
        shared().likelihood(4.0), rel=1e-12
    )
    best, _ = shared().maximize_likelihood(
        fixed_poi_value={"alpha_bkg": 0.0}, poi_indices=["mu", "alpha_bkg"]
    )
    assert best["alpha_bkg"] == 0.0
    # Without the nuisance parameter the score of mu vanishes at 1.1...
    slope = backend().get_objective_function()(np.array([0.0, best["mu"]]))[1]
    assert slope[MU] == pytest.approx(0.0, abs=1e-6)


def test_a_negative_best_fit_only_where_it_is_allowed():
    data = [35.0, 55.0]
    allowed, low = shared().maximize_likelihood(data=data)
    bounded, high = shared().maximize_likelihood(data=data, allow_negative_signal=False)
    assert allowed < -0.5
    assert bounded == 0.0
    assert low < high
    assert high == pytest.approx(shared().likelihood(0.0, data=data), rel=1e-12)


def test_a_second_model_traces_nothing():
    def work(model):
        model.exclusion_confidence_level(expected=APOSTERIORI)
        model.exclusion_confidence_level(poi_test=2.5)
        model.poi_upper_limit(expected=APRIORI)
        model.significance()
        model.likelihood(1.0, data=[50.0, 61.0, 0.2])

    work(two_bins())
    with count_jax_work() as seen:
        work(two_bins())
    assert (seen.traces, seen.compilations) == (0, 0)


def test_a_model_without_signal_excludes_nothing():
    model = two_bins(signal_yields={"channel": [0.0, 0.0]})
    assert not model.is_alive
    assert shared().is_alive
    assert model.poi_upper_limit() == np.inf
    assert model.exclusion_confidence_level() == [0.0]
    assert model.exclusion_confidence_level(expected=APRIORI) == [0.0] * 5


def test_very_small_and_very_large_signals():
    unit = shared().poi_upper_limit()
    for scale in (1e-4, 1e2):
        model = two_bins(signal_yields={"channel": [5.0 * scale, 5.0 * scale]})
        assert model.poi_upper_limit() * scale == pytest.approx(unit, rel=2e-4)


@pytest.mark.slow
def test_impossible_data_are_an_error_and_no_exclusion():
    empty = document()
    empty["distributions"][0]["samples"][0]["data"]["contents"] = [0.0, 60.0]
    # The events of the first bin can only be signal.
    model = two_bins(hs3_dict=empty)
    assert model.backend.get_logpdf_func()(np.array([0.0, 0.0])) == -np.inf
    assert model.maximize_likelihood()[0] > 5.0
    with pytest.raises(FitError, match="of the observed data with mu = 0 failed"):
        model.exclusion_confidence_level()
    with pytest.raises(FitError, match="of the observed data with mu = 0 failed"):
        model.likelihood(0.0)


def test_nan_is_an_error():
    with pytest.raises(NonFiniteError, match="number 1 is nan"):
        shared().likelihood(1.0, data=[50.0, np.nan])
    with pytest.raises(NonFiniteError, match="must be finite"):
        shared().likelihood(np.nan)
    with pytest.raises(NonFiniteError, match=r"NaN at alpha_bkg = nan, mu = 1"):
        backend().get_logpdf_func()(np.array([np.nan, 1.0]))
    with pytest.raises(NonFiniteError, match="not finite"):
        backend().expected_data([np.nan, 1.0])


def test_wrong_arguments():
    with pytest.raises(ShapeMismatchError, match="2 main data and 1 auxiliary data"):
        shared().likelihood(1.0, data=[50.0])
    with pytest.raises(ShapeMismatchError, match="expected 2 numbers"):
        backend().expected_data([1.0])
    with pytest.raises(UnknownKeyError, match="'alpha_bgk'"):
        shared().likelihood({"alpha_bgk": 1.0})
    with pytest.raises(ShapeMismatchError, match="expected 2 pairs, got 1"):
        shared().likelihood(1.0, par_bounds=[(0.0, 1.0)])
    with pytest.raises(ArgumentValueError, match="auxiliary_asimov"):
        two_bins(auxiliary_asimov="main")
    with pytest.raises(ArgumentValueError, match="test_statistics"):
        backend().asimov_negative_loglikelihood(1.0, test_statistics="tmu")
    with pytest.raises(UnknownKeyError, match="'chanel'"):
        two_bins(signal_yields={"chanel": [5.0, 5.0]})
    with pytest.raises(ShapeMismatchError, match="3 yields"):
        two_bins(signal_yields={"channel": [5.0, 5.0, 5.0]})
    with pytest.raises(ArgumentValueError, match="Give signal_yields"):
        two_bins(signal_yields=None)
    with pytest.raises(UnknownKeyError, match=r"poi_name.*'nu'"):
        two_bins(signal_yields=None, poi_name="nu")


def test_wrong_arguments_of_pyhf_workspaces():
    get = spey.get_backend("everwillow.pyhf")
    workspace, patch = two_bin_workspace()
    with pytest.raises(ArgumentTypeError, match="give one workspace"):
        get(signal_patch=patch)
    with pytest.raises(UnknownKeyError, match="'Channel'"):
        get(workspace=workspace, signal_yields={"Channel": [5.0, 5.0]})
    with pytest.raises(ShapeMismatchError, match="1 yields, but the channel 'channel'"):
        get(workspace=workspace, signal_yields={"channel": [5.0]})
    whole = patched(workspace, patch)
    with pytest.raises(KeyCollisionError, match="has a sample 'signal'"):
        get(workspace=whole, signal_yields={"channel": [5.0, 5.0]})
    workspace["measurements"][0]["config"]["poi"] = ""
    with pytest.raises(ArgumentValueError, match="poi_name"):
        get(workspace=workspace, signal_yields={"channel": [5.0, 5.0]})
    model = get(
        workspace=workspace, signal_yields={"channel": [5.0, 5.0]}, poi_name="mu"
    )
    assert model.exclusion_confidence_level()[0] == pytest.approx(
        shared().exclusion_confidence_level()[0], rel=1e-9
    )
    assert DOCUMENT["analyses"][0]["parameters_of_interest"] == ["mu"]
