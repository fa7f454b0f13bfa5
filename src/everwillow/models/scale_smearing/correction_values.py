"""The numbers that corrections consist of, from responses and resolutions."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from everwillow.models.scale_smearing.parameters import SasParameters


Kind: TypeAlias = Literal["scale", "smear"]
"""A correction of energies in data, or smearing with the errors of simulation."""
Values: TypeAlias = Mapping[str, Float[np.ndarray, " categories"]]

_BOUNDS = {"reso2": (0.0, np.inf), "mu": (0.0, np.inf), "frac": (0.0, 1.0)}


def scale_values(parameters: SasParameters) -> Values:
    """Return the correction of energies in data for each category.

    Returns:
        By key: ``scale``, the factor ``1 / resp``; ``escale``, its error; ``scale_up``
        and ``scale_down``, the factor plus and minus its error. NaN where there is no
        number.

    Example:
        >>> from everwillow.models.scale_smearing import parameters_from_json
        >>> parameters = parameters_from_json(
        ...     '{"categories": {"r9": [0, 1]}, "resp": [0.8], "eresp": [0.008],'
        ...     ' "reso": [0.02], "ereso": [0.03]}'
        ... )
        >>> {key: round(float(x[0]), 6) for key, x in scale_values(parameters).items()}
        {'scale': 1.25, 'escale': 0.0125, 'scale_up': 1.2625, 'scale_down': 1.2375}
    """
    scale = 1 / parameters.resp
    error = parameters.eresp / parameters.resp**2
    return {
        "scale": scale,
        "escale": error,
        "scale_up": scale + error,
        "scale_down": scale - error,
    }


def smear_values(parameters: SasParameters) -> Values:
    """Return the smearing of simulated energies and all variations of them.

    Where the smearing is at zero, its error is the upper end of the one-sided interval.
    Variations of small smearing are not the ends of `SasParameters.reso_interval`,
    which is narrower above and may begin at 0.

    Returns:
        By key: ``smear``, the relative width; ``esmear``, its error; ``smear_up`` and
        ``smear_down``, which is at least 0; ``escale``, the relative error of the
        scale; ``scale_up`` and ``scale_down``, factors around 1. With a double
        Gaussian, each of ``reso2``, ``mu`` and ``frac`` with ``e*``, ``*_up`` and
        ``*_down``, inside of their bounds. NaN where there is no number.

    Example:
        >>> from everwillow.models.scale_smearing import parameters_from_json
        >>> parameters = parameters_from_json(
        ...     '{"categories": {"r9": [0, 1]}, "resp": [0.8], "eresp": [0.008],'
        ...     ' "reso": [0.02], "ereso": [0.03]}'
        ... )
        >>> {key: round(float(x[0]), 6) for key, x in smear_values(parameters).items()}
        {'smear': 0.02, 'esmear': 0.03, 'smear_up': 0.05, 'smear_down': 0.0,
         'escale': 0.01, 'scale_up': 1.01, 'scale_down': 0.99}
    """
    one_sided = np.isnan(parameters.ereso) & ~np.isnan(parameters.reso_upper)
    ereso = np.where(
        one_sided, parameters.reso_upper - parameters.reso, parameters.ereso
    )
    relative = parameters.eresp / parameters.resp
    values = {
        **_varied("smear", parameters.reso, ereso, (0.0, np.inf)),
        "escale": relative,
        "scale_up": 1 + relative,
        "scale_down": 1 - relative,
    }
    for name, bounds in _BOUNDS.items():
        if name in parameters.double:
            found = parameters.double[name]
            error = parameters.double.get(f"e{name}", np.full_like(found, np.nan))
            values |= _varied(name, found, error, bounds)
    return values


def values_of(parameters: SasParameters, kind: Kind) -> Values:
    """Return `scale_values` or `smear_values`."""
    return (scale_values if kind == "scale" else smear_values)(parameters)


def _varied(
    name: str, values: np.ndarray, errors: np.ndarray, bounds: tuple[float, float]
) -> dict[str, np.ndarray]:
    """Return values, their errors, and both variations, which keep the bounds."""
    return {
        name: values,
        f"e{name}": errors,
        f"{name}_up": np.clip(values + errors, *bounds),
        f"{name}_down": np.clip(values - errors, *bounds),
    }
