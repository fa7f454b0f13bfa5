"""The configurations of the case, their workspaces, and the results of one fit."""

import pathlib

import pytest

import everwillow as ew
from everwillow.models.nsbi import WorkspaceBuilder, dump_workspace, load
from tests.models.nsbi.case import CONFIGURATIONS, write_case


@pytest.fixture(scope="session")
def configs(tmp_path_factory) -> dict[str, pathlib.Path]:
    """The configurations by name, with their files; not to be changed."""
    folder = write_case(tmp_path_factory.mktemp("case"))
    return {name: folder / file for name, file in CONFIGURATIONS.items()}


@pytest.fixture(scope="session")
def workspaces(configs) -> dict[str, pathlib.Path]:
    """The workspaces of the configurations, beside them."""
    files = {}
    for name, config in configs.items():
        files[name] = config.with_name(f"{name}.json")
        dump_workspace(WorkspaceBuilder(config).build(), files[name])
    return files


@pytest.fixture(scope="session")
def config(configs) -> pathlib.Path:
    return configs["nsbi"]


@pytest.fixture(scope="session")
def workspace(workspaces) -> pathlib.Path:
    return workspaces["nsbi"]


@pytest.fixture(scope="session")
def model(workspace):
    return load(workspace)


@pytest.fixture(scope="session")
def best(model):
    return ew.fit(model)
