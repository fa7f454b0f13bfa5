"""Nodes of JSON documents: where they are, and what is said of wrong values."""

import pytest

from everwillow._errors import EverwillowError, SpecificationError, UnknownKeyError
from everwillow.models._document import Node, Report, described


def test_pointers_are_escaped():
    node = Node({"a/b~c": [1, {}]}).child("a/b~c")
    assert list(node.items())[1].pointer == "/a~1b~0c/1"


def test_messages_name_the_document_and_errors_have_the_pointer_alone():
    node = Node({"bins": 3}, "model.json").child("bins")
    with pytest.raises(SpecificationError, match=r"^model\.json#/bins: .*list.*3") as e:
        node.items()
    assert e.value.pointer == "/bins"
    with pytest.raises(SpecificationError, match=r"^the document: expected .*list"):
        Node({}).items()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "null"),
        (True, "true"),
        (2, "the number 2"),
        (10**400, "a very large integer of hundreds of digits"),
        ("x", "the string 'x'"),
        ("x" * 99, f"the string '{'x' * 57}...'"),
        ({}, "an empty object"),
        ({"a": 1}, "an object with the keys 'a'"),
        ([1, 2], "a list of 2"),
        (object(), "a Python object"),
    ],
)
def test_values_are_described_in_the_words_of_json(value, words):
    assert described(value) == words


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda n: n.child("text").number(), "/text: expected a number"),
        (lambda n: n.child("list").numbers(), "/list/1: expected a number.*true"),
        (lambda n: n.child("text").numbers(), "/text: expected a list of numbers"),
        (lambda n: n.child("huge").numbers(), "/huge/0: expected a finite number"),
        (lambda n: n.child("one").numbers(size=2), "1 numbers, but 2 are needed"),
        (lambda n: n.child("tex"), "'tex' is missing.*Did you mean 'text'"),
        (lambda n: n.child("list").child("a"), "/list: expected an object"),
        (lambda n: n.child("list").text(), "/list: expected a text"),
    ],
)
def test_values_of_another_type_are_refused(read, message):
    node = Node({"text": "t", "list": [1, True], "huge": [10**400], "one": [1.5]})
    with pytest.raises(EverwillowError, match=message):
        read(node)


def test_a_missing_list_that_may_be_null_is_empty():
    assert list(Node({"axes": None}).listed("axes")) == []
    with pytest.raises(SpecificationError, match="'axes' is missing"):
        Node({}).listed("axes")


def test_unknown_names_come_with_the_nearest():
    with pytest.raises(UnknownKeyError, match=r"no channel 'region'.*mean 'regions'"):
        Node({}).unknown("region", ["regions", "CR"], "channel")


def test_reports_say_each_sentence_once():
    report = Report()
    for name in "abcdea":
        report.collect("These are odd: {names}.", name)
        report.say("Something is assumed.")
    assert report.sentences() == (
        "These are odd: 'a', 'b', 'c', 'd', ... (5 in all).",
        "Something is assumed.",
    )
