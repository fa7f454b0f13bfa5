"""``everwillow template print``."""

import pathlib
from collections.abc import Sequence

from everwillow.cli.report.template_results import chosen, details
from everwillow.cli.report.terminal import show
from everwillow.models.templates.inputs_report import inspect_inputs
from everwillow.workflows.documents import load_document
from everwillow.workflows.templates.results import TemplateResults


# The kinds of files that `template print` and `template plot` take.
KINDS = ("template fit", "template results")


def run(*, file: str, only: Sequence[str] | None, everything: bool) -> None:
    """Print the content of a file, or some parts of it."""
    content, patterns = load_document(file, KINDS), tuple(only or ())
    title = pathlib.Path(file).name
    if isinstance(content, TemplateResults):
        parts = details(content, title, everything=everything)
    else:
        report = str(inspect_inputs(content))
        parts = [("title", f"{title}: a template fit"), ("inputs", report)]
    show(*chosen(parts, patterns))
