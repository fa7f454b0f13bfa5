"""What numbers may come in: tables, series, records and odd arrays."""

import dataclasses
import decimal
import fractions
import functools as ft
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow import goodness, impacts, toys
from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow._native import native_tree
from everwillow.fitting.conditional import pose
from everwillow.model import Model
from everwillow.parameters import Interval
from everwillow.uncertainty import covariance_matrix


Y = np.array([3.0, 5.0, 10.0])
S = np.array([1.0, 2.0, 2.0])
# The mean with weights 1/S², and its error.
MEAN = float(np.sum(Y / S**2) / np.sum(1 / S**2))
ERROR = float(np.sum(1 / S**2) ** -0.5)


class Series:
    """As pandas has it, as far as it is used."""

    def __init__(self, values):
        self.values = values

    def to_numpy(self):
        return self.values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)

    __hash__ = None  # type: ignore[assignment]


class Frame:
    """As pandas has it, as far as it is used."""

    def __init__(self, columns, names=None):
        self._columns = columns
        self.columns = list(columns) if names is None else names

    def __getitem__(self, name):
        return Series(self._columns[name])

    def to_numpy(self):
        return np.stack(list(self._columns.values()), axis=1)

    __hash__ = None  # type: ignore[assignment]


class Counts:
    """Offers nothing but ``__array__``."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


@dataclasses.dataclass
class Record:
    y: object
    s: object
    name: str = "run 1"

    @property
    def weights(self):
        return 1 / self.s**2


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    y: object
    s: object


@dataclasses.dataclass(eq=False)
class ById:
    y: object
    s: object


@dataclasses.dataclass(frozen=True)
class Settings:
    power: int = 2
    name: str = "square"


def by_item(params, data):
    return 0.5 * jnp.sum(((data["y"] - params["mu"]) / data["s"]) ** 2)


def by_attribute(params, data):
    return 0.5 * jnp.sum(((data.y - params["mu"]) / data.s) ** 2)


def mask(values, where=False):
    return np.ma.array(values, mask=where)


def structured(y, s, kind=">f8"):
    out = np.zeros(len(y), [("y", kind), ("s", "f8")])
    out["y"], out["s"] = y, s
    return out


ITEMS = {
    "frame": lambda y: Frame({"y": y, "s": S}),
    "frame of foreign columns": lambda y: Frame({"y": y.astype(">f8"), "s": S}),
    "series": lambda y: {"y": Series(y), "s": Series(S)},
    "series of objects": lambda y: {"y": Series(y.astype(object)), "s": S},
    "array protocol": lambda y: {"y": Counts(y), "s": S},
    "big endian": lambda y: {"y": y.astype(">f8"), "s": S.astype(">f8")},
    "long double": lambda y: {"y": y.astype(np.longdouble), "s": S},
    "nothing masked": lambda y: {"y": mask(y), "s": mask(S, [False] * 3)},
    "objects": lambda y: {"y": y.astype(object), "s": S},
    "decimals": lambda y: {
        "y": np.array([decimal.Decimal(float(v)) for v in y], object),
        "s": np.array([fractions.Fraction(float(v)) for v in S], object),
    },
    "structured": lambda y: structured(y, S),
    "records": lambda y: structured(y, S).view(np.recarray),
    "masked records": lambda y: np.ma.array(structured(y, S)),
}
RECORDS = {
    "dataclass": lambda y: Record(y, S),
    "dataclass of series": lambda y: Record(Series(y), S.astype(">f8")),
    "dataclass with slots": lambda y: Slotted(y, S),
    "dataclass by identity": lambda y: ById(y, S),
}
KINDS = [
    *(pytest.param(by_item, make, id=name) for name, make in ITEMS.items()),
    *(pytest.param(by_attribute, make, id=name) for name, make in RECORDS.items()),
]
START = ew.State.from_pytree({"mu": 0.0})


@pytest.mark.parametrize(("nll", "make"), KINDS)
def test_a_fit_takes_data_of_any_kind(nll, make):
    result = ew.fit(nll, START, make(Y))

    np.testing.assert_allclose(result.params["mu"], MEAN, rtol=1e-9)
    np.testing.assert_allclose(result.covariance[0, 0] ** 0.5, ERROR, rtol=1e-6)
    other = ew.fit(nll, START, make(Y + 2.5))
    np.testing.assert_allclose(other.params["mu"], MEAN + 2.5, rtol=1e-9)


@pytest.mark.parametrize(("nll", "make"), KINDS)
def test_a_model_takes_data_of_any_kind(nll, make):
    model = Model(nll, {"mu": 0.0}, make(Y))

    own = ew.fit(model)
    other = ew.fit(model, observation={"main": make(Y + 1.0), "aux": {}})

    np.testing.assert_allclose(own.params["mu"], MEAN, rtol=1e-9)
    np.testing.assert_allclose(other.params["mu"], MEAN + 1.0, rtol=1e-9)


@pytest.mark.parametrize(
    ("nll", "kinds"),
    [(by_item, ITEMS.values()), (by_attribute, [RECORDS["dataclass"]])],
    ids=["items", "records"],
)
def test_other_data_trace_nothing_in_whatever_they_come(nll, kinds):
    traced = []

    def counted(params, data):
        traced.append(1)
        return nll(params, data)

    ew.fit(counted, START, next(iter(kinds))(Y))
    before = len(traced)
    for make in kinds:
        ew.fit(counted, START, make(Y + 1.0))

    assert len(traced) == before


def test_covariances_take_them():
    frame = Frame({"y": Y.astype(">f8"), "s": S})

    covariance = covariance_matrix(by_item, START, frame)
    np.testing.assert_allclose(covariance, [[ERROR**2]], rtol=1e-6)


def _line(p, data):
    return by_item(p, data)


def _line_model(observed):
    return Model(
        _line,
        {"mu": 0.0},
        observed,
        expected=lambda p: {"y": p["mu"] * jnp.ones(3), "s": jnp.asarray(S)},
    )


@pytest.mark.parametrize(("nll", "make"), KINDS)
def test_a_model_takes_data_and_parameters_given_to_its_methods(nll, make):
    model = Model(nll, {"mu": 0.0}, make(Y))
    right = 0.5 * np.sum(((Y + 2.5 - 7.0) / S) ** 2)
    for seven in (7.0, np.array(7.0, ">f8"), np.array(7.0, object), mask(7.0)):
        found = model.nll({"mu": seven}, {"main": make(Y + 2.5), "aux": {}})
        np.testing.assert_allclose(found, right, rtol=1e-12)


def test_a_model_refuses_data_given_to_its_methods_with_their_place():
    model = _line_model({"y": Y, "s": S})
    bad = {"main": {"y": np.array(["a", "b", "c"]), "s": S}, "aux": {}}
    with pytest.raises(
        ArgumentTypeError, match=r"observation\['main'\]\['y'\]: .*text"
    ):
        model.nll({"mu": 1.0}, bad)
    with pytest.raises(ArgumentTypeError, match=r"params\['mu'\]: .*text"):
        model.nll({"mu": np.array("one")})


# Data of variance S², read by one test each.
VARIANCES = {
    "frame": lambda v: Frame({"y": v, "s": 0 * S}),
    "series": lambda v: {"y": Series(v), "s": None},
    "big endian": lambda v: {"y": v.astype(">f8"), "s": None},
    "objects": lambda v: {"y": v.astype(object), "s": None},
    "nothing masked": lambda v: {"y": mask(v), "s": None},
    "structured": lambda v: structured(v, 0 * S),
}


@pytest.mark.parametrize("make", VARIANCES.values(), ids=VARIANCES.keys())
def test_variances_of_data_come_in_any_kind(make):
    model = _line_model({"y": Y, "s": S})
    result = ew.fit(model)
    chi2 = np.sum(((Y - MEAN) / S) ** 2)
    test = goodness.yield_chi2(
        model, result, data_variance=make(S**2), relation="fitted", ndof=2
    )
    np.testing.assert_allclose(test.statistic, chi2, rtol=1e-6)
    given = goodness.saturated_test(model, result, data_variance=make(S**2), ndof=2)
    np.testing.assert_allclose(given.statistic, chi2, rtol=1e-6)
    moved = impacts.global_impacts(
        model, result, poi="mu", data_variance=make(S**2)
    ).total
    np.testing.assert_allclose(np.ravel(moved)[0], ERROR, rtol=1e-6)


def test_variances_that_are_no_numbers_are_refused_with_their_place():
    model = _line_model({"y": Y, "s": S})
    result = ew.fit(model)
    bad = {"y": np.array(["a", "b", "c"]), "s": None}
    for use in (goodness.yield_chi2, goodness.saturated_test, goodness.data_pulls):
        with pytest.raises(ArgumentTypeError, match=r"data_variance\['y'\]: .*text"):
            use(model, result, data_variance=bad)


@pytest.mark.parametrize(
    "seven",
    [np.array(7.0, ">f8"), np.array(7.0, object), mask(7.0), Series(np.array(7.0))],
    ids=["big endian", "objects", "nothing masked", "series"],
)
def test_toys_are_drawn_at_parameters_of_any_kind(seven):
    def predict(p):
        return 10.0 * p["mu"] * jnp.ones(3)

    def draw(params):
        return toys.sample_toys(None, params, ntoys=5, key=1, predict_fn=predict)

    right = draw(ew.State.from_pytree({"mu": 7.0}))
    np.testing.assert_array_equal(draw(START.with_values([seven])), right)
    np.testing.assert_array_equal(draw({"mu": seven}), right)
    asimov = toys.asimov_data(None, START.with_values([seven]), predict_fn=predict)
    np.testing.assert_allclose(asimov, np.full(3, 70.0))


def test_toys_are_drawn_at_the_end_of_a_fit():
    result = ew.fit(by_item, START, {"y": Y, "s": S})

    def predict(state):
        return 10.0 * state["mu"]

    found = toys.sample_toys(None, result, ntoys=5, key=1, predict_fn=predict)
    right = toys.sample_toys(None, result.params, ntoys=5, key=1, predict_fn=predict)
    np.testing.assert_array_equal(found, right)


def test_toys_are_not_drawn_at_text():
    with pytest.raises(ArgumentTypeError, match=r"params\['mu'\]: .*text"):
        toys.sample_toys(
            None,
            START.with_values([np.array("seven")]),
            ntoys=5,
            key=1,
            predict_fn=lambda s: s["mu"],
        )


def test_an_opened_dataclass_keeps_its_class_and_methods():
    record = Record(Y, S)

    def nll(params, data):
        assert isinstance(data, Record)
        assert data.name == "run 1"
        return 0.5 * jnp.sum(data.weights * (data.y - params["mu"]) ** 2)

    np.testing.assert_allclose(ew.fit(nll, START, record).params["mu"], MEAN, rtol=1e-9)
    assert type(record) is Record
    assert jax.tree.leaves(record) == [record]  # not registered behind one's back


@pytest.mark.slow
def test_a_fit_has_derivatives_in_the_fields_of_a_dataclass():
    def fitted(shift):
        return ew.fit(by_attribute, START, Record(Y + shift, S)).params["mu"]

    np.testing.assert_allclose(jax.grad(fitted)(0.0), 1.0, rtol=1e-6)


def test_what_a_dataclass_has_cached_is_made_anew():
    @dataclasses.dataclass
    class Cached:
        y: np.ndarray

        @ft.cached_property
        def mean(self):
            return self.y.mean()

    data = Cached(Y.copy())
    assert data.mean == Y.mean()
    data.y += 1.0

    assert native_tree(data, "observation").mean == Y.mean() + 1.0


@pytest.mark.slow
def test_settings_compared_by_value_stay_structure():
    def nll(params, data):
        assert type(data["how"].power) is int
        return jnp.sum((data["y"] - params["mu"]) ** data["how"].power)

    for power, expected in ((2, Y.mean()), (4, None)):
        found = ew.fit(nll, START, {"y": Y, "how": Settings(power)}).params["mu"]
        if expected is not None:
            np.testing.assert_allclose(found, expected, rtol=1e-9)
        else:
            slope = np.sum((Y - found) ** 3)
            np.testing.assert_allclose(slope, 0, atol=1e-4)


TEXT = np.array(["3", "5", "10"])
REFUSED = {
    "text": (TEXT, "text"),
    "bytes": (TEXT.astype("S"), "text"),
    "dates": (np.array(["2020-01-01"], "M8[D]"), "dates"),
    "objects of text": (np.array([3.0, "5", 10.0], object), r"'5' at \[1\]"),
    "objects missing": (np.array([[3.0], [None]], object), r"None at \[1, 0\]"),
    "ragged": (np.array([Y, Y[:2]], object), "into a list"),
    "series of text": (Series(TEXT.astype(object)), r"'3' at \[0\]"),
    "array protocol": (Counts(TEXT), "text"),
    "namespace": (SimpleNamespace(y=Y), "SimpleNamespace.*register_dataclass"),
}


@pytest.mark.parametrize(("leaf", "what"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_number_is_refused_with_its_place(leaf, what):
    with pytest.raises(ArgumentTypeError, match=r"observation\['y'\]: .*" + what):
        ew.fit(by_item, START, {"y": leaf, "s": S})


def test_places_inside_tables_and_dataclasses_are_named():
    with pytest.raises(ArgumentTypeError, match=r"observation\['t'\]\['name'\]: "):
        ew.fit(by_item, START, {"t": Frame({"y": Y, "name": TEXT})})
    with pytest.raises(ArgumentTypeError, match=r"observation\.y: "):
        ew.fit(by_attribute, START, Record(TEXT, S))
    with pytest.raises(ArgumentTypeError, match=r"observation\['y'\]: .*text"):
        Model(by_item, {"mu": 0.0}, {"y": TEXT, "s": S})
    model = Model(by_item, {"mu": 0.0}, {"y": Y, "s": S})
    with pytest.raises(ArgumentTypeError, match=r"observation\['main'\]\['y'\]: "):
        ew.fit(model, observation={"main": {"y": TEXT, "s": S}, "aux": {}})


@pytest.mark.parametrize("make", [lambda y: y, Series], ids=["array", "series"])
def test_masked_data_are_refused_with_a_remedy(make):
    data = {"y": make(mask(Y, [False, True, False])), "s": S}

    with pytest.raises(
        ArgumentValueError, match=r"observation\['y'\]: 1 of 3 .*compressed"
    ):
        ew.fit(by_item, START, data)


def test_tables_whose_columns_have_no_clear_names_are_refused():
    with pytest.raises(ArgumentValueError, match=r"observation: several columns.* y"):
        ew.fit(by_item, START, Frame({"y": Y}, ["y", "y"]))
    with pytest.raises(ArgumentTypeError, match=r"observation: .*several types"):
        ew.fit(by_item, START, Frame({"y": Y, 1: Y}))


@pytest.mark.slow
def test_parameters_of_any_kind():
    def nll(params, data):
        return 0.5 * jnp.sum((params["a"] - data) ** 2) + 0.5 * params["b"] ** 2

    for a in (
        Series(np.zeros(3)),
        np.zeros(3, ">f8"),
        np.zeros(3, object),
        mask(np.zeros(3)),
        Counts(np.zeros(3)),
    ):
        state = ew.State.from_pytree({"a": a, "b": 1.0})
        np.testing.assert_allclose(ew.fit(nll, state, Y).params["a"], Y, atol=1e-8)
        model = Model(nll, {"a": a, "b": 1.0}, Y)
        np.testing.assert_allclose(ew.fit(model).params["a"], Y, atol=1e-8)
        # Also what comes in behind `from_pytree`.
        later = state.with_values([a, 1.0])
        np.testing.assert_allclose(ew.fit(nll, later, Y).params["a"], Y, atol=1e-8)
        held = ew.fit(nll, state, Y, fixed={"a": a})
        np.testing.assert_array_equal(held.params["a"], np.zeros(3))


def test_parameters_in_a_dataclass():
    @dataclasses.dataclass
    class Params:
        mu: float
        scale: float

    def nll(params, data):
        return 0.5 * jnp.sum((data - params.mu * params.scale) ** 2)

    state = ew.State.from_pytree(Params(0.0, 1.0))

    assert list(state) == ["mu", "scale"]
    result = ew.fit(nll, state, Y, fixed={"scale": ...})
    np.testing.assert_allclose(result.params["mu"], Y.mean(), rtol=1e-9)


def test_parameters_that_are_no_numbers_are_refused_with_their_place():
    with pytest.raises(ArgumentTypeError, match=r"params\['a'\]: .*text"):
        ew.State.from_pytree({"a": TEXT})
    state = ew.State.from_pytree({"a": 0.0})
    with pytest.raises(ArgumentTypeError, match=r"params\['a'\]: .*text"):
        ew.fit(by_item, state.with_values([TEXT]), Y)
    with pytest.raises(ArgumentValueError, match=r"params\['a'\]: 1 of 3 .*masked"):
        ew.fit(by_item, state.with_values([mask(Y, [1, 0, 0])]), Y)
    with pytest.raises(ArgumentTypeError, match=r"fixed\['a'\]: .*text"):
        ew.fit(by_item, state, Y, fixed={"a": TEXT})


@pytest.mark.parametrize("seed", range(200))
def test_every_kind_holds_the_same_numbers(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(0, 4, rng.integers(0, 3)))
    plain = np.asarray(rng.normal(size=shape), rng.choice(["f4", "f8", "i4", "u2"]))
    wrapped = [
        plain.astype(plain.dtype.newbyteorder(">")),
        plain.astype(object),
        mask(plain),
        Series(plain),
        Series(plain.astype(object)),
        Counts(plain.astype(plain.dtype.newbyteorder(">"))),
    ]

    out = native_tree({"a": wrapped, "b": {"c": plain}}, "observation")

    assert out["b"]["c"] is plain
    for found in out["a"]:
        assert type(found) is np.ndarray
        assert found.dtype.isnative
        assert found.shape == plain.shape
        np.testing.assert_array_equal(found, plain)
        jnp.asarray(found)


def test_a_fit_starts_from_a_result():
    data = {"y": Y, "s": S}
    first = ew.fit(by_item, START, data)

    again = ew.fit(by_item, first, data)

    assert int(again.num_steps) <= 2
    np.testing.assert_allclose(again.params["mu"], MEAN, rtol=1e-12)
    np.testing.assert_allclose(
        pose(by_item, first, data).fit().params["mu"], MEAN, rtol=1e-12
    )


@pytest.mark.slow
def test_a_fit_of_a_model_starts_from_a_result():
    model = Model(
        by_item, {"mu": 0.0}, {"y": Y, "s": S}, bounds={"mu": Interval(-1, 4)}
    )
    first = ew.fit(model)

    again = ew.fit(model, first)

    assert int(again.num_steps) <= 2
    np.testing.assert_array_equal(again.params["mu"], min(MEAN, 4.0))


@pytest.mark.slow
def test_a_fit_does_not_start_from_a_batch():
    batch = jax.vmap(lambda y: ew.fit(by_item, START, {"y": y, "s": S}))(
        np.stack([Y, Y])
    )

    with pytest.raises(ArgumentValueError, match=r"params: .*batch"):
        ew.fit(by_item, batch, {"y": Y, "s": S})
