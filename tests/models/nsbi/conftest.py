import pytest

from tests.models.nsbi.case import write_case


@pytest.fixture(scope="session")
def case_folder(tmp_path_factory):
    """The case with all its files; not to be changed."""
    return write_case(tmp_path_factory.mktemp("case"))
