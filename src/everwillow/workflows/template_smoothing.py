"""Regularisation of template fits, from text, and its L-curve as a record."""

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import ArgumentValueError, unknown_key
from everwillow.likelihood.histograms import Layout, Yields
from everwillow.mappings import AbstractHistogramMapping, parse_mapping
from everwillow.mappings.tokens import words
from everwillow.models.templates.likelihood.regularisation import (
    Curvature,
    with_strength,
)
from everwillow.models.templates.model import TemplateModel
from everwillow.workflows.l_curve import l_curve
from everwillow.workflows.template_profiles import Regularisation, StrengthScan


Smooth: TypeAlias = str | AbstractHistogramMapping | Curvature
"""A histogram that a fit wishes to be smooth."""

Strength: TypeAlias = float | Sequence[float] | Literal["corner"]
"""τ of all regularised histograms, of each, or that at the corner of the L-curve."""

CORNER = "corner"
_PARAMETERS = "Parameters"


class NoCornerError(ArgumentValueError):
    """An L-curve has no corner where that was to be the strength.

    Attributes:
        l_curve: The curve.
    """

    l_curve: StrengthScan

    def __init__(self, message: str, l_curve: StrengthScan) -> None:
        super().__init__(message)
        self.l_curve = l_curve


class NamedParameters(eqx.Module):
    """The values of parameters in a row, as a histogram to be smoothed."""

    patterns: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, params: Any, yields: Yields) -> Float[Array, " n"]:
        """Return the values, in the order of the model."""
        del yields
        for pattern in self.patterns:
            if not fnmatch.filter(params, pattern):
                raise unknown_key(pattern, params, where="regularise")
        chosen = [name for name in params if self._means(name)]
        return jnp.concatenate([jnp.ravel(params[name]) for name in chosen])

    def labels(self, params: Any) -> tuple[str, ...]:
        """Return whose values these are."""
        chosen = [name for name in params if self._means(name)]
        return tuple(np.repeat(chosen, [np.size(params[name]) for name in chosen]))

    def _means(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.patterns)

    def __repr__(self) -> str:
        """Return how it is written."""
        return " ".join((_PARAMETERS, *self.patterns))


def curvatures_of(
    regularise: Smooth | Iterable[Smooth], strength: Strength | None, layout: Layout
) -> tuple[Curvature, ...]:
    """Return what is to be smoothed, with its strengths.

    Args:
        regularise: As in `everwillow.workflows.templates.run`.
        strength: As there.
        layout: Channels and processes.

    Raises:
        ArgumentValueError: If there are more strengths than histograms, or none to be
            smoothed.
    """
    one = isinstance(regularise, str | AbstractHistogramMapping | Curvature)
    given: Any = (regularise,) if one else tuple(regularise)
    if not given and strength is not None:
        raise ArgumentValueError(
            "strength: nothing is regularised. Say what: regularise='Select CHANNEL'."
        )
    curvatures = [_read(each, layout) for each in given]
    if strength is None or isinstance(strength, str):
        if strength not in (None, CORNER):
            raise ArgumentValueError(
                f"strength: expected numbers or {CORNER!r}, got {strength!r}."
            )
        return tuple(curvatures)
    numbers = list(np.atleast_1d(np.asarray(strength, float)))
    if len(numbers) not in (1, len(curvatures)):
        raise ArgumentValueError(
            f"strength: {len(numbers)} values for {len(curvatures)} regularised "
            "histograms. Give one for all, or one for each."
        )
    numbers = numbers * len(curvatures) if len(numbers) == 1 else numbers
    return tuple(
        part.with_strength(float(number))
        for part, number in zip(curvatures, numbers, strict=True)
    )


def _read(one: Smooth, layout: Layout) -> Curvature:
    if isinstance(one, Curvature):
        return one
    if isinstance(one, AbstractHistogramMapping):
        one.axes(layout)
        return Curvature(one)
    names = [piece.name() for piece in words("regularise", one)]
    if names[:1] == [_PARAMETERS]:
        if len(names) == 1:
            raise ArgumentValueError(
                f"regularise: expected {_PARAMETERS} PATTERN ..., got {one!r}."
            )
        return Curvature(NamedParameters(tuple(names[1:])))
    return _read(parse_mapping(one), layout)


def smoothed(
    model: TemplateModel,
    strength: Strength | None,
    strengths: Sequence[float] | None,
    max_steps: int,
) -> tuple[TemplateModel, Regularisation | None]:
    """Make the L-curve that is asked for, and take its corner if that is asked for.

    Args:
        model: The model, regularised or not.
        strength: As in `everwillow.workflows.templates.run`.
        strengths: Those of the L-curve; None for none.
        max_steps: Of each fit.

    Raises:
        ArgumentValueError: If there is nothing that is regularised.
        NoCornerError: If the curve has no corner; has the curve.
    """
    penalty = model.terms.penalty
    if penalty is None:
        if strengths is not None:
            raise ArgumentValueError(
                "l_curve: nothing is regularised. Say what with regularise=."
            )
        return model, None
    found = None
    if strengths is not None:
        curve = l_curve(model, np.asarray(strengths, float), max_steps=max_steps)
        found = StrengthScan(
            strengths=curve.strengths,
            nll=curve.nll,
            misfit=curve.misfit,
            curvature=curve.curvature,
            corner=curve.corner,
            penalty=None if model.hidden else curve.penalty,
        )
    if strength == CORNER:
        model = with_strength(model, _corner(found))
    assert model.terms.penalty is not None
    curvatures = model.terms.penalty.curvatures
    names = tuple(
        getattr(part.mapping, "key", None) or repr(part.mapping) for part in curvatures
    )
    values = np.array([float(part.strength) for part in curvatures])
    return model, Regularisation(names, values, found)


def _corner(found: StrengthScan | None) -> float:
    if found is None:
        raise ArgumentValueError(
            "strength: 'corner' is that of the L-curve. Ask for one: l_curve=[...]."
        )
    if np.isnan(found.corner):
        low, high = found.strengths[0], found.strengths[-1]
        raise NoCornerError(
            f"strength: the L-curve from {low:g} to {high:g} has no corner. Scan "
            "further, or more finely, with l_curve=, or choose a number.",
            found,
        )
    return found.corner


__all__ = ["NoCornerError", "Smooth", "Strength", "curvatures_of", "smoothed"]
