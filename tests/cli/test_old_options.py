"""Old spellings of options."""

import pytest

from everwillow.cli.old_options import in_new_words, with_empty_values


TEMPLATE = {"--fix", "--cl", "--contour-cl", "--title"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["--freeze", "a*"], ["--fix", "a*"]),
        (["--freeze=b=0.5"], ["--fix", "b=0.5"]),
        (["--limit-level", "0.1"], ["--cl", "0.9"]),
        (["--limit-level=0.05"], ["--cl", "0.95"]),
        (["--contour-level", "0.9"], ["--contour-cl", "0.9"]),
    ],
)
def test_an_old_spelling_works_with_one_line(capsys, old, new):
    assert in_new_words(["f.h5", *old, *old], TEMPLATE) == ["f.h5", *new, *new]
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err == f"{old[0].partition('=')[0]} is now {' '.join(new)}.\n"


def test_what_a_command_does_not_have_stays(capsys):
    words = ["--freeze", "a", "--", "--limit-level"]
    assert in_new_words(words, {"--cl"}) == words
    assert in_new_words(["--limit-level", "x"], {"--limit-level", "--cl"}) == [
        "--limit-level",
        "x",
    ]
    assert capsys.readouterr().err == ""


def test_an_old_value_that_is_no_number_is_left_to_the_new_option(capsys):
    assert in_new_words(["--limit-level", "x"], {"--cl"}) == ["--cl", "x"]
    assert in_new_words(["--limit-level"], {"--cl"}) == ["--cl", ""]
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["f", "--minos"], ["f", "--minos", ""]),
        (["--minos", "--all", "f"], ["--minos", "", "--all", "f"]),
        (["--minos", "mu", "f"], ["--minos", "mu", "f"]),
        (["--minos=mu", "-"], ["--minos=mu", "-"]),
        ([], []),
    ],
)
def test_values_that_are_left_out(words, wanted):
    assert with_empty_values(words, {"--minos"}) == wanted


def test_help_has_the_new_spellings_only(run):
    text = run("template", "fit", "--help").stdout
    for option in ("--fix", "--cl", "--contour-cl", "--minos"):
        assert f"{option} " in text
    for option in ("--freeze", "--limit-level", "--contour-level"):
        assert option not in text
    done = run("template", "fit", "none.h5", "--limit-level", "0.1")
    assert "--limit-level is now --cl 0.9.\n" in done.stderr
    assert done.exit_code == 2
