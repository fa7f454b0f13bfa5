"""Keywords that have another name than in the last release."""

import inspect
import warnings

import pytest

import everwillow as ew
from everwillow._errors import ArgumentTypeError
from everwillow._keywords import renamed_keywords, takes_keywords
from everwillow.hypotest.upper_limit import upper_limit


@renamed_keywords(parameter="name", level=("cl", lambda level: 1.0 - level))
def interval(data, name="mu", *, cl=0.95):
    """Return the arguments."""
    return data, name, cl


@renamed_keywords(max_iter="max_steps")
@takes_keywords([("max_steps", int, 256)])
def outer(**options):
    """Return the keywords."""
    return options


def test_a_new_name_does_not_warn():
    assert interval(1, "a", cl=0.5) == (1, "a", 0.5)
    assert interval(1, name="a") == (1, "a", 0.95)


def test_an_old_name_is_taken_with_one_warning_at_the_line_of_the_caller():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        line = inspect.currentframe().f_lineno + 1
        assert interval(1, parameter="a") == (1, "a", 0.95)
    [warning] = caught
    assert warning.category is FutureWarning
    assert (warning.filename, warning.lineno) == (__file__, line)
    assert "'parameter' is now called 'name'" in str(warning.message)


def test_a_value_with_another_meaning_is_converted():
    with pytest.warns(FutureWarning, match=r"Write cl=0\.75"):
        assert interval(1, level=0.25) == (1, "mu", 0.75)


def test_each_old_name_warns():
    with pytest.warns(FutureWarning) as caught:
        interval(1, parameter="a", level=0.25)
    assert len(caught) == 2


def test_an_old_and_a_new_name_together_are_refused():
    for both in ({"parameter": "a", "name": "b"}, {"name": "b", "parameter": "a"}):
        with pytest.raises(ArgumentTypeError, match="'parameter' and 'name' are one"):
            interval(1, **both)


def test_an_old_name_for_an_argument_given_by_position_is_a_type_error():
    with pytest.warns(FutureWarning), pytest.raises(TypeError, match="multiple values"):
        interval(1, "a", parameter="b")


def test_the_signature_has_new_names_only_and_other_names_are_refused():
    assert list(inspect.signature(interval).parameters) == ["data", "name", "cl"]
    assert interval.__doc__ == "Return the arguments."
    with pytest.raises(TypeError, match="unexpected keyword"):
        interval(1, unknown=2)


def test_it_composes_with_checked_keywords():
    with pytest.warns(FutureWarning, match="Write 'max_steps'"):
        assert outer(max_iter=3) == {"max_steps": 3}
    with pytest.raises(ArgumentTypeError, match="no argument 'max_step'"):
        outer(max_step=3)


@pytest.mark.parametrize(
    ("function", "old", "new"),
    [
        (ew.impacts.rank, {"pois": "a", "nuisances": "b"}, {"poi": "a", "names": "b"}),
        (ew.impacts.global_impacts, {"pois": "a"}, {"poi": "a"}),
        (ew.impacts.statistical_impacts, {"pois": "a"}, {"poi": "a"}),
        (ew.impacts.nonprofiled_impacts, {"frozen": "b"}, {"names": "b"}),
        (ew.limits, {"level": 0.1}, {"cl": 0.9}),
        (upper_limit, {"objective": "f"}, {"objective_fn": "f"}),
    ],
)
def test_names_of_earlier_versions(function, old, new):
    signature = inspect.signature(function).parameters
    assert new.keys() <= signature.keys()
    assert not old.keys() & signature.keys()
    # With both names, nothing runs but the check.
    for name in old:
        with pytest.raises(ArgumentTypeError, match="are one"):
            function(**{name: old[name]}, **new)
