"""Files that are missing, links to nothing, or pointers in place of data."""

import pytest

import everwillow as ew
from everwillow._errors import MissingFileError, SpecificationError
from everwillow.models.data_files import check_file, locate, remote


# The text of version 1 of the specification of Git LFS.
POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 12345\n"
)


def test_a_file_with_content_is_returned(tmp_path):
    file = tmp_path / "a.npy"
    file.write_bytes(b"\x93NUMPY")
    assert check_file(str(file), where="here") == file


def test_a_missing_file_has_the_nearest_name(tmp_path):
    (tmp_path / "ratio_ttbar.npy").write_bytes(b"1")
    with pytest.raises(MissingFileError, match=r"^here: .*ratio_ttbar\.npy'\?$"):
        check_file(tmp_path / "ratio_tbar.npy", where="here")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        check_file(tmp_path / "no" / "folder.npy", where="here")


def test_a_link_to_nothing_says_where_it_points(tmp_path):
    link = tmp_path / "link.npy"
    link.symlink_to(tmp_path / "gone.npy")
    with pytest.raises(MissingFileError, match=r"link to .*gone\.npy, which does not"):
        check_file(link, where="here")
    (tmp_path / "gone.npy").write_bytes(b"1")
    assert check_file(link, where="here") == link


def test_a_pointer_is_not_data(tmp_path):
    file = tmp_path / "a.root"
    file.write_text(POINTER)
    with pytest.raises(SpecificationError, match=r"Git LFS pointer.*git lfs pull"):
        check_file(file, where="here")


def test_names_have_variables_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_OF_TEST", str(tmp_path))
    (tmp_path / "a.npy").touch()
    for name in ("$DATA_OF_TEST/a.npy", "${DATA_OF_TEST}/a.npy"):
        assert locate(name, tmp_path / "elsewhere") == (tmp_path / "a.npy", False)
    monkeypatch.delenv("DATA_OF_TEST")
    path, _ = locate("$DATA_OF_TEST/a.npy", tmp_path)
    with pytest.raises(MissingFileError, match=r"variable DATA_OF_TEST is not set\.$"):
        check_file(path, where="here")


@pytest.mark.parametrize("name", ["root://host//a.root", "https://host/a.root"])
def test_addresses_are_no_paths(name):
    problem = remote(name)
    assert problem.startswith(f"{name} is an address")
    assert ("xrdcp" in problem) == name.startswith("root")
    for path in ("a.root", "/data//a.root", "C:/a.root", "data/http:/a"):
        assert remote(path) is None


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(ew.EverwillowError, match="folder"):
        check_file(tmp_path, where="here")


def test_files_are_looked_for_beside_the_document_first(tmp_path, monkeypatch):
    document, here = tmp_path / "document", tmp_path / "here"
    document.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    assert locate("a.npy", document) == (document / "a.npy", False)
    (here / "a.npy").touch()
    assert locate("./a.npy", document) == (here / "a.npy", True)
    # A link to nothing is a fault of its own, and no reason to look elsewhere.
    (document / "a.npy").symlink_to("gone.npy")
    assert locate("a.npy", document) == (document / "a.npy", False)
    assert locate(here / "a.npy", document) == (here / "a.npy", False)
