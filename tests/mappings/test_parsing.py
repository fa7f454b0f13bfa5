"""Mappings as they are written."""

import pytest

from everwillow.mappings import (
    AngularCoefficients,
    Composite,
    Custom,
    Identity,
    Project,
    Ratio,
    Select,
    parse_mapping,
)
from everwillow.mappings.parsing import READERS
from tests.mappings.histograms import CASES, mean_of_x, one_bin


MAPPING = Select("ch0", selection="x:0")


def test_every_mapping_is_among_the_cases():
    assert set(READERS) <= {text.split()[0] for text in CASES}


@pytest.mark.parametrize(
    ("words", "mapping"),
    [
        (["Project", "ch0", "x"], Project("ch0", axes="x")),
        (["Project", "my channel", "p T"], Project("my channel", axes="p T")),
        (["Project", '"my channel"'], Project("my channel")),
        (["Select", "ch0", "x: 2 : 5"], Select("ch0", selection="x:2:5")),
        (["Select", "ch0", "None", "None"], Select("ch0")),
        (["Select", "ch0", "None", "x:0"], Select("ch0", selection="x:0")),
        (["Select", "ch0", '"a:b",c'], Select("ch0", processes=("a:b", "c"))),
        (["Identity", ";", "Project", "a"], Composite(Identity(), Project("a"))),
        (
            ["Ratio", "a", "b", "None", "x:sum"],
            Ratio("a", "b", selection=(None, "x:sum")),
        ),
        (["Ratio", "a", "b", "None:None", "None:None"], Ratio("a", "b")),
        (["Ratio", "a", "b", "None", "None", "None", "None"], Ratio("a", "b")),
        (
            ["Ratio", "a", "b", "None", "s,t", "x:0", "None"],
            Ratio("a", "b", processes=(None, ["s", "t"]), selection=("x:0", None)),
        ),
        (
            ["AngularCoefficients", "z", "axis=my axis"],
            AngularCoefficients("z", axis="my axis"),
        ),
    ],
)
def test_words(words, mapping):
    assert parse_mapping(words) == mapping
    assert parse_mapping(mapping.key) == mapping
    assert parse_mapping(tuple(words)).key == mapping.key


def test_text_keeps_quotes_and_parentheses_together():
    text = 'Select "my channel" "a b",c x:slice(2, 5), y : sum'
    with pytest.raises(ValueError, match="at position 43"):
        parse_mapping(text)
    mapping = parse_mapping('Select "my channel" "a; b",c x:rebin(0, 2, 5)')
    wanted = Select("my channel", processes=("a; b", "c"), selection="x:rebin(0,2,5)")
    assert mapping == wanted
    assert mapping.key == 'Select "my channel" "a; b",c x:rebin(0,2,5)'
    assert parse_mapping(mapping.key) == mapping


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Projct ch0", r"at position 0 \('Projct'\).*Did you mean 'Project'"),
        ("Project ch0; Slect ch0", r"at position 13 \('Slect'\)"),
        ("", "a mapping is missing"),
        ("Project ch0;", "a mapping is missing"),
        ("Project", "expected Project CHANNEL"),
        ("Ratio ch0", "expected Ratio CHANNEL CHANNEL"),
        ("Ratio ch0 ch0 signal", r"at position 14 \('signal'\): expected pairs"),
        ("Ratio a b c d x:0 y:0 z:0", "expected pairs"),
        ("Ratio a b x:0 c", r"at position 14 \('c'\): expected AXIS:SELECTION"),
        ("Ratio a b x:0 c x:0 x:1", r"at position 10 \('x:0'\).*is a selection"),
        ("Select ch0 x:2.5", r"'Select ch0 x:2.5', at position 13 \('2.5'\)"),
        ("Select ch0 a x:0 y:0", r"at position 17 \('y:0'\).*are one word"),
        ("Select ch0 a,,b", r"at position 13 \(''\): a name is missing"),
        ("Select ch0 x:rebin(2", "not closed"),
        ("tests.nowhere:f", "there is no module 'tests.nowhere'"),
        ("nowhere.f", "there is no module 'nowhere'"),
        ("tests.mappings.histograms:mean_of_y", "Did you mean 'mean_of_x'"),
        ("tests.mappings.histograms:POINT", "this is a ndarray"),
        ("tests.mappings.test_parsing:MAPPING x", "takes no words"),
        ("tests.mappings.histograms:", "expected package.module:name"),
    ],
)
def test_text_that_is_no_mapping(text, message):
    with pytest.raises(ValueError, match=message):
        parse_mapping(text)


def test_neither_text_nor_words():
    for wrong in (3, [3], None):
        with pytest.raises(TypeError, match="text or its words"):
            parse_mapping(wrong)


def test_ones_own():
    place = "tests.mappings.histograms"
    assert parse_mapping(f"{place}:mean_of_x") == Custom(mean_of_x)
    assert parse_mapping(f"{place}.mean_of_x") == Custom(mean_of_x)
    words = parse_mapping([f"{place}:one_bin", "my ch", "3"])
    assert words == Custom(one_bin, "my ch", "3")
    assert parse_mapping(words.key) == words
    assert parse_mapping("tests.mappings.test_parsing:MAPPING") == MAPPING
    own = parse_mapping("everwillow.mappings.channels:Project ch0")
    assert own == Project("ch0")


def test_an_import_that_fails_inside_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "own_mappings.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        parse_mapping("own_mappings:f")
