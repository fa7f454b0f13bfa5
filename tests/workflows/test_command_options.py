"""Options as dataclasses: what a command derives from them, what functions refuse."""

import inspect
import subprocess
import sys
from dataclasses import dataclass

import pytest

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    MissingFileError,
)
from everwillow.workflows.command_options import (
    derive_options,
    option,
    options_of,
    takes_fields,
)
from everwillow.workflows.templates import fit_options, run


@dataclass(frozen=True, kw_only=True)
class Both:
    first: int = option(1, "One.", "--first", kind=int, minimum=0)
    second: tuple[str, ...] = option((), "Some.", "--second", "-s", repeated=True)
    third: float = 2.0


@takes_fields(Both)
def function(value, *, own=True, **keywords):
    return value, own, options_of(Both, keywords)


def test_options_of_a_function_are_the_fields_of_a_dataclass():
    assert function(3, second=("a",)) == (3, True, Both(second=("a",)))
    assert list(inspect.signature(function).parameters) == [
        "value",
        "own",
        "first",
        "second",
        "third",
    ]
    with pytest.raises(ArgumentTypeError, match=r"no argument 'secnd'.*'second'"):
        function(3, secnd=())


def test_a_command_has_the_fields_made_by_option():
    first, second = derive_options(Both)
    assert (first.field, first.default, first.command.minimum) == ("first", 1, 0)
    assert (second.default, second.command.flags) == (None, ("--second", "-s"))


def test_every_option_of_template_fits_has_a_flag_of_its_own():
    classes = (
        fit_options.ModelOptions,
        fit_options.MinimisationOptions,
        fit_options.ResultOptions,
    )
    found = [one for cls in classes for one in derive_options(cls)]
    flags = [flag for one in found for flag in one.command.flags]
    assert len(set(flags)) == len(flags)
    names = {one.field for one in found}
    assert names | {"spec", "minimise"} == set(inspect.signature(run).parameters)


@pytest.mark.parametrize(
    ("name", "value"),
    [("scan_points", 1), ("contour_cl", (1.5,)), ("cl", 0.3)],
)
def test_numbers_are_checked_where_they_are_given(name, value):
    with pytest.raises(ArgumentValueError, match=name):
        fit_options.ResultOptions(**{name: value})


def test_options_are_read_without_importing_jax():
    code = (
        "import sys, everwillow.workflows.templates.fit_options;"
        "sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_old_keywords_of_template_fits_warn():
    old = {"freeze": "nothing", "limit_level": 0.1}
    with (
        pytest.warns(FutureWarning, match=r"'freeze' is now called 'fixed'"),
        pytest.warns(FutureWarning, match=r"Write cl=0\.9\."),
        pytest.raises(MissingFileError, match="none"),
    ):
        run("none.h5", **old)
