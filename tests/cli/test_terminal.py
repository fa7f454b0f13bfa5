"""Numbers and tables as people read them."""

import math

import pytest
import typer

from everwillow import EverwillowError, FitError
from everwillow._errors import NameOnly
from everwillow.cli.options import spellings
from everwillow.cli.report.numbers import plain, seconds, signed, with_error
from everwillow.cli.report.outcome import ending
from everwillow.cli.report.terminal import table
from everwillow.cli.report.wording import in_options
from everwillow.cli.request import Request
from everwillow.mappings.tokens import Token
from everwillow.workflows.templates.fit_options import (
    MinimisationOptions,
    ModelOptions,
    ResultOptions,
)


WORKSPACES = spellings(Request, values="--range")
TEMPLATES = spellings(ModelOptions, MinimisationOptions, ResultOptions)
SWITCHES = {"per_process": True, "refit": False}
CODES = {"interpolation": {"normsys": "code1", "histosys": "code0"}}


@pytest.mark.parametrize(
    ("value", "error", "digits", "shown"),
    [
        (1.549184, 1.400757, 2, ("1.5", "1.4")),
        (1.549184, 1.400757, 3, ("1.55", "1.40")),
        (0.0123456, 0.000996, 2, ("0.0123", "0.0010")),
        (0.0123456, 0.00099, 2, ("0.01235", "0.00099")),
        (173.34, 0.76, 2, ("173.34", "0.76")),
        (17234.0, 331.0, 2, ("17234", "331")),
        (-1e-9, 0.5, 2, ("0.00", "0.50")),
        (1.234e-7, 5.6e-9, 2, ("1.234e-07", "0.056e-07")),
        (-3.21e8, 4.4e7, 2, ("-3.21e+08", "0.44e+08")),
        (3.25, math.nan, 2, ("3.25", "")),
        (3.25, 0.0, 2, ("3.25", "")),
        (math.nan, 1.0, 2, ("nan", "")),
    ],
)
def test_errors_are_rounded_and_values_to_the_same_place(value, error, digits, shown):
    assert with_error(value, error, digits) == shown


def test_zero_has_no_sign():
    assert [plain(-0.0), signed(-1e-9), signed(0.0)] == ["0", "0.00", "0.00"]
    assert [signed(0.5), signed(-0.5), signed(math.nan)] == ["+0.50", "-0.50", ""]


def test_durations():
    assert [seconds(t) for t in (0.004, 0.5, 2.34, 75.0)] == [
        "0.00 s",
        "0.50 s",
        "2.3 s",
        "75 s",
    ]


@pytest.mark.parametrize("columns", [40, 80, 120, 300])
def test_tables_fit_the_terminal_and_lose_nothing(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    long = "".join(chr(97 + i % 26) for i in range(150))
    lines = table(
        ("name", "value", "unused", "error"),
        [(long, "1.5", "", "0.5"), ("mu", "-1.25", " ", "0.01")],
    ).splitlines()
    assert max(map(len, lines)) <= min(columns, 120)
    assert "unused" not in lines[0]
    assert "".join(line.split()[0] for line in lines[2:-1]) == long
    assert lines[2].split()[1:] == ["1.5", "0.5"]
    assert lines[-1].split() == ["mu", "-1.25", "0.01"]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (EverwillowError("no such file"), 2, "no such file"),
        (FitError("no minimum"), 3, "no minimum"),
        (PermissionError("not yours"), 2, "not yours"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (RuntimeError("a bug"), 1, "please report"),
        (MemoryError(), 1, "not enough memory"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
@pytest.mark.parametrize("traceback", [False, True])
def test_exceptions_become_exit_codes(capsys, error, code, words, traceback):
    # Thrown into it, as a frame of this file would make it an error of a user's code.
    context = ending("file.json", traceback=traceback)
    context.__enter__()
    with pytest.raises(typer.Exit) as end:
        context.__exit__(type(error), error, None)
    assert end.value.exit_code == code
    written = capsys.readouterr()
    assert written.out == ""
    assert words in " ".join(written.err.split())
    shown = "Traceback" in written.err
    assert shown == (traceback and not isinstance(error, KeyboardInterrupt))


def test_text_of_errors_is_no_markup(capsys):
    with pytest.raises(typer.Exit), ending("[bold]file", traceback=False):
        raise EverwillowError("gamma[red]3[/red] [/nothing]")
    assert "gamma[red]3[/red] [/nothing]" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["fit"], ["template", "fit"]])
def test_help_shows_no_values_of_flags(run, command):
    done = run(*command, "--help")
    assert done.exit_code == 0
    assert "traceback" in done.stdout
    assert "bool" not in done.stdout


@pytest.mark.parametrize(
    ("options", "error", "wanted"),
    [
        (WORKSPACES, "values[0]: 'mu' cannot be -5.", "--range: 'mu' cannot be -5."),
        (WORKSPACES, "The values: they are odd.", "The values: they are odd."),
        (TEMPLATES, "groups['a']: no 'b'.", "--group (a): no 'b'."),
        (TEMPLATES, "These data have limits.", "These data have limits."),
        ({}, "fixed: no.", "fixed: no."),
        (
            TEMPLATES,
            Token("parameters", "A b", 2, "b").error("no."),
            "--parameters 'A b', at position 2 ('b'): no.",
        ),
        (
            TEMPLATES,
            EverwillowError("data: no. Say {data}.", settings={"data": NameOnly}),
            "--data: no. Say --data.",
        ),
        (
            TEMPLATES,
            EverwillowError("x: try {statistics}", settings={"statistics": None}),
            "x: try --statistics none",
        ),
        (
            TEMPLATES,
            EverwillowError("Ask: {l_curve}.", settings={"l_curve": ...}),
            "Ask: --l-curve LOW:HIGH:N.",
        ),
        (
            TEMPLATES,
            EverwillowError("'l_curve' and {l_curve}", settings={"l_curve": NameOnly}),
            "'l_curve' and --l-curve",
        ),
        (
            TEMPLATES,
            EverwillowError("{per_process} {refit}", settings=SWITCHES),
            "--per-process --no-refit",
        ),
        (
            WORKSPACES,
            EverwillowError("{interpolation}", settings=CODES),
            "--interpolation normsys=code1,histosys=code0",
        ),
    ],
)
def test_messages_name_options(options, error, wanted):
    error = EverwillowError(error) if isinstance(error, str) else error
    assert in_options(error, options) == wanted
