"""``everwillow convert``."""

import gzip
import json
import pathlib
import sys
from typing import Any

from everwillow._errors import ArgumentValueError
from everwillow.cli.files import check_folder, check_not_input, write_bytes
from everwillow.cli.report.terminal import console
from everwillow.cli.request import Request, name_or_index
from everwillow.cli.workspace import read
from everwillow.models.hs3.convert import hs3_to_pyhf, pyhf_to_hs3


def run(request: Request, *, to: str | None, file: str | None) -> None:
    """Convert a document into another format, and write it.

    Args:
        request: The document.
        to: ``"pyhf"`` or ``"hs3"``; None for the format that it does not have.
        file: The file to write; None for the standard output.
    """
    if file is not None:
        check_folder("--out", pathlib.Path(file))
        check_not_input("--out", file, request.inputs)
    document = read(request, ("pyhf", "hs3"))
    if to == document.kind:
        raise ArgumentValueError(f"--to {to}: {request.title} has this format already.")
    content, converted = dict(document.content), "an HS3 document"
    made: dict[str, Any]
    if document.kind == "pyhf":
        made = pyhf_to_hs3(content)
    else:
        made = hs3_to_pyhf(content, name_or_index(request.analysis))
        converted = "a pyhf workspace"
    text = json.dumps(made, indent=1, allow_nan=False) + "\n"
    if file is None:
        sys.stdout.write(text)
        return
    data = text.encode()
    data = gzip.compress(data) if file.endswith(".gz") else data
    write_bytes(pathlib.Path(file), data)
    console(errors=True).print(f"{file} is {converted}.", markup=False, soft_wrap=True)
