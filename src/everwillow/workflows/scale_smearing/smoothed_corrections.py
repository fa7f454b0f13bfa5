"""Files for correctionlib with functions of pt."""

import os
import pathlib
from typing import Any

import numpy as np

from everwillow.models.scale_smearing.correction_files import (
    binned,
    correction,
    import_correctionlib,
    leaf,
    write_set,
)
from everwillow.models.scale_smearing.corrections import (
    SCALE_KEYS,
    SCALE_OUTPUT,
    SMEAR_KEYS,
    SMEAR_OUTPUT,
    file_name,
)
from everwillow.workflows.scale_smearing.smoothing import (
    FLOOR,
    HIGHEST,
    REFERENCE,
    Curves,
    SmoothedParameters,
)


# Parameters of all formulas: p, then the upper triangle of their covariance.
_SCALE = "([0]*POWER+[2])"
_SCALE_ERROR = (
    "sqrt(max(0,POWER*POWER*([3]+2*[4]*[0]*LOG+[6]*[0]*[0]*LOG*LOG)"
    "+2*POWER*([5]+[7]*[0]*LOG)+[8]))"
)
_SQUARE = f"max(abs([0]*[0]+[1]/PT),{FLOOR!r})"
_SMEAR = f"sqrt({_SQUARE})"
_SMEAR_ERROR = f"sqrt(max(0,[0]*[0]*[2]+[0]*[3]/PT+[4]/(4*PT*PT))/{_SQUARE})"
_FORMULAS = {
    "scale": {
        "scale": _SCALE,
        "escale": _SCALE_ERROR,
        "scale_up": f"{_SCALE}+{_SCALE_ERROR}",
        "scale_down": f"{_SCALE}-{_SCALE_ERROR}",
    },
    "smear": {
        "smear": _SMEAR,
        "esmear": _SMEAR_ERROR,
        "smear_up": f"{_SMEAR}+{_SMEAR_ERROR}",
        "smear_down": f"max(0,{_SMEAR}-{_SMEAR_ERROR})",
    },
    "errors": {
        "escale": f"{_SCALE_ERROR}/{_SCALE}",
        "scale_up": f"1+{_SCALE_ERROR}/{_SCALE}",
        "scale_down": f"1-{_SCALE_ERROR}/{_SCALE}",
    },
}


def write_smoothed(
    smoothed: SmoothedParameters,
    path: str | os.PathLike[str],
    *,
    dataset: str,
    correction_set: str,
    version: int = 1,
    description: str | None = None,
) -> pathlib.Path:
    """Write functions of pt to a file for correctionlib.

    The corrections have the names and keys of `write_corrections`; their inputs are
    ``syst``, pt, then the other variables. Values are functions of pt, and errors those
    that follow from the covariance of their parameters.

    Args:
        smoothed: The functions.
        path: A file that ends with ``.json`` or ``.json.gz``, or a folder, which is
            created, for ``EGMScalesSmearing_<dataset>_SMOOTH.v<version>.json.gz``.
        dataset: The name of the data.
        correction_set: The name of the categories.
        version: The version of the file and of the corrections.
        description: The description of the file.

    Returns:
        The file.

    Raises:
        MissingPackageError: If correctionlib is not installed.

    Example:
        >>> import correctionlib, tempfile
        >>> from everwillow.models.scale_smearing import parameters_from_json
        >>> from everwillow.workflows.scale_smearing import smooth
        >>> parameters = parameters_from_json(
        ...     '{"categories": {"pt": [25, 45, 100]}, "pt_mean": [30, 60],'
        ...     ' "resp": [0.8, 0.8], "reso": [0.02, 0.02],'
        ...     ' "eresp": [0.01, 0.01], "ereso": [0.01, 0.01]}'
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = write_smoothed(
        ...         smooth(parameters), folder, dataset="2022", correction_set="Pt"
        ...     )
        ...     print(file.name)
        ...     found = correctionlib.CorrectionSet.from_file(str(file))
        EGMScalesSmearing_2022_SMOOTH.v1.json.gz
        >>> round(found["EGMScale_Pt_2022"].evaluate("scale", 50.0), 9)
        1.25
    """
    made = [
        _correction(
            f"EGMScale_{correction_set}_{dataset}",
            smoothed,
            {"scale": smoothed.scale},
            version=version,
            description="Scale of energies in data, a function of pt. Multiply energy "
            "and pt of data by scale.",
            keys=SCALE_KEYS,
            output=SCALE_OUTPUT,
        ),
        _correction(
            f"EGMSmearAndSyst_{correction_set}_{dataset}",
            smoothed,
            {"smear": smoothed.smear, "errors": smoothed.scale},
            version=version,
            description="Smearing of energies in simulation, a function of pt, and all "
            "variations. Variations are applied to simulation only.",
            keys=SMEAR_KEYS,
            output=SMEAR_OUTPUT,
        ),
    ]
    return write_set(
        path,
        file_name(f"{dataset}_SMOOTH", version),
        made,
        description=description
        or f"Scale of energies in data and smearing of simulation for {dataset}, "
        "functions of pt",
    )


def _correction(
    name: str, smoothed: SmoothedParameters, parts: dict[str, Curves], **options: Any
) -> Any:
    """Return a correction; `parts` are sets of formulas and their curves."""
    others = smoothed.categories.names if smoothed.categories else ()
    nodes: dict[str, Any] = {}
    formulas: list[Any] = []
    for part, curves in parts.items():
        for key, text in _FORMULAS[part].items():
            formulas.append(_formula(text, curves.lowest, smoothed.pt))
            leaves = [
                _leaf(len(formulas) - 1, curves, place)
                for place in range(len(curves.status))
            ]
            categories = smoothed.categories
            nodes[key] = binned(categories, leaves) if categories else leaves[0]
    return correction(
        name, nodes, variables=[smoothed.pt, *others], formulas=formulas, **options
    )


def _formula(text: str, lowest: float, pt: str) -> Any:
    """Return a formula, whose parameters each category has."""
    clipped = f"min(max(x,{lowest!r}),{HIGHEST!r})"
    texts = {
        "POWER": f"pow({clipped}/{REFERENCE!r},[1])",
        "LOG": f"log({clipped}/{REFERENCE!r})",
        "PT": clipped,
    }
    for name, inside in texts.items():
        text = text.replace(name, inside)
    return import_correctionlib().schemav2.Formula(
        nodetype="formula", expression=text, parser="TFormula", variables=[pt]
    )


def _leaf(index: int, curves: Curves, place: int) -> Any:
    """Return the parameters of a category for a formula."""
    p, covariance = curves.parameters[place], curves.covariances[place]
    numbers = [*p, *covariance[np.triu_indices(len(p))]]
    if not np.all(np.isfinite(numbers)):
        return leaf(np.nan)
    return import_correctionlib().schemav2.FormulaRef(
        nodetype="formularef", index=index, parameters=[float(x) for x in numbers]
    )
