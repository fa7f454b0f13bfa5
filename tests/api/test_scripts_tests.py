"""Forms of calls that existing scripts rely on: hypothesis tests and limits."""

import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import everwillow as ew
import everwillow.statelib as sl
from everwillow.hypotest import (
    Q0,
    AsymptoticCalculator,
    BandValues,
    EmpiricalDistribution,
    ExpectedBands,
    HypoTestCalculator,
    HypoTestResult,
    Q0Asymptotic,
    QMu,
    QMuAsymptotic,
    QTilde,
    QTildeAsymptotic,
    SimpleEmpiricalDistribution,
    TestStatResult,
    TMu,
    TMuAsymptotic,
    TMuTilde,
    TMuTildeAsymptotic,
    ToyResult,
    cl_s,
    constrained_fit,
    expected_upper_limit,
    make_asimov,
    sigma_from_asimov,
    upper_limit_scan,
    upper_limit_toys,
)
from everwillow.hypotest.upper_limit import upper_limit


SIGNAL, BACKGROUND = 10.0, 50.0
START = sl.State.from_pytree({"mu": 1.0})
TWO = sl.State.from_pytree({"mu": 1.0, "bkg": 1.0})


def predict(state):
    return state["mu"] * SIGNAL + BACKGROUND


def nll(params, n):
    rate = params["mu"] * SIGNAL + BACKGROUND
    return rate - n * jnp.log(rate)


def nll_two(params, n):
    rate = params["mu"] * SIGNAL + params["bkg"] * BACKGROUND
    return rate - n * jnp.log(rate) + 0.5 * ((params["bkg"] - 1.0) / 0.1) ** 2


def q_mu(n, mu):
    """Twice the rise of -ln L from the best fit; two-sided."""

    def twice(rate):
        return 2 * (rate - (n * np.log(rate) if n else 0.0))

    return twice(mu * SIGNAL + BACKGROUND) - twice(n)


# constrained_fit


@pytest.mark.parametrize("fixed", [None, {"bkg": 1.1}, {"mu": 3.0}])
def test_constrained_fit_takes_a_state_of_the_poi(fixed):
    poi = sl.State.from_pytree({"mu": 0.5})
    found = constrained_fit(nll_two, TWO, 60.0, poi, fixed=fixed)
    wanted = ew.fit(nll_two, TWO, 60.0, fixed={**(fixed or {}), "mu": 0.5})
    assert found.params["mu"] == 0.5
    np.testing.assert_allclose(found.nll, wanted.nll, rtol=1e-12)
    np.testing.assert_allclose(found.params["bkg"], wanted.params["bkg"], rtol=1e-6)


def test_constrained_fit_has_one_form_for_each_taste():
    by_name = constrained_fit(nll_two, TWO, 60.0, poi_key="mu", poi_value=0.5)
    for found in (
        constrained_fit(nll_two, TWO, 60.0, {"mu": 0.5}),
        constrained_fit(nll_two, TWO, 60.0, poi_fixed={"mu": 0.5, "bkg": None}),
        constrained_fit(nll_two, TWO, 60.0, poi="mu", poi_value=0.5),
    ):
        assert found.nll == by_name.nll


def test_constrained_fit_of_the_only_parameter_evaluates():
    found = constrained_fit(nll, START, 60.0, {"mu": 0.5})
    assert found.success
    assert found.solver_result is None
    np.testing.assert_allclose(found.nll, nll({"mu": 0.5}, 60.0), rtol=1e-14)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"poi_key": "mu"},
        {"poi_value": 1.0},
        {"poi_fixed": {"mu": 1.0}, "poi_key": "mu", "poi_value": 1.0},
        {"poi_fixed": 1.0},
    ],
)
def test_constrained_fit_without_a_value_is_a_type_error(given):
    with pytest.raises(TypeError):
        constrained_fit(nll, START, 60.0, **given)
    with pytest.raises(KeyError):
        constrained_fit(nll, START, 60.0, {"nu": 1.0})


# make_asimov and sigma_from_asimov


def test_make_asimov_of_a_prediction():
    np.testing.assert_allclose(make_asimov(predict, START, "mu", 2.0), 70.0)
    np.testing.assert_allclose(make_asimov(predict, START, "mu"), 50.0)
    by_name = {"params": START, "poi_key": "mu", "mu_asimov": 2.0}
    np.testing.assert_allclose(make_asimov(predict, **by_name), 70.0)
    np.testing.assert_allclose(make_asimov(predict_fn=predict, **by_name), 70.0)
    slope = jax.grad(lambda mu: make_asimov(predict, START, "mu", mu))(1.0)
    np.testing.assert_allclose(slope, SIGNAL)
    assert START["mu"] == 1.0


def test_make_asimov_of_a_likelihood_fits_the_others():
    made = make_asimov(
        nll_two,
        TWO,
        60.0,
        poi_key="mu",
        predict_fn=lambda s: s["mu"] * SIGNAL + s["bkg"] * BACKGROUND,
    )
    held = constrained_fit(nll_two, TWO, 60.0, {"mu": 0.0})
    np.testing.assert_allclose(made, held.params["bkg"] * BACKGROUND, rtol=1e-6)


def test_make_asimov_wants_a_known_poi():
    with pytest.raises(KeyError):
        make_asimov(predict, START, "nu", 0.0)
    with pytest.raises(TypeError):
        make_asimov(predict, START)
    with pytest.raises(TypeError):
        make_asimov(predict, 1.0, "mu", 0.0)


def test_make_asimov_takes_a_dict():
    made = make_asimov(predict, {"mu": 1.0}, "mu", 0.0)
    assert made == make_asimov(predict, sl.State.from_pytree({"mu": 1.0}), "mu", 0.0)


def test_sigma_from_asimov():
    np.testing.assert_allclose(sigma_from_asimov(1.0, 4.0), 0.5)
    np.testing.assert_allclose(sigma_from_asimov(1.0, 4.0, 3.0), 1.0)
    np.testing.assert_allclose(sigma_from_asimov(1.0, 4.0, mu_asimov=3.0), 1.0)
    np.testing.assert_allclose(sigma_from_asimov(1.0, 0.0), 1e5)
    np.testing.assert_allclose(sigma_from_asimov(1.0, -1e-12), 1e5)
    assert np.isnan(sigma_from_asimov(1.0, np.nan))
    np.testing.assert_allclose(jax.vmap(sigma_from_asimov)(jnp.ones(2), jnp.ones(2)), 1)


# Calculators


def test_calculators_have_defaults():
    for calculator in (
        HypoTestCalculator(nll, START, 60.0, "mu"),
        AsymptoticCalculator(nll, START, 60.0, "mu"),
        AsymptoticCalculator(
            nll_fn=nll, params=START, observation=60.0, poi_key="mu", mu_asimov=0.0
        ),
        HypoTestCalculator(nll, START, 60.0, poi="mu"),
    ):
        assert isinstance(calculator.test_statistic, QTilde)
        assert isinstance(calculator.distribution, QTildeAsymptotic)
        assert calculator.poi_key == "mu"
    by_position = AsymptoticCalculator(
        nll, START, 55.0, "mu", QTilde(), QTildeAsymptotic(), predict, None, 0.0
    )
    found = by_position.test(1.0).test_stat_result.q_asimov
    np.testing.assert_allclose(found, q_mu(50.0, 1.0), rtol=1e-6)
    tests = HypoTestCalculator(nll, START, 60.0, "mu", test_statistic=TMu())
    assert isinstance(tests.distribution, TMuAsymptotic)


def test_a_calculator_tests_a_value_by_keyword():
    tests = HypoTestCalculator(
        nll, START, 55.0, "mu", test_statistic=QMu(), distribution=QMuAsymptotic()
    )
    result = tests.test(poi_test=1.0)
    assert isinstance(result, HypoTestResult)
    np.testing.assert_allclose(result.q_obs, q_mu(55.0, 1.0), rtol=1e-6)
    wanted = norm.sf(np.sqrt(q_mu(55.0, 1.0)))
    np.testing.assert_allclose(result.null_pvalue, wanted, rtol=1e-6)
    assert (result.pnull, result.palt) == (result.null_pvalue, None)
    assert result.cl_s is None
    with pytest.warns(FutureWarning, match="poi_test"):
        assert tests.test(poi=1.0).q_obs == result.q_obs


def test_results_of_tests_print_their_numbers():
    tests = AsymptoticCalculator(nll, START, 55.0, "mu", QMu(), predict_fn=predict)
    result = tests.test(1.0)
    inner = result.test_stat_result
    assert repr(result) == (
        f"HypoTestResult(q_obs={result.q_obs:.6g}, "
        f"null_pvalue={result.null_pvalue:.6g}, alt_pvalue={result.alt_pvalue:.6g})"
    )
    assert repr(inner).startswith(
        f"TestStatResult(value={inner.value:.6g}, test=1, "
        f"q_asimov={inner.q_asimov:.6g}, extras: mu_hat, fit_free, "
    )
    assert len(repr(inner).splitlines()) == 1
    short = TestStatResult(np.nan, np.ones(2))
    assert repr(short) == (
        "TestStatResult(value=nan, test=array of shape (2,), q_asimov=None)"
    )
    assert repr(jax.tree.map(lambda _: "leaf", inner)).startswith("TestStatResult(")
    shown = []
    jax.jit(lambda q: shown.append(repr(TestStatResult(q, 1.0))) or q)(1.0)
    assert shown == ["TestStatResult(value=traced, test=1, q_asimov=None)"]


def test_explicit_asimov_data_win():
    tests = AsymptoticCalculator(
        nll,
        START,
        55.0,
        "mu",
        QTilde(),
        QTildeAsymptotic(),
        predict_fn=lambda state: 1000.0 + 0 * state["mu"],
        asimov_observation=50.0,
        mu_asimov=0.0,
    )
    result = tests.test(1.0).test_stat_result
    np.testing.assert_allclose(result.q_asimov, q_mu(50.0, 1.0), rtol=1e-6)


def test_the_asimov_poi_of_a_test_statistic_is_that_of_its_calculator():
    tests = AsymptoticCalculator(
        nll, START, 55.0, "mu", TMu(mu_asimov=2.0), predict_fn=predict
    )
    assert tests.mu_asimov == 2.0
    found = tests.test(1.0).test_stat_result.q_asimov
    np.testing.assert_allclose(found, q_mu(70.0, 1.0), rtol=1e-6)


# Test statistics


STATISTICS = (Q0, QMu, QTilde, TMu, TMuTilde)


@pytest.mark.parametrize("kind", STATISTICS)
def test_statistics_compute_without_asimov_data(kind):
    result = kind(mu_asimov=0.0).compute(nll, START, 55.0, "mu", 1.0)
    assert isinstance(result, TestStatResult)
    assert result.q_asimov is None
    tested = 0.0 if kind is Q0 else 1.0
    np.testing.assert_allclose(result.value, q_mu(55.0, tested), rtol=1e-6)
    assert result.test == tested
    by_name = kind().compute(
        nll_fn=nll, params=START, observation=55.0, poi_key="mu", poi_test=1.0
    )
    assert by_name.value == result.value
    assert (
        kind().compute(nll, START, 55.0, poi="mu", poi_test=1.0).value == by_name.value
    )


@pytest.mark.parametrize("kind", STATISTICS)
def test_statistics_have_the_poi_of_their_asimov_data(kind):
    result = kind(mu_asimov=2.0).compute(
        nll, START, 55.0, "mu", 1.0, predict_fn=predict
    )
    tested = 0.0 if kind is Q0 else 1.0
    one_sided = kind in (QMu, QTilde)  # the best fit of the Asimov data is above
    wanted = 0.0 if one_sided else q_mu(70.0, tested)
    np.testing.assert_allclose(result.q_asimov, wanted, rtol=1e-6)
    other = kind(mu_asimov=2.0).compute(
        nll, START, 55.0, "mu", 1.0, predict_fn=predict, mu_asimov=0.5
    )
    wanted = q_mu(55.0, tested)
    np.testing.assert_allclose(other.q_asimov, wanted, rtol=1e-6)


# The p-values that need no Asimov data


@pytest.mark.parametrize(
    ("distribution", "tails"),
    [(TMuAsymptotic(), 2), (QMuAsymptotic(), 1), (Q0Asymptotic(), 1)],
)
def test_null_pvalues_without_asimov_data(distribution, tails):
    result = TestStatResult(value=4.0, test=1.0, q_asimov=None)
    np.testing.assert_allclose(distribution.null_pval(result), tails * norm.sf(2.0))
    for needs in (distribution.alt_pval, distribution.expected_pvalues):
        with pytest.raises(ValueError, match="Asimov"):
            needs(result)


@pytest.mark.parametrize("distribution", [TMuTildeAsymptotic(), QTildeAsymptotic()])
def test_null_pvalues_that_need_asimov_data(distribution):
    result = TestStatResult(value=4.0, test=1.0, q_asimov=None)
    with pytest.raises(ValueError, match="Asimov"):
        distribution.null_pval(result)
    known = TestStatResult(value=4.0, test=1.0, q_asimov=9.0)
    assert 0 < distribution.null_pval(known) < 1


# Toys


def test_toys_make_a_distribution():
    null, alt = np.linspace(0.0, 8.0, 801), np.linspace(2.0, 12.0, 1001)
    toys = ToyResult(q_null=null, q_alt=alt)
    for made in (
        SimpleEmpiricalDistribution(q_null=null, q_alt=alt),
        SimpleEmpiricalDistribution.from_toys(toys),
        EmpiricalDistribution.from_toys(toys),
    ):
        result = TestStatResult(value=4.0)
        np.testing.assert_allclose(made.null_pval(result), 401 / 801)
        np.testing.assert_allclose(made.alt_pval(result), 801 / 1001)
        bands = made.expected_pvalues(result)
        level = norm.cdf([-2, -1, 0, 1, 2])
        found = [value for _, value in bands.alt_pvalue]
        np.testing.assert_allclose(found, level, atol=2e-3)
        median = np.quantile(alt, 0.5)
        wanted = np.mean(null >= median)
        np.testing.assert_allclose(bands.null_pvalue.median, wanted, atol=2e-3)
        np.testing.assert_allclose(bands.cl_s.median, wanted / 0.5, atol=4e-3)
    alone = SimpleEmpiricalDistribution(null)
    assert alone.q_alt is None
    with pytest.raises(ValueError, match="alternative"):
        alone.expected_pvalues(result)


# Bands


def test_expected_bands_have_their_published_names():
    tests = AsymptoticCalculator(nll, START, 55.0, "mu", predict_fn=predict)
    result = tests.test(2.0)
    np.testing.assert_allclose(result.cl_s, tests.cls(result), rtol=1e-12)
    bands = tests.expected(result)
    for name in ("null_pvalue", "alt_pvalue", "cl_s", "null_sig", "alt_sig"):
        assert isinstance(bands[name], BandValues)
        assert bands[name] is getattr(bands, name)
        assert bands[name]["median"] == bands[name].median
    for n, (name, p) in zip(range(-2, 3), bands.alt_pvalue, strict=True):
        np.testing.assert_allclose(p, norm.cdf(n), rtol=1e-9)
        np.testing.assert_allclose(bands.alt_sig[name], -n, atol=1e-9)
        null = norm.isf(bands.null_pvalue[name])
        np.testing.assert_allclose(bands.null_sig[name], null, rtol=1e-7)
        ratio = cl_s(bands.null_pvalue[name], p)
        np.testing.assert_allclose(bands.cl_s[name], ratio, rtol=1e-9)
    with pytest.warns(FutureWarning, match="cl_s"):
        assert bands.cls is bands.cl_s


def test_bands_are_made_by_position_and_by_name():
    band = BandValues(0.0, 1.0, 2.0, 3.0, 4.0)
    names = ("null_pvalue", "alt_pvalue", "cl_s", "null_sig", "alt_sig")
    made = ExpectedBands(**dict.fromkeys(names, band))
    assert [name for name, _ in made] == list(names)
    assert ExpectedBands(band, band, band).null_sig is None
    assert [band[i] for i in range(5)] == [band[name] for name in band.keys()]  # noqa: SIM118
    assert dict(band)["plus_2sigma"] == band[np.int64(4)] == 4.0
    for wrong in ("-2sigma", 5, -1):
        with pytest.raises(KeyError, match="there is no band"):
            band[wrong]
    assert not [name for name in dir(made) if name.startswith("old")]


# Limits


def falling(mu):
    return jnp.exp(-jnp.asarray(mu))


def test_the_forms_of_limits():
    points = np.linspace(0.0, 8.0, 401)
    for limit in (
        upper_limit(falling, (0.0, 8.0), 0.05),
        upper_limit_scan(falling, points, 0.05),
        upper_limit_scan(falling, scan=jnp.asarray(points), level=0.05),
        upper_limit_toys(
            lambda mu, key: falling(mu),
            (0.0, 8.0),
            jax.random.key(0),
            0.05,
            tol=1e-4,
            max_iterations=100,
        ),
    ):
        np.testing.assert_allclose(limit, -np.log(0.05), atol=2e-4)
    with pytest.warns(FutureWarning, match="objective_fn"):
        upper_limit(objective=falling, bounds=(0.0, 8.0))


@pytest.mark.parametrize(
    "limit",
    [
        lambda: upper_limit(falling, (0.0, 1.0), 0.05),
        lambda: upper_limit_scan(falling, np.linspace(0.0, 1.0, 5), 0.05),
        lambda: upper_limit_toys(lambda mu, key: falling(mu), (0.0, 1.0), None, 0.05),
        lambda: expected_upper_limit(
            lambda mu: BandValues(*[falling(mu)] * 5), (0.0, 1.0), 0.05
        ),
        lambda: upper_limit(lambda mu: np.nan * mu, (0.0, 1.0), 0.05),
    ],
)
def test_no_crossing_inside_is_a_runtime_error(limit):
    for kind in (RuntimeError, ValueError):
        with pytest.raises(kind):
            limit()


def test_the_module_of_limits_is_called_like_its_function():
    from everwillow.hypotest import upper_limit as imported

    for call in (imported, ew.hypotest.upper_limit):
        np.testing.assert_allclose(
            call(falling, (0.0, 5.0), 0.05),
            upper_limit(falling, (0.0, 5.0), 0.05),
            rtol=1e-12,
        )
    assert inspect.signature(imported) == inspect.signature(upper_limit)
    assert "upper_limit" in dir(ew.hypotest)


def test_expected_limits_of_bands():
    def bands(mu):
        return BandValues(*(falling(mu / scale) for scale in range(1, 6)))

    for found in (
        expected_upper_limit(bands, (0.0, 30.0), 0.05),
        expected_upper_limit(band_objective_fn=bands, bounds=(0.0, 30.0), level=0.05),
    ):
        wanted = -np.log(0.05) * np.arange(1, 6)
        np.testing.assert_allclose([v for _, v in found], wanted, rtol=1e-7)


def test_bands_in_files_of_earlier_versions_are_read(tmp_path):
    band = BandValues(0.0, 1.0, 2.0, 3.0, 4.0)
    ew.io.save(ExpectedBands(band, band, band), tmp_path / "bands.json")
    text = (tmp_path / "bands.json").read_text()
    for new, old in (("null_pvalue", "pnull"), ("alt_pvalue", "palt"), ("cl_s", "cls")):
        text = text.replace(new, old)
    document = {k: v for k, v in json.loads(text).items() if k != "digest"}
    (tmp_path / "bands.json").write_text(json.dumps(document))
    loaded = ew.io.load(tmp_path / "bands.json")
    assert loaded.cl_s.median == 2.0
    assert loaded.null_sig is None


def counting(params, data):
    rate = params["mu"] * data["s"] + data["b"]
    return rate - data["n"] * jnp.log(rate)


@pytest.mark.parametrize("kind", [QMu, TMu, QTilde, TMuTilde, Q0])
@pytest.mark.parametrize("start", [0.0, 1.0])
@pytest.mark.parametrize("asimov", [False, True])
def test_counts_of_one_bin_never_give_nan(kind, start, asimov):
    state = sl.State.from_pytree({"mu": start})
    for n, b, mu in [
        (0.0, 0.1, 0.0),
        (0.0, 3.0, 1.0),
        (0.0, 1e4, 5.0),
        (1.0, 50.0, 1.0),
        (1.0, 1e-3, 0.0),
        (3.0, 1e4, 100.0),
        (20.0, 1e-3, 1e-3),
    ]:
        data = {"n": n, "s": 10.0, "b": b}
        options = {"asimov_observation": {**data, "n": b}} if asimov else {}
        result = kind().compute(counting, state, data, "mu", mu, **options)

        def twice(rate, n=n):
            return 2 * (rate - (n * np.log(rate) if n else 0.0))

        tested = 0.0 if kind is Q0 else mu
        best = (n - b) / 10
        if kind in (QTilde, TMuTilde) or (kind is Q0 and n <= b):
            best = max(best, 0.0)
        zero = (kind in (QMu, QTilde) and best > tested) or (kind is Q0 and best <= 0)
        wanted = twice(b + 10 * tested) - twice(b + 10 * best)
        atol = 1e-6 * (1 + b) ** 0.5
        np.testing.assert_allclose(result.value, 0 if zero else wanted, atol=atol)
        if asimov:
            assert np.isfinite(result.q_asimov)


def test_no_event_at_all_is_the_same_in_compiled_code():
    def q(n):
        return TMu().compute(nll, START, n, "mu", 1.0).value

    counts = jnp.array([0.0, 1.0, 55.0])
    wanted = [q_mu(n, 1.0) if n else 120.0 for n in (0.0, 1.0, 55.0)]
    np.testing.assert_allclose(jax.jit(jax.vmap(q))(counts), wanted, rtol=1e-6)
