"""What is written down twice says the same in both places."""

import ast
import importlib.metadata
import pathlib
import re
import sys
import tomllib

import pytest

import everwillow


ROOT = pathlib.Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_version_is_that_of_the_installed_project():
    assert everwillow.__version__ == importlib.metadata.version("everwillow")
    assert everwillow.__version__ == PROJECT["project"]["version"]


def test_citation_has_the_version_of_the_project():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {PROJECT['project']['version']}\n" in citation


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}


def _imported() -> set[str]:
    """Top-level names of all imports in the sources."""
    names = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(str(node.module).split(".")[0])
    return names


def test_core_needs_only_what_it_imports():
    core = _names(PROJECT["project"]["dependencies"])
    extras = PROJECT["project"]["optional-dependencies"].values()
    # matplotlib brings cycler; PyYAML is imported as yaml.
    optional = {"cycler", "yaml"}.union(*map(_names, extras))
    imported = _imported() - set(sys.stdlib_module_names) - {"everwillow"} - optional
    # jax does not run without jaxlib.
    assert core == imported | {"jaxlib"}


def test_extra_and_dependency_group_of_the_tests_are_one_list():
    extra = PROJECT["project"]["optional-dependencies"]["test"]
    assert extra == PROJECT["dependency-groups"]["test"]


def test_one_extra_has_what_the_others_of_users_have():
    extras = dict(PROJECT["project"]["optional-dependencies"])
    both = extras.pop("all")
    del extras["test"]
    assert both == sorted({one for extra in extras.values() for one in extra})
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE) == [*extras, "all"]


def test_no_install_line_takes_another_project_of_this_name_from_an_index():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for path in [*pages, *(ROOT / "src").rglob("*.py")]:
        found = re.findall(r"everwillow\[\w|install \"?everwillow", path.read_text())
        assert not found, path


def test_lock_file_names_the_default_index_only():
    registries = re.findall(r'registry = "([^"]*)"', (ROOT / "uv.lock").read_text())
    assert set(registries) == {"https://pypi.org/simple"}


@pytest.mark.parametrize("end", ["combine_top_mass.py", "-m pytest"])
def test_readme_has_one_set_up_command_for_each_purpose(end):
    lines = (ROOT / "README.md").read_text().splitlines()
    commands = [line for line in lines if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert sum(command.endswith(end) for command in commands) == 1
