"""Numbers and tables as people read them."""

import math

import pytest
import typer

from everwillow import EverwillowError, FitError
from everwillow._errors import NameOnly
from everwillow._rounding import plain, signed, with_error
from everwillow.cli.options import spellings
from everwillow.cli.report.numbers import seconds
from everwillow.cli.report.outcome import ending
from everwillow.cli.report.terminal import show, table
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


LONG = "".join(chr(97 + i % 26) for i in range(150))


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200, 300])
def test_names_have_a_line_for_themselves_and_are_not_divided(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = table(
        ("name", "value", "unused", "error"),
        [(LONG, "1.5", "", "0.5"), ("mu", "-1.25", " ", "0.01")],
    ).splitlines()
    assert "unused" not in lines[0]
    # A name alone may be longer than a line, and everything else is not.
    assert max(len(line) for line in lines if line != LONG) <= columns
    if columns < 150:
        assert lines[2] == LONG
        assert lines[3].split() == ["1.5", "0.5"]
    else:
        assert lines[2].split() == [LONG, "1.5", "0.5"]
    assert lines[-1].split() == ["mu", "-1.25", "0.01"]


def test_columns_that_do_not_fit_follow_below(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    heads = ("name", *(f"column {i}" for i in range(6)))
    rows = [(f"p{k}", *(f"{k}.{i}" for i in range(6))) for k in range(2)]
    text = table(heads, rows, title="Many")
    assert max(map(len, text.splitlines())) <= 40
    blocks = text.removeprefix("Many\n").split("\n\n")
    assert len(blocks) == 2
    for k in range(2):
        cells = [block.splitlines()[2 + k].split() for block in blocks]
        assert [one[0] for one in cells] == [f"p{k}"] * 2
        assert [c for one in cells for c in one[1:]] == list(rows[k][1:])


def test_what_is_piped_has_no_width(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = table(("name", "value"), [(LONG, "1.5")] * 2).splitlines()
    assert lines[-1] == f"{LONG}     1.5"
    sentence = "word " * 100
    show(sentence)
    assert capsys.readouterr().out == f"{sentence}\n"
    context = ending("file.json", traceback=False)
    context.__enter__()
    with pytest.raises(typer.Exit):
        context.__exit__(EverwillowError, EverwillowError(LONG), None)
    assert capsys.readouterr().err == f"Bad input: file.json\n{LONG}\n"


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_messages_divide_no_word(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    context = ending("file.json", traceback=False)
    context.__enter__()
    error = EverwillowError(f"there is no file {LONG} in this folder.")
    with pytest.raises(typer.Exit):
        context.__exit__(EverwillowError, error, None)
    assert f"│ {LONG} " in capsys.readouterr().err or columns == 200


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
