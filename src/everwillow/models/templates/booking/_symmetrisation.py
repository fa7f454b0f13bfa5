"""Responses of the likelihood from varied templates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from everwillow._errors import ArgumentValueError, nearest
from everwillow.likelihood.templates.spec import LOG_FLOOR, SystematicType


Symmetrisation: TypeAlias = Literal["average", "conservative", "linear", "quadratic"]
"""What becomes of responses to up and down that are not mirror images."""


@dataclass(frozen=True, slots=True)
class Shift:
    """Responses to one error up and to one down, the latter mirrored.

    Attributes:
        up: To +1.
        down: Minus that to -1; None if it is the mirror image.
    """

    up: Float[np.ndarray, " entries"]
    down: Float[np.ndarray, " entries"] | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What a parameter does to a process in a channel.

    Attributes:
        rows: The entries of the nominal template it acts on, ascending; None for all.
        average: See `everwillow.likelihood.templates.spec.Responses`.
        half: Likewise; None if it is zero.
    """

    rows: Int[np.ndarray, " entries"] | None
    average: Float[np.ndarray, " entries"]
    half: Float[np.ndarray, " entries"] | None = None


def check_symmetrisation(symmetrize: object) -> None:
    """Check the name of a symmetrisation.

    Raises:
        ArgumentValueError: If there is none of that name.
    """
    known = get_args(Symmetrisation)
    if symmetrize is not None and symmetrize not in known:
        raise ArgumentValueError(
            f"symmetrize: there is no {symmetrize!r}.{nearest(symmetrize, known)} It "
            f"is one of {', '.join(map(repr, known))} or None."
        )


def log_ratios(
    varied: Float[np.ndarray, " entries"],
    nominal: Float[np.ndarray, " entries"],
    kfactor: float,
) -> Float[np.ndarray, " entries"]:
    """Return the logarithm of the ratio to the nominal yields, times the k-factor.

    It is `LOG_FLOOR`, whatever the k-factor, where the signs differ: no exponent
    reaches zero.
    """
    fine = np.sign(varied) == np.sign(nominal)
    if fine.all():
        return kfactor * np.log(varied / nominal)
    ratio = np.divide(varied, nominal, out=np.ones(varied.shape), where=fine)
    return np.where(fine, kfactor * np.log(ratio), LOG_FLOOR)


def shift_of(
    up: Float[np.ndarray, " entries"],
    down: Float[np.ndarray, " entries"] | None,
    nominal: Float[np.ndarray, " entries"],
    *,
    kind: SystematicType,
    kfactor: float,
) -> Shift:
    """Return the responses of yields that are not zero to their variations.

    Log-normal yields respond by logarithms of ratios, normal ones by differences.
    """
    if kind == "normal":
        return Shift(
            kfactor * (up - nominal),
            None if down is None else -kfactor * (down - nominal),
        )
    return Shift(
        log_ratios(up, nominal, kfactor),
        None if down is None else -log_ratios(down, nominal, kfactor),
    )


def symmetrise(
    shift: Shift, symmetrize: Symmetrisation | None
) -> Mapping[str, tuple[np.ndarray, np.ndarray | None]]:
    r"""Return average and half response, by what is added to the name.

    With the responses U to up and D to down, mirrored:

    - ``"average"``: (U + D) / 2;
    - ``"conservative"``: of U and D that of larger magnitude, bin by bin, D if equal;
    - ``"linear"``: two parameters, ``SymAvg`` with (U + D) / 2 and ``SymDiff`` with
      (U - D) / 2;
    - ``"quadratic"``: the same, ``SymDiff`` times :math:`\sqrt 3`;
    - None: asymmetric, the average (U + D) / 2 and the half (U - D) / 2.

    A variation that is its mirror image needs nothing of this.
    """
    up, down = shift.up, shift.down
    if down is None:
        return {"": (up, None)}
    if symmetrize == "conservative":
        return {"": (np.where(np.abs(up) > np.abs(down), up, down), None)}
    average = (up + down) / 2
    if symmetrize == "average":
        return {"": (average, None)}
    half = (up - down) / 2
    if symmetrize is None:
        return {"": (average, half)}
    scale = np.sqrt(3.0) if symmetrize == "quadratic" else 1.0
    return {"SymAvg": (average, None), "SymDiff": (scale * half, None)}


def one_sided(shift: Shift) -> Bool[np.ndarray, " entries"]:
    """Return where up and down do not move a yield to opposite sides."""
    if shift.down is None:
        return np.zeros(shift.up.shape, bool)
    moved = (shift.up != 0) | (shift.down != 0)
    return moved & (np.sign(shift.up) * np.sign(shift.down) <= 0)


def largest(
    shift: Shift, nominal: Float[np.ndarray, " entries"], kind: SystematicType
) -> Float[np.ndarray, " entries"]:
    """Return how far yields move at most, 1 being 100 %."""
    down = shift.up if shift.down is None else shift.down
    if kind == "normal":
        return np.maximum(np.abs(shift.up), np.abs(down)) / np.abs(nominal)
    return np.maximum(np.abs(np.expm1(shift.up)), np.abs(np.expm1(-down)))
