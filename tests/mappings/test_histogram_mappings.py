"""Mappings of histograms: values, derivatives, data, and their use before a fit."""

import json
import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import everwillow as ew
from everwillow.likelihood.histograms import Axis, Channel, Layout, Yields
from everwillow.mappings import (
    AngularCoefficients,
    Asymmetry,
    Composite,
    Custom,
    Identity,
    LamTung,
    Normalize,
    Normratio,
    Project,
    Ratio,
    Select,
    degrees_of_freedom,
    observed,
    parse_mapping,
    places,
    prefit,
    with_data,
)
from everwillow.parameters import Normal
from tests.helpers import (
    count_jax_work,
    finite_difference_jacobian,
    tree_allclose,
)
from tests.mappings.histograms import (
    CASES,
    CAT,
    HELICITY,
    LAYOUT,
    MEAN,
    NOMINAL,
    POINT,
    PROCESSES,
    X,
    mean_of_x,
    yields_at,
)


TEMPLATES = pathlib.Path(__file__).parents[1] / "cases" / "templates"
PARAMS = {"scale": 2.0}
FITTED = np.asarray(NOMINAL.sum(0)[: LAYOUT.fitted] * 3)
LINEAR = ("Identity", "Select", "Project", "Difference")

SINGLES = [text for text, case in CASES.items() if not isinstance(case[0], Composite)]
JOINT = Composite(*(CASES[text][0] for text in SINGLES))

every = pytest.mark.parametrize("text", CASES)
single = pytest.mark.parametrize("text", SINGLES)


def at(mapping, theta):
    return mapping(PARAMS, yields_at(theta))


@eqx.filter_jit
def compiled(mapping, theta):
    return at(mapping, theta)


@eqx.filter_jit
def with_derivatives(mapping, thetas):
    one = lambda theta: ravel_pytree(at(mapping, theta))[0]
    return jax.vmap(one)(thetas), jax.vmap(jax.jacrev(one))(thetas)


@pytest.fixture(scope="module")
def transformed():
    """All mappings at once: compiled, mapped over two points, and their derivatives."""
    thetas = np.stack([POINT, -POINT])
    values, slopes = with_derivatives(JOINT, thetas)
    numeric = [
        finite_difference_jacobian(lambda t: compiled(JOINT, t), t) for t in thetas
    ]
    return thetas, compiled(JOINT, POINT), values, slopes, np.stack(numeric)


@every
def test_closed_form(text):
    values = np.asarray(yields_at(POINT).values)
    assert tree_allclose(at(CASES[text][0], POINT), CASES[text][1](values), rtol=1e-12)


@every
def test_spelled_is_constructed(text):
    mapping = CASES[text][0]
    assert mapping.key == text
    for spelled in (text, f"\n{text} "):
        assert parse_mapping(spelled) == mapping
    assert jax.tree.structure(parse_mapping(text)) == jax.tree.structure(mapping)
    assert hash(parse_mapping(text)) == hash(mapping)
    assert repr(mapping) == f"<{text}>"


@single
def test_transformations(text, transformed):
    """Compiled as called, mapped as looped, derivatives as differences."""
    mapping = CASES[text][0]
    thetas, once, values, slopes, numeric = transformed
    assert tree_allclose(once[text], at(mapping, POINT), rtol=1e-13)
    here = places(once)[text]
    looped = [ravel_pytree(at(mapping, theta))[0] for theta in thetas]
    np.testing.assert_allclose(values[:, here], looped, rtol=1e-13)
    tolerance = {"rtol": 1e-8, "atol": 1e-9}
    np.testing.assert_allclose(slopes[:, here], numeric[:, here], **tolerance)


def test_same_mapping_is_not_traced_again():
    first = compiled(JOINT, POINT)
    observed(Project("ch0", axes="x"), LAYOUT, FITTED)
    with count_jax_work() as work:
        spelled = parse_mapping(JOINT.key)
        again = compiled(spelled, POINT)
        observed(parse_mapping("Project ch0 x"), LAYOUT, FITTED)
    assert work.traces == work.compilations == 0
    assert spelled == JOINT
    assert tree_allclose(again, first, rtol=0)


@every
def test_axes(text):
    """An axis for each dimension, in the structure of the values."""
    mapping = CASES[text][0]
    axes = mapping.axes(LAYOUT)
    if isinstance(mapping, Custom):
        assert axes is None
        return
    shapes = jax.tree.map(np.shape, at(mapping, POINT), is_leaf=eqx.is_array)
    is_axes = lambda node: isinstance(node, tuple)
    sizes = jax.tree.map(lambda t: tuple(a.size for a in t), axes, is_leaf=is_axes)
    assert sizes == shapes


def test_names_of_axes():
    name = lambda text: [a.name for a in parse_mapping(text).axes(LAYOUT)]
    assert name("Project ch0 cat x") == ["cat", "x"]
    assert name("Project ch0") == name("Select ch0 x:0,cat:0") == ["yield"]
    assert name("Ratio ch0 ch1") == ["a0", "cat"]
    assert name("Ratio ch0 ch1 cat:0 cat:0") == ["a0"]
    assert name("Ratio ch0 z cat:0 pt:0,helicitySig:0:4") == ["a0"]
    assert parse_mapping("Ratio ch0 ch1").axes(LAYOUT)[0].labels == (0, 1, 2, 3)
    assert parse_mapping("Ratio ch0 ch0 cat:0 cat:1").axes(LAYOUT) == (X,)
    assert parse_mapping("Select ch0 x:1:3").axes(LAYOUT)[0].edges == (0.5, 1.0, 2.0)
    angular = AngularCoefficients("z").axes(LAYOUT)
    assert [a.name for a in angular] == ["pt", "helicitySig"]
    assert angular[1].labels == (0, 1, 2, 3)
    assert Identity().axes(LAYOUT)["ch0"] == (X, CAT)


@every
def test_processes_add_up(text):
    """Also shares of a total; not ratios, which have no parts."""
    mapping = CASES[text][0]
    parts = mapping.of_processes(PARAMS, yields_at(POINT))
    names = mapping.process_names(LAYOUT)
    linear = text.startswith((*LINEAR[:3], "Normalize"))
    assert (parts is not None) == (names is not None) == linear
    if not linear:
        return
    total = jax.tree.map(lambda part: part.sum(0), parts)
    assert tree_allclose(total, at(mapping, POINT), rtol=1e-12)
    sizes = jax.tree.map(len, names, is_leaf=lambda n: isinstance(n, tuple))
    assert sizes == jax.tree.map(len, parts)


def test_processes_that_are_selected():
    mapping = Select("ch0", processes=["flat", "signal"], selection="cat:0,x:0")
    assert mapping.process_names(LAYOUT) == ("flat", "signal")
    rows = mapping.of_processes(None, yields_at(0 * POINT))
    np.testing.assert_allclose(rows, NOMINAL[[2, 0], :1])
    assert Project("ch0").process_names(LAYOUT) == PROCESSES
    ratio = Composite(Ratio("ch0", "ch1"), Project("ch0"))
    assert list(ratio.of_processes(None, yields_at(POINT))) == ["Project ch0"]


def test_has_data():
    """Neither masked channels nor single processes have data."""
    has = {text for text, (m, _) in CASES.items() if m.has_data(LAYOUT)}
    without = ("xsec", "signal", "flat", "tests.")
    expected = {t for t in CASES if not any(w in t for w in without)} - {"Identity"}
    assert has == expected
    assert with_data(Identity(), LAYOUT) == Identity("ch0", "ch1", "z", "one")
    assert with_data(Identity("xsec", "ch0"), LAYOUT) == Identity("ch0")
    assert with_data(Identity("xsec"), LAYOUT) is None
    assert with_data(Project("xsec"), LAYOUT) is None
    both = parse_mapping("Project ch0 x; Project xsec; Identity")
    assert with_data(both, LAYOUT).key == "Project ch0 x; Identity ch0 ch1 z one"
    assert with_data(parse_mapping("Project xsec; Identity xsec"), LAYOUT) is None
    with pytest.raises(ValueError, match="with_data"):
        observed(Project("xsec"), LAYOUT, FITTED)


def as_data(mapping, counts):
    """Apply a mapping to data that fill one process."""
    only = Layout(LAYOUT.channels, ("data",))
    every = np.concatenate([counts, np.zeros(2)])
    return ravel_pytree(mapping(None, Yields(jnp.asarray(every[None]), only)))[0]


@pytest.fixture(scope="module")
def data():
    """Data of all mappings that have some, with three kinds of errors."""
    found = [m for m in (with_data(CASES[t][0], LAYOUT) for t in SINGLES) if m]
    mapping = Composite(*found, MEAN)
    root = np.random.default_rng(3).normal(size=(FITTED.size, FITTED.size))
    joint = root @ root.T
    poisson = observed(mapping, LAYOUT, FITTED, covariance=True)
    full = observed(mapping, LAYOUT, FITTED, variance=joint, covariance=True)
    lone = observed(mapping, LAYOUT, FITTED, variance=np.diag(joint))
    J = finite_difference_jacobian(lambda c: as_data(mapping, np.asarray(c)), FITTED)
    return mapping, joint, poisson, full, lone, J


@pytest.mark.slow
def test_data(data):
    """Exactly for sums of bins; to first order, by differences, for the others."""
    mapping, joint, poisson, full, lone, J = data
    assert len(mapping.mappings) == 17
    assert lone.covariance is None
    for part in mapping.mappings:
        here = places(poisson.values)[part.key]
        own, rtol = J[here], 1e-7
        if part.key.startswith(LINEAR):
            own = np.stack([as_data(part, unit) for unit in np.eye(FITTED.size)], 1)
            rtol = 1e-12
        flat = lambda tree, key=part.key: ravel_pytree(tree[key])[0]
        values = flat(poisson.values)
        np.testing.assert_allclose(values, as_data(part, FITTED), rtol=1e-12)
        exact = (own * FITTED) @ own.T
        np.testing.assert_allclose(
            poisson.covariance[here, here], exact, rtol, atol=1e-12
        )
        spread = flat(poisson.variances)
        np.testing.assert_allclose(spread, np.diag(exact), rtol, atol=1e-12)
        exact, atol = own @ joint @ own.T, 1e-8 * joint.max()
        np.testing.assert_allclose(full.covariance[here, here], exact, rtol, atol=atol)
        spread = flat(lone.variances)
        np.testing.assert_allclose(spread, own**2 @ np.diag(joint), rtol, atol=1e-12)
    # Between mappings too.
    exact = (J * FITTED) @ J.T
    np.testing.assert_allclose(poisson.covariance, exact, rtol=1e-6, atol=1e-9)


def test_data_of_many_bins():
    """More values than are differentiated at a time, whole numbers, one bin."""
    edges = tuple(np.arange(151.0))
    layout = Layout((Channel("ch0", (Axis("x", edges=edges),)),), ("signal",))
    counts = np.arange(150)
    out = observed(Project("ch0", axes="x"), layout, counts, covariance=True)
    np.testing.assert_array_equal(out.values, counts)
    np.testing.assert_array_equal(out.covariance, np.diag(counts))
    single = Layout((Channel("ch0", ()),), ("signal",))
    out = observed(Identity(), single, [7], variance=[[4.0]])
    assert out.values["ch0"] == [7]
    assert out.variances["ch0"] == [4]
    with pytest.raises(ValueError, match="150 bins are fitted"):
        observed(Project("ch0"), layout, counts[1:])
    with pytest.raises(ValueError, match=r"\(150, 150\)"):
        observed(Project("ch0"), layout, counts, variance=counts[1:])


def test_degrees_of_freedom():
    count = lambda text: degrees_of_freedom(parse_mapping(text), LAYOUT)
    assert count("Project ch0 x") == 4
    assert count("Normalize ch0 x") == 3
    assert count("Normratio ch0 ch0 cat:0 cat:1") == 3
    assert count("Asymmetry ch0 ch0 cat:0 cat:1") == 4
    assert count("Project ch0 x; Project ch0 cat") == 5
    assert count("Project ch0 x; Project ch1 y; Normalize ch0 cat") == 9
    assert parse_mapping("Normalize ch0; Project ch0").ndof_reduction == 1
    # The ratios of shapes know of one that the rank does not show.
    assert count("Normratio ch0 ch0 cat:0 cat:1; Normalize ch1 y") == 6


@pytest.mark.slow
def test_zero_denominators_stay_where_they_are():
    """NaN in one bin, and derivatives of all others."""
    layout = Layout((Channel("ch0", (X, CAT)),), ("signal",))
    values = np.arange(1.0, 9.0)[None]
    values[0, 2:4] = 0
    for kind in (Ratio, Asymmetry, Normratio):
        mapping = kind("ch0", "ch0", selection=("cat:0", "cat:1"))

        def function(v, mapping=mapping):
            return mapping(None, Yields(v, layout))

        out, J = (
            function(jnp.asarray(values)),
            jax.jacrev(function)(jnp.asarray(values)),
        )
        assert np.isnan(out).tolist() == [False, True, False, False]
        assert np.isfinite(J).all()
        counts = observed(mapping, layout, values[0])
        assert np.isnan(counts.variances).tolist() == np.isnan(out).tolist()
    empty = Yields(jnp.zeros((1, 8)), layout)
    assert np.isnan(Normalize("ch0")(None, empty)).all()


def linear_nll(params, observation):
    return 0.5 * jnp.sum((observation - params["theta"]) ** 2)


def expected(params):
    return yields_at(params["theta"])


def test_joint_errors_before_a_fit():
    """One covariance of all values, by propagation."""
    model = ew.Model(
        linear_nll,
        {"theta": jnp.asarray(POINT)},
        np.zeros(4),
        constraints={"theta": Normal(0.0, np.full(4, 0.5))},
        expected=expected,
    )
    mapping = parse_mapping("Ratio ch0 ch1; Normalize ch0 x; Project xsec cat")
    out = prefit(mapping, model, factor=True)
    J = finite_difference_jacobian(lambda t: compiled(mapping, t), POINT)
    np.testing.assert_allclose(out.covariance, 0.25 * J @ J.T, rtol=1e-7, atol=1e-9)
    where = places(out.values)
    assert list(where) == sorted(where)
    share = out.covariance[where["Normalize ch0 x"], where["Normalize ch0 x"]]
    np.testing.assert_allclose(share.sum(0), 0, atol=1e-13)
    width = np.sqrt(np.diag(share))
    np.testing.assert_allclose(out.errors["Normalize ch0 x"], width, rtol=1e-12)
    prefit(parse_mapping(mapping.key), model, factor=True)
    with count_jax_work() as work:
        prefit(parse_mapping(mapping.key), model, factor=True)
    assert work.traces == work.compilations == 0


def test_harmonics():
    by_name = Axis("n", labels=HELICITY.labels)
    by_edges = Axis("helicity", edges=(-1.5, -0.5, 0.5, 1.5))
    layout = Layout((Channel("a", (by_name,)), Channel("b", (by_edges,))), ("s",))
    yields = Yields(jnp.arange(1.0, 9.0)[None], layout)
    np.testing.assert_allclose(
        AngularCoefficients("a", axis="n")(None, yields), [2, 3, 4, 5]
    )
    assert AngularCoefficients("b").axes(layout)[0].edges == (-0.5, 0.5, 1.5)
    np.testing.assert_allclose(LamTung("a", axis="n")(None, yields), [-2])
    with pytest.raises(KeyError, match="helicitySig"):
        AngularCoefficients("a")(None, yields)
    with pytest.raises(ValueError, match="3 bins, and 4 are needed"):
        LamTung("b").axes(layout)
    with pytest.raises(ValueError, match="cannot be selected"):
        LamTung("a", axis="n", selection="n:0:4").axes(layout)


def test_refusals():
    with pytest.raises(ValueError, match=r"\(4, 2\) and \(3, 5\) differ"):
        Ratio("ch0", "z").axes(LAYOUT)
    with pytest.raises(ValueError, match="differ"):
        jax.eval_shape(lambda t: at(Ratio("ch0", "z"), t), POINT)
    with pytest.raises(KeyError, match="Did you mean 'signal'"):
        Select("ch0", processes="signl").axes(LAYOUT)
    with pytest.raises(KeyError, match=r"no axis 'cta'\. Did you mean 'cat'"):
        Project("ch0", axes="cta").axes(LAYOUT)
    with pytest.raises(KeyError, match="ch2"):
        Identity("ch2").axes(LAYOUT)
    with pytest.raises(ValueError, match="twice"):
        Composite(Project("ch0"), parse_mapping("Project ch0"))
    with pytest.raises(ValueError, match="twice"):
        Select("ch0", processes=("flat", "flat"))
    with pytest.raises(ValueError, match="none are given"):
        Select("ch0", processes=())
    with pytest.raises(ValueError, match="none are given"):
        Composite()
    with pytest.raises(TypeError, match="Custom for a function"):
        Composite(mean_of_x)
    with pytest.raises(TypeError, match="expected a pair"):
        Ratio("ch0", "ch0", processes="signal")
    with pytest.raises(TypeError, match="expected names"):
        Project("ch0", axes=3)
    with pytest.raises(TypeError, match="expected a name"):
        Project(0)
    with pytest.raises(TypeError, match="function"):
        Custom(3)
    with pytest.raises(ValueError, match="Give one"):
        Custom(jax.tree_util.Partial(mean_of_x))


@pytest.mark.parametrize("value", ["hello", None, {"a": 1.0, "b": 1j}, object()])
def test_what_a_function_returns_has_to_be_numbers(value):
    mapping = Custom(lambda params, yields: value, name="mine:bad")
    with pytest.raises(TypeError, match="mapping mine:bad: expected numbers"):
        mapping(None, yields_at(0 * POINT))


def test_two_channels_do_not_collide():
    both = Composite(
        Select("ch0", selection="cat:0"), Composite(Select("ch1", selection="cat:0"))
    )
    out = both(None, yields_at(0 * POINT))
    whole = yields_at(0 * POINT)
    np.testing.assert_allclose(out["Select ch0 cat:0"], whole["ch0"][:, 0])
    np.testing.assert_allclose(out["Select ch1 cat:0"], whole["ch1"][:, 0])
    assert places(out) == {
        "Select ch0 cat:0": slice(0, 4),
        "Select ch1 cat:0": slice(4, 8),
    }


@pytest.mark.validation
def test_another_tool():
    """Values before the fit, from `mappings_prefit.json`, which tells their origin."""
    given = np.load(TEMPLATES / "inputs.npz")
    axes = [Axis(n, edges=tuple(given[f"edges_{n}"].tolist())) for n in ("x", "cat")]
    masked = Channel("ch0_masked", (axes[1],), masked=True)
    layout = Layout(
        (Channel("ch0", tuple(axes)), masked), ("signal", "exp_bkg", "flat_bkg")
    )
    rows = np.zeros((3, 22))
    for row, name in zip(rows, layout.processes, strict=True):
        row[:20] = given[name].ravel()
    rows[0, 20:] = given["xsec"]
    wanted = json.loads((TEMPLATES / "mappings_prefit.json").read_text())["prefit"]
    assert len(wanted) == 8
    out = parse_mapping("; ".join(wanted))(None, Yields(rows, layout))
    for text, values in wanted.items():
        np.testing.assert_allclose(out[text], values, rtol=1e-7, atol=1e-15)
