"""Corrections of energies in files for correctionlib: of one fit, or of a chain."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from everwillow._errors import ArgumentValueError, nearest
from everwillow.models.scale_smearing.correction_files import (
    VARIABLES,
    binned,
    compound,
    correction,
    leaf,
    write_set,
)
from everwillow.models.scale_smearing.correction_values import (
    Values,
    scale_values,
    smear_values,
)
from everwillow.models.scale_smearing.parameters import SasParameters


SCALE_KEYS = {
    "scale": "factor of the energy in data",
    "escale": "error of this factor",
    "scale_up": "the factor plus its error",
    "scale_down": "the factor minus its error",
}
"""What the keys of a correction of data mean."""

SMEAR_KEYS = {
    "smear": "relative width of the smearing of simulation",
    "esmear": "error of this width",
    "smear_up": "the width plus its error",
    "smear_down": "the width minus its error, at least 0",
    "escale": "relative error of the scale",
    "scale_up": "1 plus this error, a factor of smeared energies in simulation",
    "scale_down": "1 minus this error",
}
"""What the keys of a correction of simulation mean, for one Gaussian."""

SCALE_OUTPUT = (
    "scale",
    "Factor of energy or pt in data, or its error. NaN in a category without a number.",
)
SMEAR_OUTPUT = (
    "smear",
    "With one standard normal number z for each object, simulated energies are "
    "multiplied by 1 + smear z; z is the same for all variations. NaN in a category "
    "without a number.",
)
_SECOND = {
    "reso2": "relative width of the second Gaussian",
    "mu": "relative mean of the second Gaussian",
    "frac": "fraction of the first Gaussian",
}


def file_name(dataset: str, version: int) -> str:
    """Return the usual name of a file."""
    return f"EGMScalesSmearing_{dataset}.v{version}.json.gz"


def write_corrections(
    parameters: SasParameters,
    path: str | os.PathLike[str],
    *,
    dataset: str,
    correction_set: str,
    version: int = 1,
    description: str | None = None,
) -> pathlib.Path:
    """Write the corrections of one fit to a file for correctionlib.

    The corrections are ``EGMScale_<correction_set>_<dataset>`` for data and
    ``EGMSmearAndSyst_<correction_set>_<dataset>`` for simulation. Their inputs are
    ``syst``, then the variables of the categories. A variable outside of the edges
    belongs to the nearest bin. In a category without a number they return NaN.

    Args:
        parameters: Responses and resolutions.
        path: A file that ends with ``.json`` or ``.json.gz``, or a folder, which is
            created, for ``EGMScalesSmearing_<dataset>.v<version>.json.gz``.
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
        >>> parameters = parameters_from_json(
        ...     '{"categories": {"r9": [-9999, 0.9, 9999]}, "resp": [0.8, 1.25],'
        ...     ' "eresp": [0.01, 0.01], "reso": [0.02, 0.01], "ereso": [0.01, 0.02]}'
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = write_corrections(
        ...         parameters, folder, dataset="2022", correction_set="R9"
        ...     )
        ...     print(file.name)
        ...     found = correctionlib.CorrectionSet.from_file(str(file))
        EGMScalesSmearing_2022.v1.json.gz
        >>> found["EGMScale_R9_2022"].evaluate("scale", np.array([0.5, 0.95]))
        array([1.25, 0.8 ])
    """
    made = _of_one_fit(parameters, correction_set, dataset, version)
    return write_set(
        path,
        file_name(dataset, version),
        made,
        description=description
        or f"Scale of energies in data and smearing of simulation for {dataset}",
    )


def write_compound(
    steps: Mapping[str, SasParameters],
    path: str | os.PathLike[str],
    *,
    dataset: str,
    name: str = "Pho",
    inputs: Sequence[str] | None = None,
    updated: Sequence[str] = ("pt",),
    version: int = 1,
    description: str | None = None,
) -> pathlib.Path:
    """Write a chain of fits, each made with the corrected data of the one before.

    ``EGMScale_Compound_<name>_<dataset>`` is the product of the corrections of all
    steps. Each step multiplies the pt with which the next ones find their categories.
    Its keys are ``scale``, ``scale_up`` and ``scale_down``. The latter move all steps
    together, so relative errors add linearly: the steps are fitted to the same events,
    and this is an upper bound of the error whatever their correlation. There is no key
    ``escale``, since a product of errors is none. For errors in quadrature,
    ``EGMScaleVariance_Compound_<name>_<dataset>``, without the input ``syst``, is the
    sum of the squared relative errors of the steps, at the pt that is given.

    Each step also has ``EGMScale_<name><step>_<dataset>`` and
    ``EGMSmearAndSyst_<name><step>_<dataset>`` as in `write_corrections`. If only data
    were corrected between the steps, each step measures the whole smearing, and that of
    the last step is applied. If simulation was smeared too, a step measures what the
    steps before it have left: then all are applied, with independent random numbers.

    Args:
        steps: The result of each step by name, in order.
        path: As for `write_corrections`; the name in a folder is
            ``EGMScalesSmearing_<name>_<dataset>.v<version>.json.gz``.
        dataset: The name of the data.
        name: The name of the objects, such as ``"Pho"`` or ``"Ele"``.
        inputs: All inputs of the compound in order, which may be more than the steps
            need. By default those that the steps need, in the order ``run``, ``ScEta``,
            ``r9``, ``AbsScEta``, ``pt``, ``seedGain``, and then others.
        updated: The inputs that each step multiplies.
        version: The version of the file and of the corrections.
        description: The description of the file.

    Returns:
        The file.

    Raises:
        ArgumentValueError: If there is no step, or an input is missing.
        MissingPackageError: If correctionlib is not installed.

    Example:
        >>> import correctionlib, tempfile
        >>> from everwillow.models.scale_smearing import parameters_from_json
        >>> rest = '"eresp": [0.01], "reso": [0.02], "ereso": [0.01]}'
        >>> steps = {
        ...     "Time": '{"categories": {"run": [0, 9]}, "resp": [0.8],' + rest,
        ...     "Pt": '{"categories": {"pt": [20, 200]}, "resp": [1.25],' + rest,
        ... }
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = write_compound(
        ...         {name: parameters_from_json(text) for name, text in steps.items()},
        ...         folder,
        ...         dataset="2022",
        ...     )
        ...     found = correctionlib.CorrectionSet.from_file(str(file))
        >>> compound = found.compound["EGMScale_Compound_Pho_2022"]
        >>> [one.name for one in compound.inputs]
        ['syst', 'run', 'pt']
        >>> compound.evaluate("scale", 5.0, 45.0)
        1.0
    """
    if not steps:
        raise ArgumentValueError(
            "steps: there is none. Give the results of the chain by name."
        )
    variables = _ordered(steps, inputs)
    made: list[Any] = []
    factors, variances = [], []
    for step, parameters in steps.items():
        made += _of_one_fit(parameters, f"{name}{step}", dataset, version)
        factors.append(_factor(parameters, f"{name}{step}_{dataset}", version))
        variances.append(_variance(parameters, f"{name}{step}_{dataset}", version))
    chain = ", ".join(steps)
    product = compound(
        f"EGMScale_Compound_{name}_{dataset}",
        factors,
        variables=variables,
        output=SCALE_OUTPUT,
        updated=[one for one in updated if one in variables],
        keys={key: SCALE_KEYS[key] for key in _FACTORS},
        description="Scale of energies in data: the product of the steps "
        f"{chain}. scale_up and scale_down move all steps together, so relative errors "
        "add linearly.",
    )
    total = compound(
        f"EGMScaleVariance_Compound_{name}_{dataset}",
        variances,
        variables=variables,
        output=("variance", "Squared relative error of the scale, all steps"),
        updated=[],
        sums=True,
        description=f"Sum of the squared relative errors of the steps {chain}, at the "
        "pt that is given. Its square root is the error in quadrature.",
    )
    return write_set(
        path,
        file_name(f"{name}_{dataset}", version),
        [*made, *factors, *variances],
        compounds=[product, total],
        description=description
        or f"Scale of energies in data and smearing of simulation for {name} in "
        f"{dataset}, in the steps {chain}",
    )


_FACTORS = ("scale", "scale_up", "scale_down")


def _of_one_fit(
    parameters: SasParameters, correction_set: str, dataset: str, version: int
) -> list[Any]:
    """Return the corrections of data and of simulation."""
    names = parameters.categories.names
    smearing = smear_values(parameters)
    keys = dict(SMEAR_KEYS)
    for one, meaning in _SECOND.items():
        if one in smearing:
            keys |= {
                one: meaning,
                f"e{one}": "its error",
                f"{one}_up": "it plus its error, inside of its bounds",
                f"{one}_down": "it minus its error, inside of its bounds",
            }
    return [
        correction(
            f"EGMScale_{correction_set}_{dataset}",
            _nodes(parameters, scale_values(parameters)),
            variables=names,
            output=SCALE_OUTPUT,
            version=version,
            description="Scale of energies in data. Multiply energy and pt of data by "
            "scale.",
            keys=SCALE_KEYS,
        ),
        correction(
            f"EGMSmearAndSyst_{correction_set}_{dataset}",
            _nodes(parameters, smearing),
            variables=names,
            output=SMEAR_OUTPUT,
            version=version,
            description="Smearing of energies in simulation, and all variations. "
            "Variations are applied to simulation only.",
            keys=keys,
        ),
    ]


def _nodes(parameters: SasParameters, values: Values) -> dict[str, Any]:
    """Return a node for each key."""
    return {
        key: binned(parameters.categories, map(leaf, array))
        for key, array in values.items()
    }


def _factor(parameters: SasParameters, name: str, version: int) -> Any:
    """Return a step of the product: without errors, whose product is none."""
    values = scale_values(parameters)
    return correction(
        f"EGMScaleFactor_{name}",
        _nodes(parameters, {key: values[key] for key in _FACTORS}),
        variables=parameters.categories.names,
        output=SCALE_OUTPUT,
        version=version,
        description="A step of the compound",
        keys={key: SCALE_KEYS[key] for key in _FACTORS},
    )


def _variance(parameters: SasParameters, name: str, version: int) -> Any:
    """Return a step of the sum of variances."""
    squared = np.square(parameters.eresp / parameters.resp)
    return correction(
        f"EGMScaleVariance_{name}",
        binned(parameters.categories, map(leaf, squared)),
        variables=parameters.categories.names,
        output=("variance", "Squared relative error of the scale"),
        version=version,
        description="A step of the compound of variances",
    )


def _ordered(
    steps: Mapping[str, SasParameters], inputs: Sequence[str] | None
) -> list[str]:
    """Return the inputs of the compound."""
    needed = dict.fromkeys(
        name for parameters in steps.values() for name in parameters.categories.names
    )
    if inputs is None:
        known = [name for name in VARIABLES if name in needed]
        return known + [name for name in needed if name not in known]
    for name in needed:
        if name not in inputs:
            raise ArgumentValueError(
                f"inputs: the variable {name!r} of a step is missing."
                f"{nearest(name, inputs)} Add it to the inputs."
            )
    return list(inputs)
