"""Models of the content of pyhf workspaces and HS3 documents."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from everwillow._errors import unknown_key
from everwillow.model import AbstractModel
from everwillow.models.histfactory.model import from_pyhf


def pyhf_model(content: Mapping[str, Any], **options: Any) -> AbstractModel:
    """Make the model of a pyhf workspace, as `from_pyhf` does.

    Args:
        content: The workspace.
        **options: `measurement`, `poi` and `interpolation`, as for `from_pyhf`.
    """
    return from_pyhf(dict(content), **options)


def hs3_model(
    content: Mapping[str, Any],
    *,
    analysis: str | int | None = None,
    poi: str | None = None,
) -> AbstractModel:
    """Make the model of an analysis of an HS3 document.

    Args:
        content: The document.
        analysis: Name or index of the analysis; the first if None.
        poi: Parameter of interest instead of that of the analysis.

    Raises:
        UnknownKeyError: If there is no such parameter.
    """
    # Only here: the expressions of HS3 need a parser of their own.
    from everwillow.models.hs3.reading import load  # noqa: PLC0415

    model: Any = load(dict(content), analysis=analysis)
    if poi is None:
        return model
    if poi not in model.state:
        raise unknown_key(poi, model.state, where="poi")
    return dataclasses.replace(model, poi=poi)
