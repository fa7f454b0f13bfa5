"""Files for correctionlib: their nodes, and how they are written.

Everything that depends on correctionlib is here and is made by its own models.
"""

import gzip
import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from everwillow._errors import SpecificationError, missing_package
from everwillow._store import replacing
from everwillow.models.scale_smearing.categories import Categories
from everwillow.models.scale_smearing.parameters_file import file_edges


VARIABLES = {
    "run": "Number of the run",
    "ScEta": "Pseudorapidity of the supercluster",
    "r9": "R9 of the supercluster: energy of 3x3 crystals over that of the cluster",
    "AbsScEta": "Absolute pseudorapidity of the supercluster",
    "pt": "Transverse momentum in GeV",
    "seedGain": "Gain of the readout of the seed crystal: 12, 6 or 1",
}
"""Descriptions of variables, in the order in which analyses give them."""


def import_correctionlib() -> Any:
    """Import correctionlib with its models of files.

    Raises:
        MissingPackageError: If it cannot be imported.
    """
    try:
        import correctionlib.schemav2  # noqa: PLC0415
    except ImportError as error:
        raise missing_package(
            "Files of corrections need correctionlib", "sas"
        ) from error
    return correctionlib


def leaf(value: Any) -> Any:
    """Return the node of one number; NaN is the formula 0/0.

    A JSON file cannot contain NaN, and an error of one object would end the evaluation
    of all others.
    """
    if math.isnan(value):
        return formula("0/0", [])
    return float(value)


def formula(expression: str, variables: Sequence[str]) -> Any:
    """Return the node of a formula: ``x``, ``y``, ... are the variables."""
    return import_correctionlib().schemav2.Formula(
        nodetype="formula",
        expression=expression,
        parser="TFormula",
        variables=list(variables),
    )


def binned(categories: Categories, content: Iterable[Any]) -> Any:
    """Return the node that finds the category.

    Variables outside of the edges belong to the first or last bin.

    Args:
        categories: The categories.
        content: Their nodes in C order.
    """
    return import_correctionlib().schemav2.MultiBinning(
        nodetype="multibinning",
        inputs=list(categories.names),
        edges=[file_edges(edges) for edges in categories.edges],
        content=list(content),
        flow="clamp",
    )


def correction(
    name: str,
    content: Mapping[str, Any] | Any,
    *,
    variables: Sequence[str],
    output: tuple[str, str],
    version: int = 1,
    description: str = "",
    keys: Mapping[str, str] | None = None,
    formulas: Sequence[Any] = (),
) -> Any:
    """Return a correction.

    Args:
        name: Its name.
        content: A node for each key of the input ``syst``; or one node, and there is no
            such input.
        variables: The names of the other inputs.
        output: Name and description of the output.
        version: Its version.
        description: What it is.
        keys: The meaning of each key.
        formulas: Formulas that nodes refer to by number.
    """
    schema = import_correctionlib().schemav2
    inputs = [variable(one) for one in variables]
    if isinstance(content, Mapping):
        inputs.insert(0, systematics(keys or dict.fromkeys(content, "")))
        items = [schema.CategoryItem(key=key, value=v) for key, v in content.items()]
        content = schema.Category(nodetype="category", input="syst", content=items)
    return schema.Correction(
        name=name,
        description=description,
        version=version,
        inputs=inputs,
        output=schema.Variable(name=output[0], type="real", description=output[1]),
        data=content,
        **({"generic_formulas": list(formulas)} if formulas else {}),
    )


def compound(
    name: str,
    stack: Sequence[Any],
    *,
    variables: Sequence[str],
    output: tuple[str, str],
    updated: Sequence[str],
    sums: bool = False,
    description: str = "",
    keys: Mapping[str, str] | None = None,
) -> Any:
    """Return a compound of corrections, which are evaluated one after the other.

    Args:
        name: Its name.
        stack: The corrections.
        variables: Its inputs without ``syst``.
        output: Name and description of the output.
        updated: The inputs that each correction multiplies for the next ones.
        sums: Whether the result is the sum of the outputs instead of their product.
        description: What it is.
        keys: The meaning of each key of ``syst``; if absent, there is no such input.
    """
    schema = import_correctionlib().schemav2
    return schema.CompoundCorrection(
        name=name,
        description=description,
        inputs=[*([systematics(keys)] if keys else []), *map(variable, variables)],
        output=schema.Variable(name=output[0], type="real", description=output[1]),
        inputs_update=list(updated),
        input_op="*",
        output_op="+" if sums else "*",
        stack=[one.name for one in stack],
    )


def systematics(keys: Mapping[str, str]) -> Any:
    """Return the input that selects nominal values and variations."""
    return import_correctionlib().schemav2.Variable(
        name="syst",
        type="string",
        description="What is returned. "
        + " ".join(f"{key}: {meaning}." for key, meaning in keys.items()),
    )


def variable(name: str) -> Any:
    """Return an input that is a number."""
    return import_correctionlib().schemav2.Variable(
        name=name,
        type="real",
        description=VARIABLES.get(name, f"The variable {name} of the object")
        + "; outside of the range that of the nearest bin",
    )


def write_set(
    place: str | os.PathLike[str],
    name: str,
    corrections: Sequence[Any],
    *,
    compounds: Sequence[Any] = (),
    description: str = "",
) -> pathlib.Path:
    """Write corrections to a file, which correctionlib has read before.

    Equal contents give equal files.

    Args:
        place: The file, if its name ends with ``.json`` or ``.json.gz``; otherwise the
            folder, which is created.
        name: The name of the file in the folder.
        corrections: The corrections.
        compounds: The compounds of them.
        description: What is in the file.

    Returns:
        The file.

    Raises:
        SpecificationError: If correctionlib refuses it.
    """
    library = import_correctionlib()
    file = pathlib.Path(place)
    if not file.name.endswith((".json", ".json.gz")):
        file.mkdir(parents=True, exist_ok=True)
        file /= name
    made = library.schemav2.CorrectionSet(
        schema_version=2,
        description=description,
        corrections=list(corrections),
        **({"compound_corrections": list(compounds)} if compounds else {}),
    )
    text = made.model_dump_json(exclude_unset=True)
    try:
        library.CorrectionSet.from_string(text)
    except RuntimeError as error:
        raise SpecificationError(
            f"{file}: correctionlib cannot evaluate these corrections: {error}"
        ) from error
    content = text.encode()
    with replacing(file) as opened:
        # Without a time, so that the same corrections are the same file.
        zipped = file.suffix == ".gz"
        opened.write(gzip.compress(content, mtime=0) if zipped else content)
    return file
