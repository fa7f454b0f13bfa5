"""`describe`: who uses a parameter, under which name, and what is known of it."""

import itertools

import numpy as np
import pytest

from everwillow._errors import ArgumentTypeError, UnknownKeyError
from everwillow.combination import combine, describe
from everwillow.model import Model
from everwillow.parameters import (
    Interval,
    MultivariateNormal,
    Normal,
    SoftPlusTransform,
)
from everwillow.statelib import State, merge, rename
from tests.combination.models import measured_a, measured_b, quadratic


def joint():
    return combine(
        {"a": measured_a(fixed={"scale": 1.25}), "b": measured_b()},
        rename={"b": {"m": "mass"}},
        shared=["mass"],
    )


def test_records_of_a_combination():
    mass, scale_a, scale_b = describe(joint()).parameters
    assert mass.key == "mass"
    assert mass.used_by == {"a": "mass", "b": "m"}
    assert mass.start == 124.0
    assert mass.bounds.lower == 0.0
    assert mass.constraint is mass.fixed is None
    assert scale_a.used_by == {"a": "scale"}
    assert (scale_a.constraint.width, scale_b.constraint.width) == (0.02, 0.03)
    assert scale_a.fixed == 1.25
    assert scale_b.fixed is None


def test_the_table():
    lines = str(describe(joint())).splitlines()
    assert [line.split() for line in lines] == [
        ["parameter", "start", "bounds", "constraint", "used", "by"],
        ["mass", "124", "[0,", "inf]", "a,", "b", "(m)"],
        ["a.scale", "1", "(fixed", "at", "1.25)", "Normal(1,", "0.02)", "a", "(scale)"],
        ["b.scale", "1", "Normal(1,", "0.03)", "b", "(scale)"],
    ]
    # Columns are aligned.
    assert len({line.index("Normal") for line in lines[2:]}) == 1
    assert repr(describe(joint())) == str(describe(joint()))


def test_many_users_do_not_make_the_table_wide():
    models = {f"measurement{i}": quadratic(["mass"]) for i in range(30)}
    description = describe(combine(models))
    assert len(description["mass"].used_by) == 30
    assert str(description).endswith("measurement2, 27 more")
    assert max(map(len, str(description).splitlines())) < 88


def test_a_single_model():
    model = Model(
        lambda p, o: p["x"],
        {"x": 1.0, "y": np.ones(3)},
        0.0,
        bounds={"x": SoftPlusTransform()},
        constraints={"y": Normal(0.0, np.array([1.0, 2.0, 3.0]))},
    )
    description = describe(model)
    assert description["x"].used_by == {"model": "x"}
    assert "SoftPlusTransform()" in str(description)
    assert "Normal(0, [1, 2, 3])" in str(description)


def test_a_model_of_a_merged_state():
    a = State.from_pytree({"m": 1.0})
    state = merge(rename(a, {"m": "mass"}), State.from_pytree({"mass": 1.0}))
    model = Model(lambda trees, o: trees[0]["m"], state, 0.0)
    assert describe(model)["mass"].used_by == {"model0": "m", "model1": "mass"}
    inside = combine({"atlas": model})
    assert describe(inside)["mass"].used_by == {"atlas/0": "m", "atlas/1": "mass"}


def test_joint_gaussians_and_the_other_arguments():
    names = "abcdef"
    models = [quadratic([n], constraints={n: Normal(0.0, 1.0)}) for n in names]
    pairs = dict.fromkeys(itertools.pairwise(names), 0.1)
    table = str(describe(combine(models, correlate=pairs)))
    assert "MultivariateNormal(a, b, c, ... 6 in all)" in table
    with pytest.raises(UnknownKeyError, match="'zz'"):
        describe(combine(models))["zz"]
    with pytest.raises(ArgumentTypeError, match="got dict"):
        describe({"a": Interval(0.0)})


def test_correlations_are_below_the_table():
    model = combine(
        {"a": measured_a(), "b": measured_b(), "c": quadratic(["mass"])},
        rename={"b": {"m": "mass"}},
        shared=["mass"],
        correlate={("a.scale", "b.scale"): -0.3},
    )
    description = describe(model)
    assert description.correlations == {
        ("a.scale", "b.scale"): pytest.approx(-0.3, rel=1e-12)
    }
    table, correlations = str(description).split("\n\n")
    assert "MultivariateNormal(a.scale, b.scale)" in table
    assert [line.split() for line in correlations.splitlines()] == [
        ["correlated", "with", "correlation"],
        ["a.scale", "b.scale", "-0.3"],
    ]
    assert describe(joint()).correlations == {}


def test_of_many_correlations_the_largest_are_shown():
    names = [f"x{i}" for i in range(6)]
    distance = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    covariance = 4 * 0.5**distance
    model = Model(
        lambda p, o: p["x0"],
        dict.fromkeys(names, 0.0),
        0.0,
        constraints={"joint": MultivariateNormal(names, np.zeros(6), covariance)},
    )
    description = describe(model)
    assert len(description.correlations) == 15
    lines = str(description).splitlines()
    assert lines[-1] == "... and 3 smaller ones"
    assert lines[-13].split() == ["x0", "x1", "+0.5"]
