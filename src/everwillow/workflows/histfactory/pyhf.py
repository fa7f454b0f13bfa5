"""Models of pyhf workspaces, also with an element of an array as POI."""

from collections.abc import Mapping
from typing import Any

from everwillow.models.binned import BinnedModel
from everwillow.models.histfactory.model import from_pyhf
from everwillow.workflows.interest import is_element, with_interest


def pyhf_model(
    content: Mapping[str, Any], *, poi: str | None = None, **options: Any
) -> BinnedModel:
    """Make the model of a measurement of a pyhf workspace.

    Args:
        content: The workspace.
        poi: Parameter of interest instead of that of the measurement, or an element
            such as ``"gamma[3]"``.
        **options: As for `everwillow.models.histfactory.from_pyhf`.

    Raises:
        SpecificationError: If the workspace is not valid, with the JSON pointer.
        UnknownKeyError: If there is no such measurement or parameter.
    """
    if poi is None or not is_element(poi):
        return from_pyhf(content, poi=poi, **options)
    return with_interest(from_pyhf(content, poi="", **options), poi)
