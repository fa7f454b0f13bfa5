"""Corrections applied to energies: scale in data, smearing in simulation."""

import dataclasses
from typing import Any, final

import numpy as np
from jaxtyping import Float

from everwillow._errors import ArgumentValueError
from everwillow.models.scale_smearing.correction_sources import (
    Columns,
    Corrections,
    Source,
    corrections_of,
)
from everwillow.models.scale_smearing.mixtures import moments


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaledData:
    """Corrected energies in data. There are no variations of data.

    Attributes:
        energy: The energies, multiplied by `scale`; NaN where there is no number.
        scale: The factors.
        energy_error: The errors of the energies, or None if they were not given.
        without_number: How many objects have no number.
    """

    energy: Float[np.ndarray, " objects"]
    scale: Float[np.ndarray, " objects"]
    energy_error: Float[np.ndarray, " objects"] | None
    without_number: int


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class SmearedSimulation:
    """Smeared energies in simulation, with all variations.

    Attributes:
        energy: The energies, multiplied by `factor`; NaN where there is no number.
        factor: The factors, random numbers around 1.
        scale_up: The energies if the scale is larger by its error.
        scale_down: The energies if it is smaller.
        smear_up: The energies if the smearing is larger by its error.
        smear_down: The energies if it is smaller.
        energy_error: The errors of the energies, or None if they were not given.
        without_number: How many objects have no number.
    """

    energy: Float[np.ndarray, " objects"]
    factor: Float[np.ndarray, " objects"]
    scale_up: Float[np.ndarray, " objects"]
    scale_down: Float[np.ndarray, " objects"]
    smear_up: Float[np.ndarray, " objects"]
    smear_down: Float[np.ndarray, " objects"]
    energy_error: Float[np.ndarray, " objects"] | None
    without_number: int


def scale_data(
    source: Source,
    energies: Any,
    variables: Columns,
    *,
    energy_errors: Any = None,
    pt: str = "pt",
) -> ScaledData:
    r"""Correct the energies of objects in data.

    Energies, or transverse momenta, are multiplied by the scale. Errors of energies,
    which are estimated as in simulation, become :math:`\sqrt{(s\sigma)^2 + (wE)^2}`,
    with the scale s, the width w of the smearing and the corrected energy E.

    Args:
        source: The results, or a file with them or for correctionlib.
        energies: The energies, shape (objects,).
        variables: The variables of the categories, before any correction.
        energy_errors: The absolute errors of the energies.
        pt: The variable that is scaled as the energies, before the width of the
            smearing is looked up.

    Example:
        >>> from everwillow.models.scale_smearing import parameters_from_json
        >>> parameters = parameters_from_json(
        ...     '{"categories": {"r9": [0, 1]}, "resp": [0.8], "eresp": [0.008],'
        ...     ' "reso": [0.03], "ereso": [0.001]}'
        ... )
        >>> data = scale_data(parameters, [80.0], {"r9": [0.5]}, energy_errors=[3.2])
        >>> [round(float(x[0]), 9) for x in (data.energy, data.energy_error)]
        [100.0, 5.0]
    """
    corrections = corrections_of(source)
    energies = np.asarray(energies, float)
    scale = corrections.evaluate("scale", "scale", variables)
    corrected = energies * scale
    errors = None
    if energy_errors is not None:
        moved = dict(variables)
        if pt in moved:
            moved[pt] = np.asarray(moved[pt]) * scale
        added = smearing_width(corrections, moved) * corrected
        errors = np.hypot(np.asarray(energy_errors) * scale, added)
    return ScaledData(
        energy=corrected,
        scale=scale,
        energy_error=errors,
        without_number=int(np.isnan(scale).sum()),
    )


def smear_simulation(
    source: Source,
    energies: Any,
    variables: Columns,
    normals: Any,
    *,
    uniforms: Any = None,
    energy_errors: Any = None,
) -> SmearedSimulation:
    r"""Smear the energies of objects in simulation, and vary them.

    Energies are multiplied by 1 + w z, with the width w and one standard normal number
    z for each object, which is the same for all variations: they differ by the width
    only. Variations of the scale multiply the smeared energy. Errors of energies become
    :math:`\sqrt{(g\sigma)^2 + (wE)^2}`, with the factor g and the smeared energy E.

    With a double Gaussian, an object has the factor ``mu (1 + reso2 z)`` if its uniform
    number is above ``frac``.

    Args:
        source: The results, or a file with them or for correctionlib.
        energies: The energies, shape (objects,).
        variables: The variables of the categories.
        normals: One standard normal number for each object: `standard_normals`.
        uniforms: One number between 0 and 1 for each object: `uniform_numbers`. Only
            for a double Gaussian.
        energy_errors: The absolute errors of the energies.

    Raises:
        ArgumentValueError: If there are no `uniforms` for a double Gaussian.

    Example:
        >>> from everwillow.models.scale_smearing import parameters_from_json
        >>> parameters = parameters_from_json(
        ...     '{"categories": {"r9": [0, 1]}, "resp": [0.8], "eresp": [0.008],'
        ...     ' "reso": [0.03], "ereso": [0.001]}'
        ... )
        >>> one = smear_simulation(parameters, [100.0], {"r9": [0.5]}, [2.0])
        >>> names = ("energy", "scale_up", "smear_up", "smear_down")
        >>> {name: round(float(getattr(one, name)[0]), 9) for name in names}
        {'energy': 106.0, 'scale_up': 107.06, 'smear_up': 106.2, 'smear_down': 105.8}
    """
    corrections = corrections_of(source)
    energies = np.asarray(energies, float)

    def factors(smear: str) -> np.ndarray:
        return smearing_factors(
            corrections, variables, normals, uniforms=uniforms, smear=smear
        )

    factor = factors("smear")
    smeared = energies * factor
    errors = None
    if energy_errors is not None:
        added = smearing_width(corrections, variables) * smeared
        errors = np.hypot(np.asarray(energy_errors) * factor, added)
    scales = {
        key: corrections.evaluate("smear", key, variables)
        for key in ("scale_up", "scale_down")
    }
    return SmearedSimulation(
        energy=smeared,
        factor=factor,
        scale_up=smeared * scales["scale_up"],
        scale_down=smeared * scales["scale_down"],
        smear_up=energies * factors("smear_up"),
        smear_down=energies * factors("smear_down"),
        energy_error=errors,
        without_number=int(np.isnan(factor).sum()),
    )


def smearing_factors(
    corrections: Corrections,
    variables: Columns,
    normals: Any,
    *,
    uniforms: Any = None,
    smear: str = "smear",
) -> Float[np.ndarray, " objects"]:
    """Return the factors of energies in simulation.

    Args:
        corrections: The corrections.
        variables: The variables of the categories.
        normals: One standard normal number for each object.
        uniforms: One number between 0 and 1 for each object, for a double Gaussian.
        smear: The key of the width: ``"smear"``, ``"smear_up"`` or ``"smear_down"``.
    """
    normals = np.asarray(normals, float)
    factors = 1 + corrections.evaluate("smear", smear, variables) * normals
    if "frac" not in corrections.keys("smear"):
        return factors
    if uniforms is None:
        raise ArgumentValueError(
            "uniforms: they are missing, and the smearing is a double Gaussian. Give "
            "one number between 0 and 1 for each object, from `uniform_numbers`."
        )
    frac, mu, reso2 = (
        corrections.evaluate("smear", key, variables) for key in ("frac", "mu", "reso2")
    )
    second = np.asarray(uniforms) >= frac
    made = np.where(second, mu * (1 + reso2 * normals), factors)
    return np.where(np.isnan(frac), np.nan, made)


def smearing_width(
    corrections: Corrections, variables: Columns
) -> Float[np.ndarray, " objects"]:
    """Return the standard deviation of the factors in simulation.

    Args:
        corrections: The corrections.
        variables: The variables of the categories.
    """
    width = corrections.evaluate("smear", "smear", variables)
    if "frac" not in corrections.keys("smear"):
        return width
    frac, mu, reso2 = (
        corrections.evaluate("smear", key, variables) for key in ("frac", "mu", "reso2")
    )
    return moments(frac, width, mu, reso2).width
