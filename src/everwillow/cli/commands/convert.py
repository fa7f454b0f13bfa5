"""``everwillow convert``."""

import gzip
import json
import pathlib
import sys
from typing import Any

from everwillow._errors import ArgumentValueError
from everwillow.cli.files import check_folder, check_not_input
from everwillow.cli.report.terminal import console
from everwillow.cli.request import Request, name_or_index, read
from everwillow.workflows.histfactory import patched_source


def run(request: Request, target: str | None, file: pathlib.Path | None) -> None:
    """Convert a document into the other format, and write it.

    Args:
        request: Which document.
        target: ``"pyhf"`` or ``"hs3"``; the other one than it has if None.
        file: Where to write; the standard output if None.
    """
    from everwillow.models.hs3.convert import (  # noqa: PLC0415
        hs3_to_pyhf,
        pyhf_to_hs3,
    )

    if file is not None:
        check_folder("--out", file)
        check_not_input("--out", file, request.inputs)
    source = read(request.workspace)
    source = patched_source(source, request.patches, verify=request.verify)
    if target == source.format:
        raise ArgumentValueError(
            f"--to {target}: {request.title} has this format already."
        )
    made: dict[str, Any]
    if source.format == "pyhf":
        made = pyhf_to_hs3(dict(source.document))
    else:
        made = hs3_to_pyhf(dict(source.document), name_or_index(request.analysis))
    text = json.dumps(made, indent=1, allow_nan=False) + "\n"
    if file is None:
        sys.stdout.write(text)
        return
    data = text.encode()
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)
    formats = {"pyhf": "an HS3 document", "hs3": "a pyhf workspace"}
    console(errors=True).print(
        f"{file} is {formats[source.format]}.", markup=False, soft_wrap=True
    )
