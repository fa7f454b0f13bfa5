"""What commands print on terminals of any width, and into a pipe."""

import copy
import json
import re

import pytest

from tests.cli import documents


LONG = "uncertainty_of_a_very_long_name_that_no_terminal_of_sixty_columns_can_hold_0"
COMMANDS = (
    ("fit", "--minos", LONG),
    ("limit",),
    ("significance",),
    ("scan", "--points", 3),
    ("impacts", "--refit"),
    ("toys", "--toys", 10, "--at", "mu=1"),
    ("gof", "--toys", 10),
    ("inspect",),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    document = copy.deepcopy(documents.TINY)
    for modifier in document["channels"][0]["samples"][1]["modifiers"]:
        if modifier["name"] == "norm":
            modifier["name"] = LONG
    document["measurements"].pop()
    path = tmp_path_factory.mktemp("widths") / "workspace.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_names_are_whole_and_lines_fit(run, monkeypatch, file, command):
    words: dict[str, list[str]] = {}
    for columns in ("60", "80", "200", None):
        if columns is None:
            monkeypatch.delenv("COLUMNS")
        else:
            monkeypatch.setenv("COLUMNS", columns)
        done = run(command[0], file, *command[1:])
        assert done.exit_code == 0, done.output
        assert "…" not in done.stdout
        text = done.stdout.partition("Reading")[0]
        if command[0] in ("fit", "impacts", "toys", "inspect"):
            assert LONG in text
        for line in text.splitlines():
            alone = not re.search(r"\S +\S", line.replace(LONG, ""))
            if columns is not None and command[0] != "inspect":
                assert len(line) <= int(columns) or (LONG in line and alone), line
        # The same words, whatever the width; heads and names may be repeated.
        words[str(columns)] = sorted(set(re.findall(r"[^\s-]\S*", text)))
    assert words["60"] == words["80"] == words["200"] == words["None"]


@pytest.mark.parametrize("columns", ["60", "80", "200"])
@pytest.mark.parametrize(
    "command",
    ["", "fit", "limit", "convert", "template fit", "nsbi fit", "sas plot"],
)
def test_help_cuts_nothing(run, monkeypatch, columns, command):
    monkeypatch.setenv("COLUMNS", columns)
    done = run(*command.split(), "--help")
    assert done.exit_code == 0
    assert "…" not in done.stdout
    # Of commands "..." ends a sentence that is cut.
    assert not re.search(r"\w\.\.\.$", done.stdout, re.M)
    if command == "nsbi fit":
        assert "--template-statistics / --no-template-statistics\n" in done.stdout
