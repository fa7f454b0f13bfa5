"""``everwillow inspect``."""

from collections.abc import Sequence
from typing import Any

from everwillow.cli.report.terminal import show
from everwillow.cli.request import FORMATS, Request, name_or_index, read
from everwillow.workflows.histfactory import Source, patched_source


def run(request: Request, *, everything: bool) -> None:
    """Print what is in a document, and what its reader assumed."""
    source = read(request.workspace)
    source = patched_source(source, request.patches, verify=request.verify)
    parts, report = _SUMMARIES[source.format](source, request)
    if not everything:
        parts = [_shortened(part) for part in parts]
    if report:
        lines = [f"- {sentence}" for sentence in report]
        parts.append("\n".join(["What the reader assumed or found odd:", *lines]))
    show(f"{request.title}: {FORMATS[source.format]}", *parts)


def _pyhf(source: Source, request: Request) -> tuple[list[str], Sequence[str]]:
    del request
    from everwillow.models.histfactory.inspection import summary  # noqa: PLC0415
    from everwillow.models.histfactory.spec import validate  # noqa: PLC0415

    document = dict(source.document)
    return str(summary(document)).split("\n\n"), validate(document)


def _hs3(source: Source, request: Request) -> tuple[list[str], Sequence[str]]:
    from everwillow.models.hs3.interpreter import WorkspaceInterpreter  # noqa: PLC0415
    from everwillow.models.hs3.reading import load  # noqa: PLC0415

    document, analysis = dict(source.document), name_or_index(request.analysis)
    text = WorkspaceInterpreter(document).summary(analysis)
    model: Any = load(document, analysis=analysis)
    return text.split("\n\n"), model.report


_SUMMARIES = {"pyhf": _pyhf, "hs3": _hs3}
# Lines of one table.
LONGEST = 30


def _shortened(text: str) -> str:
    """Return a table without its tail."""
    lines = text.splitlines()
    if len(lines) <= LONGEST + 1:
        return text
    more = len(lines) - LONGEST
    return "\n".join([*lines[:LONGEST], f"... {more} more; --all shows every one"])
