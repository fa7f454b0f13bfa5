"""The indices of the documentation are complete."""

import pathlib
import re
import tomllib

import pytest


ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.mark.parametrize("folder", ["explanation", "how-to", "tutorials"])
def test_index_has_every_page_with_a_sentence(folder):
    index = (DOCS / folder / "index.md").read_text()
    pages = {path.stem for path in (DOCS / folder).glob("*.md")} - {"index"}
    sentences = re.findall(r"^- \[\]\(([\w-]+)\.md\): \w.*[^.]*\.$", index, re.M)
    (tree,) = re.findall(r"```\{toctree\}\n:hidden:.*?\n\n(.*?)\n```", index, re.DOTALL)
    assert sorted(sentences) == sorted(pages) == sorted(tree.split())


def test_page_on_citing_has_the_version_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (DOCS / "how-to" / "cite.md").read_text()
    assert f"version = {{{project['version']}}}" in page
    assert f"author  = {{{{{project['authors'][0]['name']}}}}}" in page
