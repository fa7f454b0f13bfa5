"""The document that a command for workspaces reads, and its model."""

import dataclasses
import pathlib
import sys
import time
from collections.abc import Collection, Mapping
from typing import Any

from everwillow._errors import ArgumentValueError, first_names
from everwillow.cli.files import STDIN
from everwillow.cli.request import Request, interpolation_of, name_or_index, settings_of
from everwillow.workflows.documents import WORKSPACES, Document, open_document
from everwillow.workflows.fixed import fixed_parameters


@dataclasses.dataclass(frozen=True)
class Input:
    """The model of a command.

    Attributes:
        document: The document of the model, with patches applied.
        model: The model.
        fixed: The parameters that the user fixes.
        seconds: The time to read the document and to make the model.
    """

    document: Document
    model: Any
    fixed: Mapping[Any, Any]
    seconds: float

    def poi(self) -> str:
        """Return the parameter of interest.

        Raises:
            ArgumentValueError: If there is none.
        """
        if self.model.poi is None:
            names = [str(key) for key in self.model.state]
            raise ArgumentValueError(
                "The document names no parameter of interest. Choose one with --poi; "
                f"the parameters are {first_names(names)}."
            )
        return self.model.poi


def read(request: Request, kinds: Collection[str] = WORKSPACES) -> Document:
    """Read the document of a command, and apply its patches.

    Args:
        request: The options of the command.
        kinds: The kinds of documents that it takes.
    """
    if request.workspace == STDIN:
        document = open_document(sys.stdin.buffer.read(), kinds)
        document = dataclasses.replace(document, name="standard input")
    else:
        document = open_document(pathlib.Path(request.workspace), kinds)
    return document.patched(request.patches, verify=request.verify)


def load(request: Request, kinds: Collection[str] = WORKSPACES) -> Input:
    """Read the document of a command, and make its model.

    Args:
        request: The options of the command.
        kinds: The kinds of documents that it takes.
    """
    began = time.perf_counter()
    document = read(request, kinds)
    codes = interpolation_of(request.interpolation)
    model = document.load(
        measurement=name_or_index(request.measurement),
        analysis=name_or_index(request.analysis),
        poi=request.poi,
        interpolation=None if codes == "default" else codes,
        normalize=None if request.normalize else False,
        template_statistics=request.template_statistics,
        storage=None if request.storage == "float64" else request.storage,
    )
    fixed = fixed_parameters(model, settings_of(request.fixed), free=request.free)
    return Input(document, model, fixed, time.perf_counter() - began)
