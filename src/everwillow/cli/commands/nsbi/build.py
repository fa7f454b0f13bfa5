"""``everwillow nsbi build``."""

import pathlib

from everwillow.cli.files import check_target
from everwillow.cli.report.terminal import busy, remarks, show
from everwillow.models.nsbi import WorkspaceBuilder, dump_workspace
from everwillow.models.nsbi.inspection import summary
from everwillow.models.nsbi.writing import ArrayPlace
from everwillow.workflows.documents import open_document


def run(*, config: str, out: str, arrays: ArrayPlace) -> None:
    """Build the workspace of a configuration, write it, and report on it."""
    check_target("--out", out, [config], (".json",))
    document = open_document(pathlib.Path(config), ("nsbi configuration",))
    with busy("Building"):
        workspace = WorkspaceBuilder(document.content).build()
        found = summary(workspace)
        dump_workspace(workspace, out, arrays=arrays)
    show(
        str(found),
        *remarks(found.report),
        f"{out} is ready for `everwillow nsbi fit`, and for `everwillow fit`, limit, "
        "scan and impacts.",
    )
