"""Messages of errors: their parts, and arguments spelled in other words."""

import pickle

import pytest

from everwillow._errors import (
    ArgumentValueError,
    EverwillowError,
    FitError,
    MissingFileError,
    NameOnly,
    SpecificationError,
    UnknownKeyError,
    unknown_key,
)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("fixed: no 'a'. Use 'b'.", ("fixed", "", "no 'a'.", "Use 'b'.")),
        ("fixed['a: b'][0]: no.", ("fixed", "['a: b'][0]", "no.", "")),
        ("a: no? Or so. Or not.", ("a", "", "no?", "Or so. Or not.")),
        ("There is none: look.", ("", "", "There is none: look.", "")),
        ("/channels/0: 1.5 is odd.", ("", "", "/channels/0: 1.5 is odd.", "")),
        ("file.json: no.", ("", "", "file.json: no.", "")),
        ("a:\n  b. c\n  d", ("", "", "a:\n  b.", "c\n  d")),
        ("", ("", "", "", "")),
    ],
)
def test_one_text_is_split_and_stays_the_message(text, parts):
    error = EverwillowError(text)
    found = (error.argument, error.where, error.problem, error.mend)
    assert found == parts
    assert str(error) == text


def test_parts_make_the_message():
    error = ArgumentValueError(
        "none is free. Free one.",
        argument="limits",
        where="['a']",
        mend="Or say {minos}, {scans} {unknown}.",
        settings={"minos": "mu", "scans": NameOnly},
    )
    assert error.problem == "none is free."
    assert error.mend == "Free one. Or say minos='mu', scans {unknown}."
    assert str(error) == f"limits['a']: none is free. {error.mend}"
    spelled = error.worded(
        lambda name, value: f"--{name}", lambda name, where: f"<{name}|{where}>"
    )
    assert spelled.startswith("<limits|['a']>: none is free.")
    assert spelled.endswith("Or say --minos, --scans {unknown}.")


def test_a_sentence_can_be_added():
    error = unknown_key("a", ["b"], where="fixed")
    error.add("Look at {it}.")
    assert isinstance(error, KeyError)
    assert error.mend.endswith("Look at {it}.")
    assert str(error) == f"fixed: {error.problem} {error.mend}"


@pytest.mark.parametrize(
    "error",
    [
        UnknownKeyError("fixed: no. So."),
        FitError("no minimum.", 3),
        SpecificationError("a: b", "/a", mend="{x}", settings={"x": ...}),
        MissingFileError("file: none."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
