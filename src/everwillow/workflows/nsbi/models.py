"""Models of density ratios from workspaces, and from configurations."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from everwillow.models.nsbi import NsbiModel, WorkspaceBuilder, load
from everwillow.models.nsbi.workspace import located
from everwillow.workflows.interest import with_interest


def model_of_workspace(
    content: Mapping[str, Any],
    *,
    folder: pathlib.Path | None = None,
    poi: str | None = None,
    **options: Any,
) -> NsbiModel:
    """Make a model of the content of a workspace file.

    Args:
        content: The workspace.
        folder: The folder to which the names of its arrays are relative; the working
            directory if None.
        poi: Parameter of interest instead of that of the measurement.
        **options: As for `everwillow.models.nsbi.load`.

    Raises:
        SpecificationError: If the workspace is not valid, with the place.
        MissingFileError: If a file of an array does not exist.
        UnknownKeyError: If there is no such measurement or parameter.
    """
    workspace = located(content, pathlib.Path() if folder is None else folder)
    model = load(workspace, **options)
    return model if poi is None else with_interest(model, poi)


def model_of_configuration(file: str | os.PathLike[str], **options: Any) -> NsbiModel:
    """Build the workspace of a configuration, and make a model of it.

    Args:
        file: The YAML file.
        **options: As for `model_of_workspace`.

    Raises:
        MissingFileError: If there is no such file.
        SpecificationError: If the configuration or its data are not valid, with all
            faults.
        UnknownKeyError: If there is no such measurement or parameter.
    """
    return model_of_workspace(WorkspaceBuilder(file).build(), **options)
