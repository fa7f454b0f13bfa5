"""The grammar of selections, and the bins that it means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

from everwillow.likelihood.histograms import Axis, Channel, Layout, Yields
from everwillow.mappings import Select, Selection, parse_selection
from everwillow.mappings._channel_parts import applied, resolve
from everwillow.mappings.selection import Cut, Label, Merge, MergeTo, Pick, Sum, Value


TENTHS = tuple(np.linspace(0, 1, 11).tolist())
X = Axis("x", edges=TENTHS)
CAT = Axis("cat", labels=("tight", "loose", "sum", "very loose"))
CODE = Axis("code", labels=(5, -3, 0))
CHANNEL = Channel("ch0", (X, CAT, CODE))
VALUES = np.arange(120.0).reshape(10, 4, 3) ** 1.5


def chosen(selection, axis=X):
    """Apply a selection to the numbers of bins of a single axis."""
    channel = Channel("ch0", (axis,))
    (bins,) = resolve(parse_selection(selection), channel)
    out = applied(jnp.arange(float(axis.size)), [bins])
    return np.asarray(out).tolist(), bins.axis


@pytest.mark.parametrize(
    ("text", "items", "shown"),
    [
        ("x:3", [("x", Pick(3))], "x:3"),
        ("x:-1", [("x", Pick(-1))], "x:-1"),
        ("x:5j", [("x", Pick(Value(5.0)))], "x:5j"),
        ("x:-.5e1j", [("x", Pick(Value(-5.0)))], "x:-5j"),
        ("cat:tight", [("cat", Pick(Label("tight")))], "cat:tight"),
        ('cat:"sum"', [("cat", Pick(Label("sum")))], 'cat:"sum"'),
        ('cat:"a,b:c"', [("cat", Pick(Label("a,b:c")))], 'cat:"a,b:c"'),
        ("x:2:5", [("x", Cut(2, 5))], "x:2:5"),
        (" x : 2 : 5 ", [("x", Cut(2, 5))], "x:2:5"),
        ("x:None:5", [("x", Cut(None, 5))], "x::5"),
        ("x:-3:", [("x", Cut(-3, None))], "x:-3:"),
        ("x:slice(2,None,None)", [("x", Cut(2, None))], "x:2:"),
        ("x:slice(4)", [("x", Cut(None, 4))], "x::4"),
        ("x:slice(0.1j, 2, 3)", [("x", Cut(Value(0.1), 2, 3))], "x:0.1j:2:3"),
        ("x:::2", [("x", Cut(None, None, 2))], "x:::2"),
        ("x:::2j", [("x", Merge(2))], "x:rebin(2)"),
        ("x:sum", [("x", Sum())], "x:sum"),
        ("x:::sum", [("x", Sum())], "x:sum"),
        ("x:2:5:sum", [("x", Cut(2, 5)), ("x", Sum())], "x:2:5,x:sum"),
        ("x:rebin(5)", [("x", Merge(5))], "x:rebin(5)"),
        ("x:rebin(0, 0.5,1e3)", [("x", MergeTo((0, 0.5, 1e3)))], "x:rebin(0,0.5,1000)"),
        ("x:rebin(-inf,0,inf)", [("x", MergeTo((-np.inf, 0, np.inf)))], None),
        ("x:2:8:rebin(2)", [("x", Cut(2, 8)), ("x", Merge(2))], "x:2:8,x:rebin(2)"),
        ("x:None", [], "None"),
        ("x::", [], "None"),
        ("x:slice(None,None,None)", [], "None"),
        ("None", [], "None"),
        ("None:None", [], "None"),
        ("x:1:,cat:sum", [("x", Cut(1, None)), ("cat", Sum())], "x:1:,cat:sum"),
        ('"p T":3', [("p T", Pick(3))], '"p T":3'),
    ],
)
def test_grammar(text, items, shown):
    selection = parse_selection(text)
    assert selection.items == tuple(items)
    assert str(selection) == (text if shown is None else shown)
    assert parse_selection(str(selection)) == selection
    assert hash(parse_selection(text)) == hash(selection)
    assert bool(selection) == bool(items)
    assert parse_selection(selection) is selection


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"x": 3}, "x:3"),
        ({"x": np.int32(-2)}, "x:-2"),
        ({"x": 0.5j, "cat": sum}, "x:0.5j,cat:sum"),
        ({"x": slice(2, 5)}, "x:2:5"),
        ({"x": slice(None, 0.5j, 2)}, "x::0.5j:2"),
        ({"x": slice(2, 8, sum)}, "x:2:8:sum"),
        ({"x": slice(2, 8, 2j)}, "x:2:8:rebin(2)"),
        ({"x": [slice(2, 8), "rebin(3)"], "cat": "loose"}, "x:2:8:rebin(3),cat:loose"),
        ({"cat": slice("tight", "loose")}, "cat:tight:loose"),
        ({"x": None}, "None"),
        ({"x": slice(None)}, "None"),
        (None, "None"),
    ],
)
def test_python_spelling(choice, text):
    assert parse_selection(choice) == parse_selection(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", r"'x', at position 0 .*AXIS:SELECTION"),
        ("x:2:5,cat", r"at position 6 \('cat'\): expected AXIS"),
        ("x:2:5,cat:3.5", r"at position 10 \('3.5'\).*ends with j \(3.5j\)"),
        ("x:", r"at position 2 \(''\): expected a bin index"),
        ("x:1:2:3:4", "three parts at most"),
        ("x:mean(2)", r"at position 2 .*rebin\(...\) and slice"),
        ("x:rebin(0)", r"at position 8 \('0'\): expected a whole number above zero"),
        ("x:rebin(2.5)", r"at position 8 \('2.5'\)"),
        ("x:rebin(1,0)", "have to ascend"),
        ("x:rebin(0,a)", r"at position 10 \('a'\)"),
        ("x:2:8:-1", r"at position 6 \('-1'\): expected a whole number above zero"),
        ("x:slice(1,2,3,4)", "three arguments at most"),
        ("x:rebin(2", "not closed"),
        ("x:2)", r"at position 3 \('\)'\)"),
        ('cat:"loose', "not closed"),
        (":3", "a name is missing"),
        ("x:sum:3", r"at position 2 \('sum'\)"),
    ],
)
def test_text_that_is_no_selection(text, message):
    with pytest.raises(ValueError, match=message):
        parse_selection(text)


@pytest.mark.parametrize(
    "choice", [3, {3: 1}, {"x": 2.5}, {"x": True}, {"x": 1 + 2j}, {"x": len}]
)
def test_python_that_is_no_selection(choice):
    with pytest.raises(TypeError, match="selection"):
        parse_selection(choice)


def test_bins():
    assert chosen("x:3") == (3, None)
    assert chosen("x:-1") == (9, None)
    assert chosen("x:-10") == (0, None)
    assert chosen("x:2:5") == ([2, 3, 4], Axis("x", edges=TENTHS[2:6]))
    assert chosen("x:-3:")[0] == [7, 8, 9]
    assert chosen("x:-3:-1")[0] == [7, 8]
    assert chosen("x:1:9:3")[0] == [1, 4, 7]
    assert chosen("x:sum") == (45, None)
    assert chosen("x:2:5:sum") == (9, None)
    assert chosen("x:rebin(5)") == ([10, 35], Axis("x", edges=(0.0, 0.5, 1.0)))
    assert chosen("x:1:9:rebin(4)")[0] == [10, 26]
    merged = Axis("x", edges=(TENTHS[1], TENTHS[3], TENTHS[9]))
    assert chosen("x:rebin(0.1,0.3,0.9)") == ([3, 33], merged)
    assert chosen("x:rebin(5),x:1:")[0] == [35]
    assert chosen("x:rebin(5),x:-2") == (10, None)
    assert chosen("x:1:9:2,x:rebin(2)")[0] == [4, 12]
    assert chosen("x:rebin(0,0.2,0.3,1),x:rebin(3)")[0] == [45]
    assert chosen("x:rebin(0,0.2,0.3,0.9),x:::2")[0] == [1, 33]
    assert chosen("None") == (list(range(10)), X)


def test_values_on_edges():
    """Rounding in edges does not move a bin: 3 times 0.1 is above 0.3."""
    assert TENTHS[3] > 0.3
    for i, edge in enumerate(np.arange(10) / 10):
        assert chosen(f"x:{edge}j") == (i, None)
    assert chosen("x:0.35j") == (3, None)
    assert chosen("x:0.3j:0.7j")[0] == [3, 4, 5, 6]
    assert chosen("x:0.35j:0.75j")[0] == [3, 4, 5, 6]
    assert chosen("x:0.3j:")[0] == [3, 4, 5, 6, 7, 8, 9]
    assert chosen("x:-7j:25j")[0] == list(range(10))
    flow = Axis("m", edges=(-np.inf, 0.0, 1.0, np.inf))
    assert chosen("m:-100j", flow) == (0, None)
    assert chosen("m:1e30j", flow) == (2, None)
    assert chosen("m:0j:1j", flow) == ([1], Axis("m", edges=(0.0, 1.0)))
    assert chosen("m:rebin(-inf,1,inf)", flow)[0] == [1, 2]
    whole = Axis("m", edges=(-np.inf, np.inf))
    assert chosen("m:3j", whole) == (0, None)


def test_categories():
    assert chosen("cat:loose", CAT) == (1, None)
    assert chosen('cat:"sum"', CAT) == (2, None)
    assert chosen("cat:sum", CAT) == (6, None)
    assert chosen('cat:"very loose"', CAT) == (3, None)
    assert chosen("cat:loose:", CAT) == (
        [1, 2, 3],
        Axis("cat", labels=("loose", "sum", "very loose")),
    )
    merged = Axis("cat", labels=("tight+loose", "sum+very loose"))
    assert chosen("cat:rebin(2)", CAT) == ([1, 5], merged)
    assert chosen("cat:rebin(1)", CAT)[1] == CAT
    assert chosen("code:-3j", CODE) == (1, None)
    assert chosen("code:0", CODE) == (0, None)
    assert chosen("code:5j:0j", CODE)[1].labels == (5, -3)
    assert chosen("x:::5")[1].labels == ("[0, 0.1)", "[0.5, 0.6)")


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("x:10", ValueError, r"selection x:10: there is no bin 10 among 10 \(0 to 9\)"),
        ("x:-11", ValueError, "no bin -11"),
        ("x:2:11", ValueError, "a slice at 11 of an axis with 10 bins"),
        ("x:5:5", ValueError, "no bin is left"),
        ("x:5:2", ValueError, "no bin is left"),
        ("x:1j", ValueError, "1 is outside of the axis, which goes from 0 to 1"),
        ("x:-0.1j", ValueError, "outside"),
        ("x:rebin(3)", ValueError, "10 bins cannot be merged by 3"),
        ("x:rebin(0,0.25,1)", ValueError, "0.25 is no edge of this axis. The nearest"),
        ("x:sm", ValueError, "Did you mean 'sum'"),
        ("x:sum,x:1:", ValueError, "an earlier selection has dropped"),
        ("X:1", KeyError, r"no axis 'X'\. The channel has 'x', 'cat', 'code'"),
        ("caat:1", KeyError, "Did you mean 'cat'"),
        ("cat:lose", KeyError, "Did you mean 'loose'"),
        ("cat:9j", KeyError, "no category has the value 9j"),
        ("cat:rebin(0,2)", ValueError, "this axis has categories"),
        ("code:1j", KeyError, "The categories are: 5, -3, 0"),
    ],
)
def test_bins_that_are_not_there(text, kind, message):
    with pytest.raises(kind, match=message):
        resolve(parse_selection(text), CHANNEL)


def test_names_that_cannot_be_spelled():
    with pytest.raises(ValueError, match="cannot be spelled"):
        str(Selection((('a"b', Sum()),)))
    with pytest.raises(ValueError, match="cannot be spelled"):
        str(Selection((("a", Pick(Label('a"b'))),)))


def test_several_axes():
    bins = resolve(parse_selection("code:-3j,x:rebin(0,0.2,1),cat:1:3"), CHANNEL)
    wanted = np.add.reduceat(VALUES[:, 1:3, 1], [0, 2], axis=0)
    both = jnp.stack([VALUES, 2 * VALUES])
    out = applied(both, bins)
    np.testing.assert_allclose(out, np.stack([wanted, 2 * wanted]), rtol=1e-13)
    assert [b.axis.name for b in bins if b.axis] == ["x", "cat"]


def test_it_is_linear_and_its_own_derivative():
    bins = resolve(parse_selection("x:rebin(0,0.2,0.3,1),cat:sum,code:::2"), CHANNEL)
    function = jax.jit(lambda v: applied(v, bins))
    J = jax.jacrev(function)(jnp.asarray(VALUES))
    again = jnp.tensordot(J, VALUES, 3)
    np.testing.assert_allclose(function(VALUES), again, rtol=1e-13)
    assert set(np.unique(J)) == {0.0, 1.0}
    # A bin that is NaN does not spread to others.
    spoilt = VALUES.copy()
    spoilt[0] = np.nan
    assert np.isnan(function(spoilt)).tolist() == [[True] * 2, [False] * 2, [False] * 2]


ends = st.none() | st.integers(-10, 10)


@given(ends, ends, st.integers(1, 4))
def test_slices_are_those_of_python(start, stop, stride):
    wanted = list(range(10))[start:stop:stride]
    text = ":".join("" if e is None else str(e) for e in (start, stop, stride))
    if not wanted:
        with pytest.raises(ValueError, match="no bin is left"):
            chosen(f"x:{text}")
        return
    assert chosen(f"x:{text}")[0] == wanted
    assert chosen({"x": slice(start, stop, stride)})[0] == wanted


names = st.text(min_size=1).filter(lambda text: '"' not in text)
items = st.builds(
    lambda axis, operation: (axis, operation),
    names,
    st.one_of(
        st.builds(Pick, st.integers()),
        st.builds(Pick, st.builds(Value, st.floats(allow_nan=False))),
        st.builds(Pick, st.builds(Label, names)),
        st.builds(Cut, st.integers(), st.integers(), st.integers(1, 9)),
        st.just(Sum()),
        st.builds(Merge, st.integers(1)),
        st.lists(st.floats(allow_nan=False), min_size=2, unique=True).map(
            lambda edges: MergeTo(tuple(sorted(e + 0.0 for e in edges)))
        ),
    ),
)


@given(st.lists(items, max_size=3))
def test_text_and_back(items):
    """Whatever the names of axes and categories are."""
    selection = Selection(tuple(items))
    assert parse_selection(str(selection)) == selection


@pytest.mark.parametrize(
    "text",
    [
        "x:3,cat:1",
        "x:-1",
        "x:2:7,cat:sum",
        "x:0.25j:0.85j",
        "x:0.85j,cat:0",
        "x:2:8:rebin(3)",
        "x:rebin(2)",
        "x:2:9:sum,y:0j",
        "y:2j:4j,cat:sum",
        "y:-2:,x:1:3",
        "y:sum,x:::2j",
    ],
)
def test_as_boost_histogram_slices(text):
    """Its own slicing, without the bins outside of the axes."""
    bh = pytest.importorskip("boost_histogram")
    axes = (
        bh.axis.Regular(10, 0, 1),
        bh.axis.Variable([0, 1, 2, 4, 8]),
        bh.axis.Integer(0, 3),
    )
    histogram = bh.Histogram(*axes)
    rng = np.random.default_rng(1)
    histogram.fill(rng.random(3000), 8 * rng.random(3000), rng.integers(0, 3, 3000))
    names = ("x", "y", "cat")
    index: list = [slice(None)] * 3
    for item in text.split(","):
        name, *rest = item.split(":")
        index[names.index(name)] = _uhi(bh, rest)
    wanted = histogram[tuple(index)]
    own = tuple(
        Axis(name, edges=tuple(axis.edges.tolist()))
        for name, axis in zip(names, axes, strict=True)
    )
    layout = Layout((Channel("ch0", own),), ("data",))
    mapping = Select("ch0", selection=text)
    out = mapping(None, Yields(jnp.asarray(histogram.values().ravel()[None]), layout))
    single = not isinstance(wanted, bh.Histogram)
    values = np.array([wanted]) if single else wanted.values()
    np.testing.assert_array_equal(out, values)
    if not single:
        for axis, other in zip(mapping.axes(layout), wanted.axes, strict=True):
            np.testing.assert_allclose(axis.edges, other.edges, rtol=1e-12)


def _uhi(bh, parts):
    """Translate what is between colons into the objects that it slices by."""
    step = {"sum": sum, "2j": bh.rebin(2), "rebin(2)": bh.rebin(2)}
    step["rebin(3)"] = bh.rebin(3)
    if len(parts) == 1 and parts[0] in step:
        return slice(None, None, step[parts[0]])

    def position(part):
        return bh.loc(float(part[:-1])) if part.endswith("j") else int(part)

    if len(parts) == 1:
        return position(parts[0])
    ends = [position(part) if part else None for part in parts[:2]]
    return slice(*ends, step[parts[2]] if len(parts) > 2 else None)
