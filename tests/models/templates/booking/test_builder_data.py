"""Data, their covariance, pseudodata and what else is no template."""

import numpy as np
import pytest

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConflictError,
    KeyCollisionError,
    NonFiniteError,
    ShapeMismatchError,
    UnknownKeyError,
)
from everwillow.models.templates.booking.builder import TemplateBuilder
from everwillow.models.templates.rates import (
    AxisNorms,
    Composite,
    SharedStrengths,
    Strengths,
)


FIRST = {"p": np.array([10.0, 0.0, 30.0]), "q": np.array([5.0, 6.0, 7.0])}
SECOND = {"q": np.array([8.0, 9.0])}
DATA = np.array([15.0, 7.0, 36.0, 8.0, 10.0])


def two(**options):
    """Return a builder with a masked channel between two fitted ones."""
    out = TemplateBuilder(**options)
    out.add_channel([("x", [0.0, 1.0, 2.0, 3.0])], "a")
    out.add_channel([("g", [0.0, 1.0, 2.0])], "gen", masked=True)
    out.add_channel([("x", [0.0, 1.0, 2.0])], "b")
    for name, values in FIRST.items():
        out.add_process(values, name, "a", variances=values / 2)
    out.add_process(SECOND["q"], "q", "b", variances=[1.0, 2.0])
    out.add_process([100.0, 200.0], "p", "gen")
    return out


def with_data(**options):
    """Return such a builder with data."""
    out = two(**options)
    out.add_data(DATA[:3], "a")
    out.add_data(DATA[3:], "b")
    return out


def test_data_are_those_of_the_fitted_bins_in_order():
    spec = with_data().spec()
    np.testing.assert_array_equal(spec.observed, DATA)
    assert spec.observed_variance is spec.observed_covariance is None


def test_a_channel_without_data_is_said():
    builder = two()
    builder.add_data([8.0, 10.0], "b", variances=[3.0, 4.0])
    spec = builder.spec()
    np.testing.assert_array_equal(spec.observed, [np.nan] * 3 + [8.0, 10.0])
    np.testing.assert_array_equal(spec.observed_variance, [np.nan] * 3 + [3.0, 4.0])
    assert "There are no data for channel 'a'." in spec.report


def test_variances_of_some_channels_leave_the_others_alone():
    builder = two()
    builder.add_data(DATA[:3], "a")
    builder.add_data(DATA[3:], "b", variances=[3.0, 4.0])
    np.testing.assert_array_equal(
        builder.spec().observed_variance, [15.0, 7.0, 36.0, 3.0, 4.0]
    )


@pytest.mark.parametrize("kind", ["log_normal", "normal"])
@pytest.mark.parametrize("sparse", [False, True])
def test_systematics_in_the_covariance_are_outer_products(kind, sparse):
    builder = with_data(systematic_type=kind, sparse=sparse)
    given = np.diag(np.arange(1.0, 6.0)) + 0.1
    builder.add_data_covariance(given)
    up, down = np.array([12.0, 1.0, 28.0]), np.array([9.0, 0.0, 35.0])
    into = {"add_to_data_covariance": True}
    builder.add_systematic((up, down), "s", "p", "a", kfactor=2.0, **into)
    builder.add_systematic([0.5, -0.5], "s", "q", "b", as_difference=True, **into)
    builder.add_norm_systematic("n", ["p", "q"], "a", [1.1, (1.2, 0.9)], **into)
    builder.add_norm_systematic("n", "q", "b", 1.05, **into)
    builder.add_systematic((up, down), "l", "p", "a", symmetrize="linear", **into)
    spec = builder.spec()
    # What up and down add, in events; processes of one name together.
    average = ((up - FIRST["p"]) - (down - FIRST["p"])) / 2
    half = ((up - FIRST["p"]) + (down - FIRST["p"])) / 2
    norm = 0.1 * FIRST["p"] + (0.2 + 0.1) / 2 * FIRST["q"]
    vectors = [
        np.concatenate([2 * average, [0.5, -0.5]]),
        np.concatenate([norm, 0.05 * SECOND["q"]]),
        np.concatenate([average, [0.0, 0.0]]),
        np.concatenate([half, [0.0, 0.0]]),
    ]
    expected = given + sum(np.outer(v, v) for v in vectors)
    np.testing.assert_allclose(spec.observed_covariance, expected, atol=1e-13)
    assert spec.systematics == ()
    assert spec.responses.start.tolist() == [0]
    (said,) = [r for r in spec.report if "they are no parameters" in r]
    assert "'s', 'n', 'lSymAvg', 'lSymDiff'" in said


def test_further_axes_are_outer_products_each():
    builder = with_data()
    shifts = np.array([[1.0, 0.0, 2.0], [0.5, -1.0, 0.0]]).T
    builder.add_systematic(
        shifts,
        "s",
        "q",
        "a",
        as_difference=True,
        syst_axes=["i"],
        add_to_data_covariance=True,
    )
    padded = np.concatenate([shifts, np.zeros((2, 2))])
    expected = np.diag(DATA) + padded @ padded.T
    np.testing.assert_allclose(builder.spec().observed_covariance, expected)


@pytest.mark.parametrize("given", [True, False])
def test_variances_of_templates_in_the_covariance(given):
    """Each fitted bin gets the sum over processes, on the diagonal alone."""
    builder = with_data(add_bin_by_bin_stat_to_data_cov=True)
    matrix = np.diag(DATA) + (1.0 if given else 0.0)
    if given:
        builder.add_data_covariance(matrix)
    first = (FIRST["p"] + FIRST["q"]) / 2
    expected = matrix + np.diag(np.concatenate([first, [1.0, 2.0]]))
    spec = builder.spec()
    np.testing.assert_allclose(spec.observed_covariance, expected, rtol=1e-14)
    assert any("count twice" in said for said in spec.report)


def test_covariances_that_are_none():
    builder = with_data()
    for given, error, message in (
        (np.ones((2, 3)), ShapeMismatchError, r"\(2, 3\)"),
        (np.eye(5) + np.triu(np.ones((5, 5))), ArgumentValueError, "not symmetric"),
        (np.diag([1.0, 0.0]), ArgumentValueError, "positive"),
        (np.diag([1.0, np.inf]), ArgumentValueError, "finite"),
    ):
        with pytest.raises(error, match=message):
            builder.add_data_covariance(given)
    builder.add_data_covariance(np.eye(4))
    with pytest.raises(KeyCollisionError, match="already"):
        builder.add_data_covariance(np.eye(5))
    with pytest.raises(ShapeMismatchError, match=r"4 bins, .* are 5 fitted bins"):
        builder.spec()


def test_covariances_that_cannot_be_inverted():
    options = {"likelihood": "covariance", "statistics": None}
    builder = with_data()
    builder.add_norm_systematic("n", "p", "a", 1.1)
    with pytest.raises(ArgumentValueError, match="bin 1 has variance 0"):
        builder.build(data=np.array([15.0, 0.0, 36.0, 8.0, 10.0]), **options)
    builder.add_data_covariance(
        np.eye(5) + np.diag([2.0] * 4, 1) + np.diag([2.0] * 4, -1)
    )
    with pytest.raises(ArgumentValueError, match="not positive definite"):
        builder.build(**options)


@pytest.mark.parametrize("likelihood", ["chi2", "covariance"])
def test_variances_that_are_the_counts_are_said(likelihood):
    def said(**given):
        builder = two()
        builder.add_data(DATA[:3], "a", **given)
        builder.add_data(DATA[3:], "b")
        builder.add_norm_systematic("n", "p", "a", 1.1)
        report = builder.build(likelihood=likelihood, statistics=None).report
        return any("the counts are taken for them" in s for s in report)

    assert said()
    assert not said(variances=np.ones(3))


def test_signals_without_a_parameter_are_said():
    builder = TemplateBuilder()
    builder.add_channel([("x", [0.0, 1.0, 2.0])], "c")
    for name, signal in (("higgs", True), ("top", True), ("z", False)):
        builder.add_process([1.0, 2.0], name, "c", signal=signal)
    builder.add_data([3.0, 5.0], "c")

    def said(parameters):
        report = builder.build(parameters=parameters, statistics=None).report
        return [s for s in report if "without a parameter" in s]

    def norms(layout):
        parts = AxisNorms(layout, "z", "c", "x"), Strengths(layout, "top")
        return Composite(layout, parts)

    (only,) = said(norms)
    assert only.startswith("'higgs' is a signal")
    assert "'Strengths higgs; '" in only
    assert not said(None)
    shared = {"mu": ("higgs", "top")}
    assert not said(lambda layout: SharedStrengths(layout, shared))


def test_data_that_a_likelihood_leaves_out_are_said():
    builder = two()
    builder.add_data(DATA[:3], "a", variances=[1.0, 1.0, 1.0])
    builder.add_data(DATA[3:], "b")
    builder.add_norm_systematic("n", "p", "a", 1.1)
    assert any("variances of the data" in s for s in builder.build().report)
    assert not any("counts are taken" in s for s in builder.build().report)
    assert not any("not used" in s for s in builder.build(likelihood="chi2").report)
    builder.add_norm_systematic("m", "p", "a", 1.1, add_to_data_covariance=True)
    for likelihood in ("poisson", "chi2"):
        report = builder.build(likelihood=likelihood).report
        assert any("nor are systematics in it" in said for said in report)
    report = builder.build(likelihood="covariance").report
    assert not any("nor are systematics in it" in said for said in report)
    assert any("but their covariance" in said for said in report)


def test_nothing_is_added_to_a_covariance_that_is_not_there():
    builder = two()
    builder.add_data(DATA[:3], "a")
    builder.add_norm_systematic("n", "q", "b", 1.1, add_to_data_covariance=True)
    with pytest.raises(ArgumentValueError, match="in 2 fitted bins"):
        builder.spec()


@pytest.mark.parametrize(
    ("channel", "options", "message"),
    [
        ("gen", {}, "Channel 'gen' is masked"),
        ("a", {"constrained": False}, "neither unconstrained nor of interest"),
        ("a", {"noi": True}, "neither unconstrained nor of interest"),
        ("a", {"symmetrize": None}, "Choose another symmetrize"),
    ],
)
def test_what_no_covariance_can_contain(channel, options, message):
    with pytest.raises(ArgumentValueError, match=message):
        with_data().add_norm_systematic(
            "n", "p", channel, 1.1, add_to_data_covariance=True, **options
        )


def test_a_name_is_a_parameter_or_part_of_the_covariance():
    builder = with_data()
    builder.add_norm_systematic("n", "p", "a", 1.1, add_to_data_covariance=True)
    with pytest.raises(ConflictError, match="add_to_data_covariance=True before"):
        builder.add_norm_systematic("n", "q", "a", 1.1)
    with pytest.raises(KeyCollisionError, match="'n' was booked before"):
        builder.add_norm_systematic("n", "p", "a", 1.1, add_to_data_covariance=True)


def test_data_are_given_once_and_to_fitted_channels():
    builder = with_data()
    with pytest.raises(KeyCollisionError, match="'a' has data already"):
        builder.add_data(DATA[:3], "a")
    with pytest.raises(ArgumentValueError, match="'gen' is masked"):
        builder.add_data([1.0, 2.0], "gen")
    with pytest.raises(UnknownKeyError, match=r"no channel 'gem'.*'gen'"):
        builder.add_data([1.0, 2.0], "gem")
    with pytest.raises(ArgumentValueError, match="negative in bin"):
        two().add_data(DATA[:3], "a", variances=[1.0, -1.0, 1.0])


def test_odd_data_are_said():
    builder = two()
    builder.add_data([1.0, -2.0, 3.0], "a")
    builder.add_data([0.0, 0.0], "b")
    builder.add_channel([("x", [0.0, 1.0, 2.0])], "c")
    builder.add_process([1.0, 0.0], "p", "c")
    builder.add_data([0.0, 2.0], "c")
    report = "\n".join(builder.spec().report)
    assert "Channel 'a': the data are negative in bin (1)." in report
    assert "Channel 'c': nothing is expected in bin (1)." in report
    assert "Channel 'c': there are data where nothing is expected, in bin (1)" in report


def test_impossible_data_are_refused():
    builder = TemplateBuilder()
    builder.add_channel([("x", [0.0, 1.0, 2.0])], "c")
    builder.add_process([1.0, 0.0], "p", "c", signal=True)
    builder.add_data([0.0, 2.0], "c")
    with pytest.raises(ArgumentValueError, match=r"'c' has events in bin \(1\)"):
        builder.build()
    builder.build(data=np.array([2.0, 0.0]))
    builder.build(likelihood="chi2", statistics=None, data=np.array([2.0, 1.0]))
    with pytest.raises(UnknownKeyError, match=r"pseudodata 'other'\. There is none"):
        builder.build(data="other")


def test_pseudodata_have_every_fitted_channel():
    builder = with_data()
    builder.add_pseudodata([1.0, 2.0], "toy", "b")
    with pytest.raises(ArgumentValueError, match=r"'toy' have no .* channel 'a'"):
        builder.spec()
    builder.add_pseudodata([3.0, 4.0, 5.0], "toy", "a")
    pseudodata = builder.spec().pseudodata
    assert list(pseudodata) == ["toy"]
    np.testing.assert_array_equal(pseudodata["toy"], [3.0, 4.0, 5.0, 1.0, 2.0])
    with pytest.raises(KeyCollisionError, match="'toy' has data in channel 'a'"):
        builder.add_pseudodata([3.0, 4.0, 5.0], "toy", "a")
    with pytest.raises(ArgumentValueError, match="'gen' is masked"):
        builder.add_pseudodata([1.0, 1.0], "toy", "gen")
    with pytest.raises(ArgumentValueError, match="'asimov' stands for other data"):
        builder.add_pseudodata([3.0, 4.0, 5.0], "asimov", "a")


GRADIENT = np.array([0.5, -1.0])
HESSIAN = np.array([[2.0, 0.5], [0.5, 3.0]])
PLAIN = {("mu", "mu"): 2.0, ("mu", "k"): 0.5, ("k", "k"): 3.0}
NESTED = {"mu": {"mu": 2.0, "k": 0.5}, "k": {"mu": 0.5, "k": 3.0}}


@pytest.mark.parametrize(
    "given",
    [
        ({"mu": 0.5, "k": -1.0}, PLAIN),
        ({"mu": 0.5, "k": -1.0}, NESTED),
        ((["mu", "k"], GRADIENT), (["mu", "k"], HESSIAN)),
        # Another order of names is another order of rows.
        ((["mu", "k"], GRADIENT), (["k", "mu"], HESSIAN[::-1, ::-1])),
    ],
)
def test_external_likelihoods(given):
    builder = with_data()
    builder.add_external_likelihood(*given)
    (term,) = builder.spec().external
    assert term.name == "external0"
    assert term.parameters == ("mu", "k")
    np.testing.assert_array_equal(term.gradient, GRADIENT)
    np.testing.assert_array_equal(term.hessian, HESSIAN)


def test_external_likelihoods_of_histograms():
    hist = pytest.importorskip("hist")
    axes = [hist.axis.StrCategory(["mu", "k"], name=name) for name in "rc"]
    gradient, hessian = hist.Hist(axes[0]), hist.Hist(*axes)
    gradient.view()[...], hessian.view()[...] = GRADIENT, HESSIAN
    builder = with_data()
    builder.add_external_likelihood(gradient, hessian, name="other")
    (term,) = builder.spec().external
    assert (term.name, term.parameters) == ("other", ("mu", "k"))
    np.testing.assert_array_equal(term.gradient, GRADIENT)
    np.testing.assert_array_equal(term.hessian, HESSIAN)
    numbers = hist.Hist(hist.axis.Regular(2, 0, 1))
    with pytest.raises(ArgumentTypeError, match="must be categories"):
        builder.add_external_likelihood(numbers)


def test_one_part_of_an_external_likelihood_is_enough():
    builder = with_data()
    builder.add_external_likelihood({"mu": 0.5})
    builder.add_external_likelihood(hessian={("k", "k"): 3.0})
    first, second = builder.spec().external
    assert [first.name, second.name] == ["external0", "external1"]
    np.testing.assert_array_equal(first.hessian, [[0.0]])
    np.testing.assert_array_equal(second.gradient, [0.0])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ((None, None), ArgumentValueError, "a gradient, a Hessian"),
        (
            (None, {("a", "b"): 1.0, ("b", "a"): 2.0}),
            ArgumentValueError,
            "not symmetric",
        ),
        (({"a": np.inf}, None), NonFiniteError, "finite"),
        (((["a", "a"], [1.0, 2.0]), None), KeyCollisionError, "twice"),
        (((["a"], [1.0, 2.0]), None), ShapeMismatchError, r"\(1,\)"),
        (((["a"], [1.0]), (["a"], [1.0])), ShapeMismatchError, r"\(1, 1\)"),
        ((None, {"a": 1.0}), ArgumentTypeError, "pairs of names"),
        ((3.0, None), ArgumentTypeError, "a mapping by name"),
    ],
)
def test_external_likelihoods_that_are_none(given, error, message):
    with pytest.raises(error, match=message) as caught:
        with_data().add_external_likelihood(*given, name="mine")
    assert "'mine'" in str(caught.value)


def test_names_of_external_likelihoods_differ():
    builder = with_data()
    builder.add_external_likelihood({"mu": 0.5}, name="mine")
    with pytest.raises(KeyCollisionError, match="'mine' already"):
        builder.add_external_likelihood({"mu": 0.5}, name="mine")


MOVED = np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 3.0]])


def check_moved(builder):
    """Check that MOVED is what the builder has been told."""
    beta = builder.spec().beta_variations
    found = zip(beta.process, beta.source, beta.target, beta.change, strict=True)
    # The masked bins are the sixth and the seventh.
    assert sorted(found) == [(0, 0, 5, 1.0), (0, 1, 6, 2.0), (0, 2, 6, 3.0)]


def test_beta_variations():
    builder = two()
    assert builder.spec().beta_variations is None
    builder.add_beta_variations(MOVED, "p", "a", "gen")
    check_moved(builder)
    with pytest.raises(KeyCollisionError, match="added before"):
        builder.add_beta_variations(MOVED, "p", "a", "gen")


@pytest.mark.parametrize("turned", [False, True])
def test_beta_variations_of_histograms(turned):
    hist = pytest.importorskip("hist")
    axes = [
        hist.axis.Variable([0.0, 1.0, 2.0, 3.0], name="x"),
        hist.axis.Variable([0.0, 1.0, 2.0], name="g"),
    ]
    histogram = hist.Hist(*axes[:: -1 if turned else 1])
    histogram.view()[...] = MOVED.T if turned else MOVED
    builder = two()
    builder.add_beta_variations(histogram, "p", "a", "gen")
    check_moved(builder)


def test_beta_variations_of_sparse_matrices():
    sparse = pytest.importorskip("scipy.sparse")
    builder = two()
    with pytest.raises(ShapeMismatchError, match=r"needs \(3, 2\)"):
        builder.add_beta_variations(sparse.csr_array(MOVED.T), "p", "a", "gen")
    builder.add_beta_variations(sparse.csr_array(MOVED), "p", "a", "gen")
    check_moved(builder)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ((MOVED, "p", "gen", "gen"), ArgumentValueError, "'gen' is masked"),
        ((MOVED, "p", "a", "b"), ArgumentValueError, "'b' is fitted"),
        ((MOVED, "q", "a", "gen"), UnknownKeyError, "no process 'q'"),
        ((MOVED.T, "p", "a", "gen"), ShapeMismatchError, r"\(2, 3\)"),
    ],
)
def test_beta_variations_that_are_none(given, error, message):
    with pytest.raises(error, match=message):
        two().add_beta_variations(*given)


def test_auxiliary_payloads():
    builder = two()
    builder.add_auxiliary("map", {"weights": [[1, 2], [3, 4]], "names": ["a", "bc"]})
    payload = builder.spec().auxiliary["map"]
    np.testing.assert_array_equal(payload["weights"], [[1, 2], [3, 4]])
    assert payload["names"].tolist() == ["a", "bc"]
    with pytest.raises(KeyCollisionError, match="'map' already"):
        builder.add_auxiliary("map", {})
    for given in ({"k": {"deep": 1}}, {"k": [[1], [2, 3]]}, {3: [1]}, [1, 2]):
        with pytest.raises(ArgumentTypeError, match="'other'"):
            builder.add_auxiliary("other", given)
