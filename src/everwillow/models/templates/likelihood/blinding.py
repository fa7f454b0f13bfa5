r"""Blinding: parameters of interest on a hidden scale.

The parameters of a blinded model are :math:`x' = f x + o` in place of the physical
values x. Strengths, and other parameters for which zero has a meaning, have a factor f,
the exponential of a Gaussian number of width 5, which preserves relative errors. Other
parameters, mostly systematics of interest, have an offset o of width 5, which preserves
errors, the covariance and impacts. The likelihood is the same function of the physical
values, so that yields, external likelihoods, bounds and -ln L do not change.

The numbers are computed from the names, and differ for data and for simulated data. A
model that was built from the data keeps their numbers with any other observation: fit
pseudodata with a model that was built with ``data=``, as their known truth would reveal
the numbers of the data.

Blinding prevents reading a result by accident, not on purpose: start values, finite
bounds and centres of constraints are transformed, but expected yields are physical. A
strength can be computed from the yields of a fitted channel after the fit: subtract the
other processes and divide by the template of the signal.
"""

import dataclasses
import fnmatch
import hashlib
import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import ArgumentTypeError, unknown_key
from everwillow.objective import Evaluation
from everwillow.parameters import Normal
from everwillow.parameters.bound_table import BoundTable
from everwillow.parameters.constraint_table import (
    AuxTable,
    ConstraintTable,
    TableLayout,
)
from everwillow.statelib import State


Blind: TypeAlias = bool | str | Iterable[str] | Mapping[str, str | None]
"""Parameters to hide: all, patterns, or patterns with the group of each."""

Source: TypeAlias = Literal["data", "simulation"]

# Standard deviation of an offset, and of the logarithm of a factor.
WIDTH = 5.0


@final
class Hidden(eqx.Module):
    """The transformation of physical values of parameters to reported ones.

    Attributes:
        factor: The factor of a physical value, 1 if it is not hidden.
        offset: The offset that is added after that.
    """

    factor: Float[Array | np.ndarray, " n"]
    offset: Float[Array | np.ndarray, " n"]

    def physical(self, vector: Float[Array, " n"]) -> Float[Array, " n"]:
        """Return physical values of reported ones."""
        return (vector - self.offset) / self.factor

    def reported(self, evaluation: Evaluation) -> Evaluation:
        """Convert derivatives by physical values into derivatives by reported ones."""
        scale = 1 / jnp.asarray(self.factor)
        stand_in = evaluation.gauss_newton
        return Evaluation(
            evaluation.value,
            evaluation.gradient * scale,
            evaluation.curvature.scaled(scale),
            None if stand_in is None else stand_in.scaled(scale),
            derivatives=evaluation.derivatives,
        )

    @property
    def where(self) -> np.ndarray:
        """Which parameters are hidden."""
        return (np.asarray(self.factor) != 1) | (np.asarray(self.offset) != 0)


def hidden_number(name: str, source: Source) -> float:
    """Return the number of a parameter, drawn from a Gaussian of mean 0 and width 5.

    It is computed from the SHA-256 of the name and the source alone, so that it is the
    same everywhere, and that fits to simulated data do not reveal the number of the
    data.

    Args:
        name: The parameter, or the group of parameters with a common number.
        source: Whether data or simulated data are fitted.

    Example:
        >>> hidden_number("signal", "data") == hidden_number("signal", "simulation")
        False
    """
    digest = hashlib.sha256(f"{name}_{source}".encode()).digest()
    # Strictly between 0 and 1.
    uniform = (int.from_bytes(digest[:6], "big") + 0.5) / 2**48
    return statistics.NormalDist(0.0, WIDTH).inv_cdf(uniform)


def hide(model: Any, blind: Blind, unblind: Any, source: Source) -> Any:
    """Transform parameters of interest to hidden scales.

    Start values, bounds and constraints are transformed, too; the likelihood is the
    same function of the physical values.

    Args:
        model: A template model without hidden parameters.
        blind: The parameters to hide, as in `TemplateModel.from_spec`.
        unblind: Exceptions from `blind`.
        source: Whether data or simulated data are fitted.
    """
    chosen = _chosen(blind, model.interest, "blind")
    shown = _chosen(unblind, model.interest, "unblind")
    entries, places = model.terms.rate_model.parameters(), elements_of(model.state)
    factor, offset = np.ones(model.terms.size), np.zeros(model.terms.size)
    for name, group in chosen.items():
        if name in shown:
            continue
        number = hidden_number(name if group is None else group, source)
        if _has_scale(entries.get(name)):
            factor[places[name]] = math.exp(number)
        else:
            offset[places[name]] = number
    hidden = Hidden(factor, offset)
    if not hidden.where.any():
        return model
    moved = _moved(model, factor, offset)
    return dataclasses.replace(
        moved, terms=dataclasses.replace(model.terms, hidden=hidden)
    )


def unhidden(model: Any, hidden: Hidden, patterns: tuple[str, ...]) -> Any:
    """Transform parameters back to their physical scales.

    Args:
        model: A template model.
        hidden: Its transformation.
        patterns: Patterns of the parameters to show, as in `fnmatch`.
    """
    factor, offset = (np.asarray(part) for part in (hidden.factor, hidden.offset))
    shown = _chosen(patterns, hidden_names(model.state, hidden), "unblinded")
    here = np.zeros(factor.size, bool)
    for name, place in elements_of(model.state).items():
        here[place] = name in shown
    back = np.where(here, 1 / factor, 1.0)
    moved = _moved(model, back, np.where(here, -offset / factor, 0.0))
    left = Hidden(np.where(here, 1.0, factor), np.where(here, 0.0, offset))
    terms = dataclasses.replace(model.terms, hidden=left if left.where.any() else None)
    return dataclasses.replace(moved, terms=terms)


def hidden_names(state: State, hidden: Hidden) -> tuple[str, ...]:
    """Return the names of the parameters that are hidden."""
    where = hidden.where
    return tuple(name for name, here in elements_of(state).items() if where[here].any())


def elements_of(state: State) -> dict[Any, np.ndarray]:
    """Return the positions of the elements of each parameter in the vector."""
    return TableLayout.of({k: np.shape(v) for k, v in state.items()}).elements()


def _has_scale(entry: Any) -> bool:
    """Return whether a factor hides a parameter, as zero has a meaning for it.

    A constraint would reveal the factor by its width.
    """
    if entry is None or entry.width is not None:
        return False
    return entry.lower == 0 or entry.start != 0


def _moved(model: Any, factor: np.ndarray, offset: np.ndarray) -> Any:
    """Transform start values, bounds, constraints and auxiliary data."""
    places = elements_of(model.state)
    values = [
        value * factor[places[key]][()] + offset[places[key]][()]
        for key, value in model.state.items()
    ]
    state = model.state.with_values(values)
    bounds = BoundTable(
        model.bounds.layout,
        model.bounds.lower * factor + offset,
        model.bounds.upper * factor + offset,
    )
    # Hidden parameters with a constraint have a Gaussian one, and no factor.
    shift = offset[model.terms.constrained]
    table, aux = model.constraints, model.observation["aux"]
    groups = tuple(
        Normal(group.mean + shift[part], group.width)
        if isinstance(group, Normal)
        else group
        for (_, part), group in zip(table.layout.parts(), table.groups, strict=True)
    )
    table = ConstraintTable(table.layout, groups, table.others)
    aux = AuxTable(aux.layout, aux.vector + shift, aux.others)
    observation = {**model.observation, "aux": aux}
    return dataclasses.replace(
        model, state=state, bounds=bounds, constraints=table, observation=observation
    )


def _chosen(patterns: Any, names: tuple[str, ...], where: str) -> dict[str, str | None]:
    """Return the parameters that patterns match, with the group of each."""
    if patterns is True:
        patterns = ("*",)
    elif patterns is False or patterns is None:
        patterns = ()
    elif isinstance(patterns, str):
        patterns = (patterns,)
    if not isinstance(patterns, Iterable):
        raise ArgumentTypeError(
            f"{where}: expected True, names or patterns, or a mapping from these to "
            f"groups, got {type(patterns).__name__}."
        )
    groups = patterns
    if not isinstance(groups, Mapping):
        groups = dict.fromkeys(patterns)
    group_of: dict[str, str | None] = {}
    for pattern, group in groups.items():
        hits = [pattern] if pattern in names else fnmatch.filter(names, pattern)
        if not hits and pattern != "*":
            raise unknown_key(pattern, names, where=where)
        group_of |= dict.fromkeys(hits, group)
    return group_of


__all__ = [
    "Blind",
    "Hidden",
    "Source",
    "elements_of",
    "hidden_names",
    "hidden_number",
    "hide",
    "unhidden",
]
