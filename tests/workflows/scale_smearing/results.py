"""Results of a synthetic sample: three files of ijazz 0.1.1, rounded to five digits.

Eight categories: four bins of ScEta times two of r9, from 130000 events in data and
200000 simulated ones. ``window`` has another window of masses.
"""

import copy
from typing import Any


_CATEGORIES = {
    "ScEta": [-2.5, -1.479, 0.0, 1.479, 2.5],
    "r9": [-9999.0, 0.94, 9999.0],
}
_NOMINAL = {
    "categories": _CATEGORIES,
    "resp": [0.99335, 0.99588, 0.99879, 1.00214, 1.00061, 1.00407, 1.00739, 0.99381],
    "reso": [0.02648, 0.01687, 0.01372, 0.01007, 0.01465, 0.00787, 0.02933, 0.02058],
    "eresp": [0.0011, 0.00065, 0.00037, 0.00022, 0.00037, 0.00022, 0.00112, 0.00065],
    "ereso": [0.00183, 0.0014, 0.00092, 0.00063, 0.00084, 0.00084, 0.00175, 0.00123],
    "eresp_mc": [
        0.00061,
        0.00038,
        0.00022,
        0.00013,
        0.00022,
        0.00013,
        0.00061,
        0.00037,
    ],
    "ereso_mc": [0.00091, 0.00074, 0.0005, 0.00035, 0.00045, 0.00048, 0.00085, 0.00065],
    "pt_mean": None,
}
_WINDOW = {
    "resp": [0.99327, 0.9961, 0.99876, 1.00223, 1.00063, 1.00397, 1.00733, 0.99388],
    "reso": [0.02632, 0.01653, 0.01354, 0.00986, 0.01497, 0.00808, 0.02973, 0.0207],
}
_WITH_SYST = {
    "eresp": [0.00166, 0.00088, 0.00062, 0.00056, 0.00064, 0.00056, 0.00147, 0.00083],
    "ereso": [0.0019, 0.00241, 0.00094, 0.00083, 0.00091, 0.00087, 0.00206, 0.00154],
}


def nominal() -> dict[str, Any]:
    """Return the content of the file of the nominal fit."""
    return copy.deepcopy(_NOMINAL)


def window() -> dict[str, Any]:
    """Return the content of the file of a systematic."""
    return copy.deepcopy({**_NOMINAL, **_WINDOW})


def with_systematics() -> dict[str, Any]:
    """Return the nominal values with errors that include systematics."""
    return copy.deepcopy({**_NOMINAL, **_WITH_SYST})
