"""Models of HS3 documents with another parameter of interest."""

import dataclasses
from typing import Any

from everwillow._errors import unknown_key
from everwillow.model import AbstractModel
from everwillow.models.hs3.reading import load


def hs3_model(
    content: Any, *, analysis: str | int | None = None, poi: str | None = None
) -> AbstractModel:
    """Make the model of an analysis of an HS3 document.

    Args:
        content: The document.
        analysis: Name or index of the analysis; the first if None.
        poi: Parameter of interest instead of that of the analysis.

    Raises:
        UnknownKeyError: If there is no such parameter.
    """
    model: Any = load(content, analysis=analysis)
    if poi is None:
        return model
    if poi not in model.state:
        raise unknown_key(poi, model.state, where="poi")
    return dataclasses.replace(model, poi=poi)
