"""Impacts of parameters that are fixed in the fit."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Unpack

import equinox as eqx
import numpy as np
from jaxtyping import Float

from everwillow._errors import ArgumentValueError
from everwillow._html import Part, Shown, Table
from everwillow._keywords import renamed_keywords
from everwillow._numerics import is_traced
from everwillow._rounding import noiseless, plain, signed_digits
from everwillow._typing import Array, Key, Nll
from everwillow.engine.layout import ravel_state
from everwillow.engine.names import (
    as_names,
    meant_elements,
    named_elements,
    unknown_name,
)
from everwillow.engine.prefit import centers_and_widths
from everwillow.fitting import FitResult
from everwillow.fitting.options import RefitOptions, takes_options
from everwillow.impacts.best_fit import fitted, positions
from everwillow.impacts.refits import RefitImpacts, posed, refit_fixed
from everwillow.model import AbstractModel
from everwillow.parameters import AbstractConstraint


class NonprofiledImpacts(Shown, eqx.Module):
    """Shifts of POIs in fits with a fixed parameter shifted by its uncertainty.

    A shift is the value with the parameter shifted, less the nominal value, in units of
    the POI.

    Attributes:
        refits: The shifts with each parameter down and up, with the status of the fits.
        widths: The distance by which each parameter was shifted, shape ``(moved,)``.
        pois: Labels of the POIs.
        names: Labels of the parameters that were moved.
    """

    refits: RefitImpacts
    widths: Float[Array, " moved"]
    pois: tuple[str, ...] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)

    @property
    def down(self) -> Float[Array, "pois moved"]:
        """The shifts for a move down."""
        return self.refits.down

    @property
    def up(self) -> Float[Array, "pois moved"]:
        """The shifts for a move up."""
        return self.refits.up

    def envelope(
        self, groups: Mapping[str, Any] | None = None
    ) -> dict[str, Float[Array, "2 pois"]]:
        """Return the errors from groups of parameters, down and up.

        For each member the most negative and the most positive shift are taken, in
        whichever direction the parameter was shifted. Each is added in quadrature.

        Args:
            groups: The labels of the members by the name of the group. Labels of other
                parameters and groups without a member are left out. None for a single
                group of all parameters, called ``"total"``.

        Returns:
            The downward error, which is negative, and the upward one for each group.
        """
        groups = {"total": self.names} if groups is None else groups
        errors = {}
        for group, names in groups.items():
            chosen = {names} if isinstance(names, str) else set(names)
            here = [i for i, name in enumerate(self.names) if name in chosen]
            if here:
                errors[group] = self._errors(np.asarray(here))
        return errors

    def _errors(self, here: np.ndarray) -> Any:
        shifts = self.refits.shifts[:, :, here]
        low = (shifts.min(axis=0).clip(max=0) ** 2).sum(axis=-1) ** 0.5
        high = (shifts.max(axis=0).clip(min=0) ** 2).sum(axis=-1) ** 0.5
        return low * np.array([[-1.0], [0.0]]) + high * np.array([[0.0], [1.0]])

    def _parts(self) -> Sequence[Part]:
        if is_traced(self) or np.ndim(self.widths) != 1:
            return [f"NonprofiledImpacts({', '.join(self.names)})"]
        sizes = np.abs(self.refits.shifts)
        largest = float(np.max(sizes, initial=0.0, where=np.isfinite(sizes)))
        heads = ("name", "moved by", *(f"{p}: {s}" for p in self.pois for s in _SIDES))
        rows = [
            (
                name,
                plain(float(self.widths[i]), 4),
                *(
                    signed_digits(noiseless(float(side[j, i]), largest))
                    for j in range(len(self.pois))
                    for side in (self.down, self.up)
                ),
            )
            for i, name in enumerate(self.names)
        ]
        return [Table([heads, *rows])]


_SIDES = ("down", "up")


@renamed_keywords(pois="poi", frozen="names")
@takes_options(RefitOptions)
def nonprofiled_impacts(
    nll_fn: Nll | AbstractModel,
    result: FitResult,
    observation: Any = None,
    *,
    poi: Key | Collection[Key],
    names: Any = "*",
    widths: Mapping[Key, Any] | None = None,
    constraints: Mapping[Key, AbstractConstraint] | None = None,
    batch_size: int | None = None,
    **options: Unpack[RefitOptions],
) -> NonprofiledImpacts:
    """Shift each parameter that was fixed in a fit by its uncertainty, and fit again.

    This is for uncertainties that the data must not constrain: the parameters are fixed
    in the fit, and these impacts are added to its error.

    Args:
        nll_fn: The fitted likelihood.
        result: Its best fit.
        observation: The fitted data; None for the data of a Model.
        poi: Keys or labels of the parameters of interest.
        names: Keys, labels or patterns of the fixed parameters to shift. Patterns skip
            parameters without a width.
        widths: The distances of the shifts, by key or label; by default the widths of
            the constraints.
        constraints: As in `rank`.
        batch_size: As in `rank`.
        **options: `RefitOptions`: `bounds`, needed where `nll_fn` is a plain function;
            `solver` and `max_steps`.

    Returns:
        `NonprofiledImpacts`; a fit that fails is NaN in it, with its status.

    Raises:
        UnknownKeyError: If a name or a pattern matches no parameter.
        ArgumentValueError: If a named parameter was not fixed or has no width, or if
            there is no parameter to shift.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.parameters import Normal
        >>> model = ew.Model(
        ...     lambda p, y: 0.5 * ((y - p["mu"] - p["theta"]) / 3.0) ** 2,
        ...     {"mu": 0.0, "theta": 0.0},
        ...     5.0,
        ...     constraints={"theta": Normal(0.0, 4.0)},
        ... )
        >>> result = ew.fit(model, fixed={"theta": 0.0})
        >>> out = nonprofiled_impacts(model, result, poi="mu")
        >>> print(out.down.round(6), out.up.round(6))
        [[4.]] [[-4.]]
    """
    # The covariance is not used, only the free parameters and their constraints.
    size = len(result.free)
    fit = fitted(result, constraints, np.zeros((size, size)))
    place = positions(poi, fit, where="poi")
    width: Any = np.array(centers_and_widths(fit.constraints, fit.layout)[1], float)
    layout = fit.layout
    for name, value in (widths or {}).items():
        here = named_elements(name, layout)
        if here is None:
            raise unknown_name(name, layout, where="widths")
        width[here] = np.ravel(np.broadcast_to(value, np.shape(here)))
    moved = _frozen(names, fit, width)
    problem, setting = posed(nll_fn, fit, observation, **options)
    values = ravel_state(result.params)[1][moved]
    targets = values[None] + np.array([[-1.0], [1.0]]) * width[moved][None]
    moved_fits = refit_fixed(problem, setting, place, moved, targets, batch_size)
    return NonprofiledImpacts(
        refits=moved_fits,
        widths=width[moved],
        pois=tuple(result.labels[i] for i in place),
        names=tuple(layout.labels[i] for i in moved),
    )


def _frozen(patterns: Any, fit: Any, width: np.ndarray) -> np.ndarray:
    """Return the positions of the fixed parameters to shift."""
    layout = fit.layout
    fixed = np.ones(layout.size, bool)
    fixed[fit.free] = False
    able = fixed & np.isfinite(width)
    chosen = np.zeros(layout.size, bool)
    for name in as_names(patterns, layout, where="names"):
        here, named = meant_elements(name, layout, where="names")
        if named and not able[here].all():
            why = "has no width: give widths=" if fixed[here].all() else "was fitted"
            raise ArgumentValueError(f"names: the parameter {name!r} {why}.")
        chosen |= here & able
    if not chosen.any():
        raise ArgumentValueError(
            "names: no parameter with a width was fixed in the fit. Fix some: "
            "fit(..., fixed={name: ...})."
        )
    return np.nonzero(chosen)[0]
