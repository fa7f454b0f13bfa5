"""``everwillow inspect``."""

from collections.abc import Sequence
from typing import Any

from everwillow.cli.report.terminal import remarks, show
from everwillow.cli.request import Request, name_or_index
from everwillow.cli.workspace import read
from everwillow.workflows.documents import Document


# The largest number of lines of one table.
LONGEST = 30


def run(request: Request, *, everything: bool) -> None:
    """Print the content of a document, and the assumptions of its reader."""
    document = read(request)
    parts, report = _SUMMARIES[document.kind](document, request)
    if not everything:
        parts = [_shortened(part) for part in parts]
    show(f"{request.title}: {document.title}", *parts, *remarks(report))


def _pyhf(document: Document, request: Request) -> tuple[list[str], Sequence[str]]:
    del request
    content = dict(document.content)
    from everwillow.models.histfactory.inspection import summary  # noqa: PLC0415
    from everwillow.models.histfactory.spec import validate  # noqa: PLC0415

    return str(summary(content)).split("\n\n"), validate(content)


def _hs3(document: Document, request: Request) -> tuple[list[str], Sequence[str]]:
    content = dict(document.content)
    from everwillow.models.hs3.interpreter import WorkspaceInterpreter  # noqa: PLC0415
    from everwillow.models.hs3.reading import load  # noqa: PLC0415

    analysis = name_or_index(request.analysis)
    text = WorkspaceInterpreter(content).summary(analysis)
    model: Any = load(content, analysis=analysis)
    return text.split("\n\n"), model.report


def _nsbi(document: Document, request: Request) -> tuple[list[str], Sequence[str]]:
    del request
    from everwillow.models.nsbi.inspection import summary  # noqa: PLC0415
    from everwillow.models.nsbi.workspace import located  # noqa: PLC0415

    found = summary(located(document.content, document.folder))
    return str(found).split("\n\n"), found.report


_SUMMARIES = {"pyhf": _pyhf, "hs3": _hs3, "nsbi": _nsbi}


def _shortened(text: str) -> str:
    """Return a table without its tail."""
    lines = text.splitlines()
    if len(lines) <= LONGEST + 1:
        return text
    more = len(lines) - LONGEST
    return "\n".join([*lines[:LONGEST], f"... {more} more; --all shows all of them"])
