import pytest

from everwillow.models.nsbi import WorkspaceBuilder, load
from tests.models.nsbi.case import CONFIGURATIONS, write_case


@pytest.fixture(scope="session")
def plain_models(tmp_path_factory):
    """The models of the case by name, without normalised changes of densities."""
    folder = write_case(tmp_path_factory.mktemp("case"))
    return {
        name: load(WorkspaceBuilder(folder / file).build(), normalize=False)
        for name, file in CONFIGURATIONS.items()
    }
