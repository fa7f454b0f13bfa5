"""Values of YAML documents have their lines; what is no YAML is refused."""

import pytest

from everwillow._errors import MissingFileError, SpecificationError
from everwillow.models.faults import Faults
from everwillow.models.yaml_section import Section
from everwillow.models.yaml_source import load_yaml, read_yaml


DOCUMENT = """\
# a comment
Samples:
- {Name: a, Tree: t}
- Name: b
  Tree:
    deep
Numbers: [1, 2.5, 1e-3, -2.E+4, .inf, 0x10]
Names: [no, 12, 2024-01-01, 'quoted', null, ~]
Flow: {x: 1,
       y: [2,
           3]}
"""


def test_plain_values_are_those_of_the_document():
    plain = read_yaml(DOCUMENT).plain()
    samples = [{"Name": "a", "Tree": "t"}, {"Name": "b", "Tree": "deep"}]
    assert plain["Samples"] == samples
    assert plain["Numbers"] == [1, 2.5, 1e-3, -2e4, float("inf"), 16]
    assert plain["Flow"] == {"x": 1, "y": [2, 3]}


def test_every_value_has_its_line():
    root = read_yaml(DOCUMENT).value
    assert [root[key].line for key in root] == [2, 7, 8, 9]
    first, second = root["Samples"].value
    assert (first.line, second.line) == (3, 4)
    assert second.value["Tree"].line == 5  # of the key, not of its value
    assert root["Flow"].value["y"].value[1].line == 11


def test_scalars_keep_the_text_they_are_written_as():
    names = read_yaml(DOCUMENT).value["Names"].value
    assert [one.text for one in names[:4]] == ["no", "12", "2024-01-01", "quoted"]
    assert names[0].value is False
    assert names[4].value is names[5].value is None


def test_anchors_and_merged_mappings():
    text = "a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\nc: {<<: [*x, {r: 4}]}\nd: *x"
    root = read_yaml(text)
    assert root.plain() == {
        "a": {"p": 1, "q": 2},
        "b": {"p": 1, "q": 3},
        "c": {"p": 1, "q": 2, "r": 4},
        "d": {"p": 1, "q": 2},
    }
    assert root.value["d"].line == 4


def test_shared_anchors_are_read_once():
    # Ten levels of ten aliases would be ten billion values.
    levels = ["a0: &a0 [1]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 11)]
    assert len(read_yaml("\n".join(levels)).value["a10"].value) == 10


def test_equal_keys_are_faults_with_both_lines():
    faults = Faults("c.yml")
    read_yaml("a: 1\nb: {c: 1, c: 2}\na: 3", faults)
    with pytest.raises(SpecificationError) as failure:
        faults.check()
    assert str(failure.value).split("\n") == [
        "c.yml has 2 faults:",
        "  c.yml:2: the key 'c' is in line 2 too. Remove one.",
        "  c.yml:3: the key 'a' is in line 1 too. Remove one.",
    ]
    with pytest.raises(SpecificationError, match="the text:2: the key 'a'"):
        read_yaml("a: 1\na: 2")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1, 2", 1),
        ("a: 1\n b: 2", 2),
        ("a:\n\t- 1", 2),
        ("a: *unknown", 1),
        ("a: 1\n---\nb: 2", 2),
        ("a: !!python/object:os.system {}", 1),
        ("a: !include other.yml", 1),
        ("a: &x [*x]", 1),
        ("? [1, 2]\n: 3", 1),
        ("<<: 3", 1),
    ],
)
def test_other_texts_are_refused_with_their_line(text, line):
    with pytest.raises(SpecificationError, match=f"the text:{line}: "):
        read_yaml(text)


def test_deeply_nested_text_is_refused():
    with pytest.raises(SpecificationError, match="not YAML"):
        read_yaml("[" * 450)


def test_characters_that_yaml_does_not_allow_are_refused():
    with pytest.raises(SpecificationError, match=r"not YAML: .*not allowed"):
        read_yaml("a: \x00")


def test_empty_document_is_null():
    assert read_yaml("# nothing\n").value is None


def test_files_that_cannot_be_read_are_refused(tmp_path):
    faults = Faults("c.yml")
    with pytest.raises(MissingFileError, match="no file"):
        load_yaml(tmp_path / "c.yml", faults)
    with pytest.raises(SpecificationError, match="is a folder"):
        load_yaml(tmp_path, faults)
    (tmp_path / "c.yml").write_bytes(b"a: \xff")
    with pytest.raises(SpecificationError, match=r"c\.yml: expected YAML in UTF-8"):
        load_yaml(tmp_path / "c.yml", faults)
    (tmp_path / "c.yml").write_bytes(b"\xef\xbb\xbfa: 1")
    assert load_yaml(tmp_path / "c.yml", faults).plain() == {"a": 1}


def section(text):
    faults = Faults("c.yml")
    return Section(read_yaml(text, faults), faults, "it"), faults


def test_sections_return_checked_entries():
    one, faults = section(
        "Name: 125\nNominal: 2\nBounds: [0, .inf]\nSamples: b\nRegions: [x, 1]\n"
        "On: true\nType: B\nInner: {a: 1}\nList:\n- {a: 1}\n- {a: 2}\nNone: null"
    )
    assert one.text("Name") == "125"
    assert one.number("Nominal") == 2.0
    assert one.numbers("Bounds", infinite=True) == (0.0, float("inf"))
    assert [name.text for name in one.texts("Samples")] == ["b"]
    assert [name.text for name in one.texts("Regions")] == ["x", "1"]
    assert one.flag("On") is True
    assert one.choice("Type", {"A": 1, "B": 2}) == 2
    assert one.section("Inner").number("a") == 1.0
    assert [inner.number("a") for inner in one.sections("List")] == [1.0, 2.0]
    assert one.section("None") is None
    assert "None" not in one
    assert one.text("Absent") is None
    one.finish()
    faults.check()


@pytest.mark.parametrize(
    ("text", "ask", "problem"),
    [
        ("a: []", lambda s: s.text("a"), "a must be a text, not a list of 0."),
        ("a: ''", lambda s: s.text("a"), "a must be a text, not ''."),
        ("a: yes", lambda s: s.number("a"), "a must be a number, not 'yes'."),
        ("a: '1'", lambda s: s.number("a"), "a must be a number, not '1'."),
        ("a: .nan", lambda s: s.number("a"), "a must be a number, not '.nan'."),
        ("a: .inf", lambda s: s.number("a"), "a must be a number, not '.inf'."),
        ("a: 1", lambda s: s.numbers("a"), "a must be a list of numbers, not '1'."),
        ("a: [1, b]", lambda s: s.numbers("a"), "a: 'b' is not a number."),
        ("a: [x, {}]", lambda s: s.texts("a"), "a must be a text or a list, not"),
        ("a: 1", lambda s: s.flag("a"), "a must be true or false, not '1'."),
        ("a: Bo", lambda s: s.choice("a", {"Box": 1}), "a is 'Bo', not Box. Did you"),
        ("a: 1", lambda s: s.section("a"), "it, a: expected a mapping, not '1'."),
        ("a: {}", lambda s: s.sections("a"), "a must be a list, not a mapping."),
        ("a: [1]", lambda s: s.sections("a"), "it, a[0]: expected a mapping, not '1'."),
        ("a: []", lambda s: s.sections("a", required=True), "a is empty."),
        ("b: 1", lambda s: s.entry("a", required=True), "the key 'a' is missing."),
        ("[1]", lambda s: s.entry("a"), "expected a mapping, not a list of 1."),
    ],
)
def test_sections_report_wrong_entries(text, ask, problem):
    one, faults = section(f"\n\n{text}")
    ask(one)
    with pytest.raises(SpecificationError) as failure:
        faults.check()
    assert str(failure.value).startswith("c.yml:3: it")
    assert problem in str(failure.value)


def test_sections_report_keys_that_were_not_asked_for():
    one, faults = section("Name: a\nFilte: b\nOther: c\nOld: d")
    one.text("Name")
    one.text("Filter")
    one.finish(("Old",))
    with pytest.raises(SpecificationError) as failure:
        faults.check()
    assert str(failure.value).split("\n")[1:] == [
        "  c.yml:2: it: there is no key 'Filte'. Did you mean 'Filter'?",
        "  c.yml:3: it: there is no key 'Other'. The keys are: Name, Filter.",
    ]
