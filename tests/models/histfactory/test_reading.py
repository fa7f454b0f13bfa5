"""JSON comes from files, text and dicts; other formats are refused by name."""

import gzip
import io
import json
import pathlib
import tarfile
import zipfile

import pytest

from everwillow._errors import (
    ArgumentTypeError,
    MissingFileError,
    SpecificationError,
)
from everwillow.models.histfactory import load_json, workspace_spec
from tests.models.histfactory.workspaces import tiny


DATACARD = """\
# a counting experiment
imax 1  number of channels
jmax *  number of backgrounds
kmax *
------------
bin         1
observation 0
"""


def test_documents_pass_as_they_are():
    for document in ({"a": 1}, [1, 2]):
        assert load_json(document) is document


@pytest.mark.parametrize("text", ['{"a": 1}', ' \n{"a": 1}', '\ufeff{"a": 1}'])
def test_text_and_bytes(text):
    assert load_json(text) == {"a": 1}
    assert load_json(text.encode()) == {"a": 1}


def test_files(tmp_path):
    plain, zipped = tmp_path / "a.json", tmp_path / "a.json.gz"
    plain.write_text('{"a": 1}')
    zipped.write_bytes(gzip.compress(b'{"a": 1}'))
    for file in (plain, zipped, str(plain)):
        assert load_json(file) == {"a": 1}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('{"a": 1,\n "b": }', ["the text", "line 2, column 7"]),
        ('{"a": [1, 2', ["line 1, column 12", "ends too early"]),
        ('{"a": "b', ["ends too early"]),
        ('{"a": 1, "a": 2}', ["the key 'a' twice"]),
        ("", ["is empty"]),
        ("[" * 100_000, ["nested too deep"]),
        ("[" + "1" * 5000 + "]", ["is not JSON"]),
        (b"\xff\xfe{}", ["UTF-8", "byte 0"]),
        (b"\x1f\x8b0000", ["damaged"]),
        (DATACARD, ["datacard", "combine-to-pyhf datacard.txt", "pyhf-combine-conv"]),
        ("imax 1\njmax 1\n", ["datacard"]),
        ("Combination of a.txt  b.txt\nimax 2\n", ["datacard"]),
        ('<!DOCTYPE Combination  SYSTEM "x.dtd">', ["pyhf xml2json --basedir ."]),
        ("<Combination OutputFilePrefix='a'>", ["pyhf xml2json"]),
        ('<?xml version="1.0"?><Channel/>', ["pyhf xml2json"]),
        (b"root\x00\x00", ["ROOT file", "RooJSONFactoryWSTool", "xml2json"]),
    ],
)
def test_what_is_no_json_is_refused(source, words):
    with pytest.raises(SpecificationError) as caught:
        load_json(source)
    for word in words:
        assert word in str(caught.value)


def test_archives_are_refused_with_what_is_in_them(tmp_path):
    archive = tmp_path / "likelihoods.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("RegionA/BkgOnly.json", "{}")
    with pytest.raises(SpecificationError, match=r"Unpack.*RegionA/BkgOnly\.json"):
        load_json(archive)
    (tmp_path / "cut.zip").write_bytes(archive.read_bytes()[:40])
    with pytest.raises(SpecificationError, match="zip archive"):
        load_json(tmp_path / "cut.zip")
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as file:
        file.addfile(tarfile.TarInfo("BkgOnly.json"))
    (tmp_path / "likelihoods.tar.gz").write_bytes(content.getvalue())
    with pytest.raises(SpecificationError, match="tar -xf"):
        load_json(tmp_path / "likelihoods.tar.gz")


def test_missing_files(tmp_path):
    with pytest.raises(MissingFileError, match=r"no file .*nothing\.json'") as caught:
        load_json(tmp_path / "nothing.json")
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(MissingFileError, match="nor a folder"):
        load_json(tmp_path / "nowhere" / "nothing.json")


def test_folders_and_impossible_names(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(SpecificationError, match=r"is a folder.*a\.json"):
        load_json(tmp_path)
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(SpecificationError, match="cannot be read"):
            load_json(name)


@pytest.mark.parametrize("source", [3, None, {1}, 1.5, object()])
def test_what_is_no_source(source):
    with pytest.raises(ArgumentTypeError, match="expected a file, JSON text or a dict"):
        load_json(source)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"metadata": {"hs3_version": "0.2"}}, "everwillow.models.hs3.load"),
        ({"distributions": [], "data": []}, "everwillow.models.hs3.load"),
        ({"metadata": {}, "patches": [], "version": "1.0.0"}, "PatchSet"),
        ([{"op": "add", "path": "/a", "value": 1}], "`patches`"),
        ({"channels": [], "parameters": []}, "a pyhf model, not a workspace"),
        ([], "an empty list"),
        ({}, "an empty object"),
    ],
)
def test_other_documents_are_refused_by_name(document, words):
    for source in (document, json.dumps(document)):
        with pytest.raises(SpecificationError) as caught:
            workspace_spec(source)
        assert words in str(caught.value)


def test_every_cut_of_a_workspace_is_refused():
    text = json.dumps(tiny())
    for end in range(len(text)):
        with pytest.raises(SpecificationError):
            workspace_spec(text[:end] if end else " ")


def test_a_name_without_a_brace_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("workspace.json").write_text(json.dumps(tiny()))
    assert workspace_spec("workspace.json").poi == "mu"
