"""Records whose fields have descriptions."""

import dataclasses

import pytest

from everwillow.workflows import report
from everwillow.workflows.records import about, descriptions, record
from everwillow.workflows.templates import results


RECORDS = {
    cls
    for module in (report, results)
    for cls in vars(module).values()
    if dataclasses.is_dataclass(cls) and cls.__module__ == module.__name__
}


@record
class Pair:
    """Two numbers."""

    first: float = about("The first number.")
    second: float = about("The second number.", default=2.0)


def test_descriptions_are_metadata_and_end_the_docstring():
    assert descriptions(Pair) == {
        "first": "The first number.",
        "second": "The second number.",
    }
    assert Pair.__doc__.splitlines() == [
        "Two numbers.",
        "",
        "Attributes:",
        "    first: The first number.",
        "    second: The second number.",
    ]
    pair = Pair(1.0)
    assert (pair.first, pair.second) == (1.0, 2.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        pair.first = 2.0


@pytest.mark.parametrize("cls", sorted(RECORDS, key=str), ids=lambda c: c.__name__)
def test_every_field_of_results_has_a_description(cls):
    assert all(descriptions(cls).values())
