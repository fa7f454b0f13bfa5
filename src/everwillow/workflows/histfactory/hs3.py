"""Models of HS3 documents with another parameter of interest."""

from typing import Any

from everwillow.model import AbstractModel
from everwillow.models.hs3.reading import load
from everwillow.workflows.interest import with_interest


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
        ArgumentValueError: If it has several elements.
    """
    model: Any = load(content, analysis=analysis)
    return model if poi is None else with_interest(model, poi)
