"""Patch sets and JSON patches: found, verified, applied; faults have their place."""

import copy
import json

import numpy as np
import pytest

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConflictError,
    SpecificationError,
    UnknownKeyError,
)
from everwillow.models._document import Node
from everwillow.models.histfactory import (
    PatchSet,
    apply_patches,
    digest,
    patch_batch,
    workspace_spec,
)
from everwillow.models.histfactory._json_patch import check_operations, patched
from tests.models.histfactory.workspaces import background, modifier, sample, tiny


# Appendix A of RFC 6902: document, operations, result.
RFC_6902 = {
    "A.1 adding a member": (
        {"foo": "bar"},
        [{"op": "add", "path": "/baz", "value": "qux"}],
        {"baz": "qux", "foo": "bar"},
    ),
    "A.2 adding an element": (
        {"foo": ["bar", "baz"]},
        [{"op": "add", "path": "/foo/1", "value": "qux"}],
        {"foo": ["bar", "qux", "baz"]},
    ),
    "A.3 removing a member": (
        {"baz": "qux", "foo": "bar"},
        [{"op": "remove", "path": "/baz"}],
        {"foo": "bar"},
    ),
    "A.4 removing an element": (
        {"foo": ["bar", "qux", "baz"]},
        [{"op": "remove", "path": "/foo/1"}],
        {"foo": ["bar", "baz"]},
    ),
    "A.5 replacing a value": (
        {"baz": "qux", "foo": "bar"},
        [{"op": "replace", "path": "/baz", "value": "boo"}],
        {"baz": "boo", "foo": "bar"},
    ),
    "A.6 moving a value": (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    "A.7 moving an element": (
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    "A.8 testing": (
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [
            {"op": "test", "path": "/baz", "value": "qux"},
            {"op": "test", "path": "/foo/1", "value": 2.0},
        ],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    "A.10 adding an object": (
        {"foo": "bar"},
        [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
        {"foo": "bar", "child": {"grandchild": {}}},
    ),
    "A.11 other members": (
        {"foo": "bar"},
        [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}],
        {"foo": "bar", "baz": "qux"},
    ),
    "A.14 escaping": (
        {"/": 9, "~1": 10},
        [{"op": "test", "path": "/~01", "value": 10}],
        {"/": 9, "~1": 10},
    ),
    "A.16 adding to the end": (
        {"foo": ["bar"]},
        [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}],
        {"foo": ["bar", ["abc", "def"]]},
    ),
    "the whole": ({"a": 1}, [{"op": "replace", "path": "", "value": [2]}], [2]),
    "a copy is another": (
        {"a": {"b": [1]}},
        [
            {"op": "copy", "from": "/a", "path": "/c"},
            {"op": "add", "path": "/c/b/-", "value": 2},
        ],
        {"a": {"b": [1]}, "c": {"b": [1, 2]}},
    ),
    "a value is not the patch": (
        {},
        [
            {"op": "add", "path": "/a", "value": [1]},
            {"op": "add", "path": "/a/-", "value": 2},
        ],
        {"a": [1, 2]},
    ),
}

# Sections 4 and A: document, operations, pointer of the error, words.
REFUSED = {
    "A.9 test fails": (
        {"baz": "qux"},
        [{"op": "test", "path": "/baz", "value": "bar"}],
        "/baz",
        "which the patch tests for",
    ),
    "A.12 no parent": (
        {"foo": "bar"},
        [{"op": "add", "path": "/baz/bat", "value": "qux"}],
        "/baz",
        "found nothing",
    ),
    "A.15 string and number": (
        {"/": 9, "~1": 10},
        [{"op": "test", "path": "/~01", "value": "10"}],
        "/~01",
        "found the number 10",
    ),
    "true and 1": (
        {"a": [True]},
        [{"op": "test", "path": "/a", "value": [1]}],
        "/a",
        "tests for",
    ),
    "beyond the end": (
        [1],
        [{"op": "add", "path": "/2", "value": 1}],
        "/2",
        "entry 2",
    ),
    "replace beyond the end": (
        [1],
        [{"op": "replace", "path": "/1", "value": 1}],
        "/1",
        "entry 1",
    ),
    "leading zero": ([1, 2], [{"op": "remove", "path": "/01"}], "/01", "the index"),
    "end to remove": ([1], [{"op": "remove", "path": "/-"}], "/-", "the index"),
    "into itself": (
        {"a": {"b": 1}},
        [{"op": "move", "from": "/a", "path": "/a/b"}],
        "/a/b",
        "outside of what is moved",
    ),
    "inside of a number": (
        {"a": 1},
        [{"op": "remove", "path": "/a/b"}],
        "/a",
        "object",
    ),
    "remove all": ({"a": 1}, [{"op": "remove", "path": ""}], "", "all of it"),
    "misspelled": (
        {"channels": []},
        [{"op": "remove", "path": "/chanels"}],
        "/chanels",
        "Did you mean 'channels'",
    ),
}


@pytest.mark.parametrize(
    ("document", "operations", "expected"), RFC_6902.values(), ids=RFC_6902
)
def test_operations_are_those_of_the_standard(document, operations, expected):
    before = copy.deepcopy((document, operations))
    assert patched(document, check_operations(Node(operations)), name="p") == expected
    assert (document, operations) == before


@pytest.mark.parametrize(
    ("document", "operations", "pointer", "words"), REFUSED.values(), ids=REFUSED
)
def test_operations_without_a_place_are_refused(document, operations, pointer, words):
    with pytest.raises(SpecificationError, match=words) as caught:
        patched(document, check_operations(Node(operations)), name="p")
    assert caught.value.pointer == pointer
    assert str(caught.value).startswith("p: operation 0 (")


@pytest.mark.parametrize(
    ("operations", "pointer"),
    [
        ({"op": "add"}, ""),
        ([3], "/0"),
        ([{"path": "/a"}], "/0/op"),
        ([{"op": "ad", "path": "/a"}], "/0/op"),
        ([{"op": ["add"], "path": "/a"}], "/0/op"),
        ([{"op": "add", "path": "/a"}], "/0"),
        ([{"op": "move", "path": "/a"}], "/0"),
        ([{"op": "remove", "path": "a"}], "/0/path"),
        ([{"op": "copy", "path": "/a", "from": 1}], "/0/from"),
    ],
)
def test_what_is_no_operation(operations, pointer):
    with pytest.raises(SpecificationError) as caught:
        check_operations(Node(operations))
    assert caught.value.pointer == pointer


def signal(name, size, extra=()):
    made = sample(name, [size], modifier("mu", "normfactor"), *extra)
    return {"op": "add", "path": "/channels/0/samples/0", "value": made}


def patchset(**changed):
    patches = [
        {
            "metadata": {"name": f"m{mass}", "values": [mass, "tan"]},
            "patch": [signal(f"signal_{mass}", 1000.0 / mass)],
        }
        for mass in (300, 400, 500)
    ]
    return {
        "metadata": {
            "references": {"hepdata": "ins1234567"},
            "description": "signals",
            "digests": {
                "sha256": digest(background()),
                "md5": digest(background(), algorithm="md5").upper(),
            },
            "labels": ["mass", "kind"],
        },
        "patches": patches,
        "version": "1.0.0",
        **changed,
    }


def test_patches_are_found_by_name_and_by_values(tmp_path):
    file = tmp_path / "patchset.json"
    file.write_text(json.dumps(patchset()))
    for source in (patchset(), file, json.dumps(patchset())):
        found = PatchSet(source)
        assert len(found) == 3
        assert [p.name for p in found] == ["m300", "m400", "m500"]
        assert found.labels == ("mass", "kind")
        assert found.references == {"hepdata": "ins1234567"}
        assert found["m400"] is found[400, "tan"] is found[[400.0, "tan"]]
        assert found["m400"].values == (400, "tan")
        assert repr(found) == "PatchSet(3 patches by mass, kind)"


def test_a_single_label_needs_no_tuple():
    document = patchset()
    document["metadata"]["labels"] = ["mass"]
    for patch in document["patches"]:
        patch["metadata"]["values"].pop()
    assert PatchSet(document)[300].name == "m300"


@pytest.mark.parametrize("key", ["m30", (300,), 300, None, [[]], {}])
def test_unknown_patches(key):
    with pytest.raises(UnknownKeyError, match="no patch"):
        PatchSet(patchset())[key]


def test_apply_verifies_and_patches():
    given = background()
    made = PatchSet(patchset()).apply(given, "m500")
    assert made["channels"][0]["samples"][0]["data"] == [2.0]
    assert given == background()
    made["channels"][0]["samples"][1]["data"][0] = 0.0
    assert given == background()
    assert workspace_spec(made).poi == "mu"


def test_other_workspaces_are_refused():
    changed = background()
    changed["channels"][0]["samples"][0]["data"] = [50.5]
    found = PatchSet(patchset())
    with pytest.raises(ConflictError, match="made for another workspace: the sha256"):
        found.apply(changed, "m500")
    made = found.apply(changed, "m500", verify=False)
    assert made["channels"][0]["samples"][1]["data"] == [50.5]


def broken(*path, value):
    document = patchset()
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ([], ""),
        ({"patches": []}, ""),
        (broken("version", value="2"), "/version"),
        (broken("metadata", value=None), "/metadata"),
        (broken("metadata", "digests", value={}), "/metadata/digests"),
        (broken("metadata", "digests", "md5", value=1), "/metadata/digests/md5"),
        (broken("metadata", "description", value=1), "/metadata/description"),
        (broken("metadata", "labels", value=[]), "/metadata/labels"),
        (broken("metadata", "labels", 1, value=1), "/metadata/labels/1"),
        (broken("patches", value=[]), "/patches"),
        (broken("patches", 1, "metadata", value={}), "/patches/1/metadata"),
        (
            broken("patches", 1, "metadata", "name", value="m300"),
            "/patches/1/name",
        ),
        (
            broken("patches", 1, "metadata", "values", value=[1]),
            "/patches/1/metadata/values",
        ),
        (
            broken("patches", 1, "metadata", "values", value=[300, "tan"]),
            "/patches/1/metadata/values",
        ),
        (
            broken("patches", 1, "metadata", "values", 0, value=None),
            "/patches/1/metadata/values/0",
        ),
        (broken("patches", 2, "patch", 0, "op", value="set"), "/patches/2/patch/0/op"),
    ],
)
def test_faults_of_patch_sets_have_their_place(document, pointer):
    with pytest.raises(SpecificationError) as caught:
        PatchSet(document)
    assert caught.value.pointer == pointer


def test_patches_come_in_many_ways(tmp_path):
    first = [signal("signal", 5.0)]
    second = [{"op": "replace", "path": "/observations/0/data/0", "value": 60.0}]
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file, operations in zip(files, (first, second), strict=True):
        file.write_text(json.dumps(operations))
    expected = tiny()
    expected["observations"][0]["data"] = [60.0]
    for patches in (
        [first, second],
        files,
        [*map(str, files)],
        [files[0], second],
        first + second,
        json.dumps(first + second),
    ):
        assert apply_patches(background(), patches) == expected
    assert apply_patches(tiny(), []) == tiny()


def test_what_is_no_patch(tmp_path):
    file = tmp_path / "patchset.json"
    file.write_text(json.dumps(patchset()))
    with pytest.raises(SpecificationError, match="Read it with PatchSet"):
        apply_patches(tiny(), file)
    for wrong in (3, [3], {"op": "add"}):
        with pytest.raises(ArgumentTypeError, match="expected a Patch"):
            apply_patches(tiny(), wrong)
    with pytest.raises(SpecificationError, match=r"the patched workspace#.*'nam'"):
        apply_patches(
            tiny(),
            [{"op": "move", "from": "/channels/0/name", "path": "/channels/0/nam"}],
        )


def test_a_batch_has_one_structure():
    specs = patch_batch(background(), PatchSet(patchset()))
    yields = [spec.channels[0].samples[0].nominal[0] for spec in specs]
    np.testing.assert_allclose(yields, [1000 / 300, 2.5, 2.0], rtol=1e-15)
    for spec in specs:
        assert [p.name for p in spec.parameters] == ["mu", "xs"]
        assert spec.poi == "mu"


def test_a_batch_has_one_order_of_parameters():
    # 'a' is before, 'z' after the other sample: the order of parameters would differ.
    other = modifier("norm", "normfactor")
    specs = patch_batch(
        tiny(), [[signal("a", 1.0, [other])], [signal("z", 1.0, [other])]]
    )
    names = [[p.name for p in spec.parameters] for spec in specs]
    assert names[0] == names[1]


GAMMA = modifier("stat", "staterror", [0.5])


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ([], "of the parameters, only the first has 'mu'"),
        ([signal("s", 1.0, [modifier("more", "normfactor")])], "second has 'more'"),
        (
            [signal("s", 1.0, [modifier("xs", "normsys", {"lo": 0.9, "hi": 1.1})])],
            "effects on sample 's' of channel 'SR', only the second has 'NormVariation",
        ),
        (
            [signal("s", 1.0), {**signal("t", 1.0), "path": "/channels/0/samples/-"}],
            "channel 'SR' has 2 and 3 samples",
        ),
    ],
)
def test_other_structures_are_refused(second, words):
    with pytest.raises(ConflictError, match=f"patches 0 and 1 .*{words}"):
        patch_batch(background(), [[signal("s", 2.0)], second], poi="xs")


def test_elements_that_are_fixed_in_one_only_are_refused():
    none = modifier("stat", "staterror", [0.0])
    with pytest.raises(ConflictError, match=r"'stat'\[0\] is fixed in one only"):
        patch_batch(
            background(), [[signal("s", 2.0, [GAMMA])], [signal("s", 2.0, [none])]]
        )


def test_a_batch_needs_a_patch():
    with pytest.raises(ArgumentValueError, match="at least one patch"):
        patch_batch(tiny(), [])
