"""Impacts of groups of parameters, and statistical and systematic parts of errors."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow._html import Part, Shown, Table
from everwillow._keywords import renamed_keywords
from everwillow._numerics import is_traced
from everwillow._rounding import alike
from everwillow._typing import Key
from everwillow.engine import programs
from everwillow.engine.layout import on_host, ravel_state
from everwillow.fitting import FitResult
from everwillow.impacts._auxiliary_fluctuations import (
    Auxiliary,
    auxiliary_of,
    shifts_of,
)
from everwillow.impacts.best_fit import (
    Fitted,
    computed,
    fitted,
    matching,
    positions,
    warn_if_held,
)
from everwillow.impacts.definitions import (
    DIGITS,
    covariance_from,
    errors_from,
    group_variances,
    rest_in_quadrature,
    unless_held,
)
from everwillow.parameters import AbstractConstraint


class GroupImpacts(Shown, eqx.Module):
    """Impacts of groups of nuisance parameters, in units of the POI.

    They are not negative, and NaN for a POI held at a bound, which has no error.

    Attributes:
        traditional: The root of the reduction of the variance in a fit with the group
            held at its best values, shape ``(pois, groups)``.
        auxiliary: The root of the contribution of the auxiliary measurements of the
            group to the variance (the global impact); zero without constraints.
        errors: The errors of the POIs, shape ``(pois,)``.
        pois: Labels of the POIs.
        groups: Names of the groups.
        members: The labels of the parameters of each group.
    """

    traditional: Float[Array, "pois groups"]
    auxiliary: Float[Array, "pois groups"]
    errors: Float[Array, " pois"]
    pois: tuple[str, ...] = eqx.field(static=True)
    groups: tuple[str, ...] = eqx.field(static=True)
    members: tuple[tuple[str, ...], ...] = eqx.field(static=True)

    def _parts(self) -> Sequence[Part]:
        if is_traced(self) or np.ndim(self.traditional) != 2:
            return [f"GroupImpacts({', '.join(self.groups)})"]
        heads = ["group", "members"]
        for poi in self.pois:
            heads += [f"{poi}: traditional", "global"]
        rows = []
        for i, group in enumerate(self.groups):
            row = [group, str(len(self.members[i]))]
            for j in range(len(self.pois)):
                pair = self.traditional[j, i], self.auxiliary[j, i]
                row += alike(pair, float(self.errors[j]), DIGITS)
            rows.append(row)
        return [Table([heads, *rows])]


class SplitErrors(Shown, eqx.Module):
    """Errors divided into a statistical and a systematic part, which add in quadrature.

    Every array has the shape ``(pois,)``.

    Attributes:
        total: The error of the POI.
        statistical: The error in a fit with the systematic parameters held.
        systematic: The difference in quadrature of `total` and `statistical`.
        statistical_global: The difference in quadrature of `total` and
            `systematic_global`: the contribution of all other data, in particular of
            the main data.
        systematic_global: The contribution of the auxiliary data of the systematic
            parameters.
        pois: Labels of the POIs.
        names: Labels of the parameters that count as systematic.
    """

    total: Float[Array, " pois"]
    statistical: Float[Array, " pois"]
    systematic: Float[Array, " pois"]
    statistical_global: Float[Array, " pois"]
    systematic_global: Float[Array, " pois"]
    pois: tuple[str, ...] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)

    def _parts(self) -> Sequence[Part]:
        if is_traced(self) or np.ndim(self.total) != 1:
            return [f"SplitErrors({', '.join(self.pois)})"]
        heads = ("POI", "total", "stat", "syst", "stat (global)", "syst (global)")
        columns = (
            self.total,
            self.statistical,
            self.systematic,
            self.statistical_global,
            self.systematic_global,
        )
        rows = [
            (poi, *alike((c[i] for c in columns), float(self.total[i]), DIGITS))
            for i, poi in enumerate(self.pois)
        ]
        return [Table([heads, *rows])]


@renamed_keywords(pois="poi")
def group_impacts(
    result: FitResult,
    *,
    poi: Key | Collection[Key],
    groups: Mapping[str, Any],
    constraints: Mapping[Key, AbstractConstraint] | None = None,
    covariance: Float[Array, "free free"] | None = None,
    throw: bool = True,
) -> GroupImpacts:
    r"""Return the impacts of groups of nuisance parameters.

    With the covariances :math:`v_G` of a POI with the members of a group, and the
    covariance :math:`C_{GG}` of the members, the traditional impact of the group is
    :math:`\sqrt{v_G C_{GG}^{-1} v_G^\mathsf T}`: the difference in quadrature of the
    errors without and with the group held. Groups may overlap. Traditional impacts do
    not add up to the total in quadrature; the global impacts of disjoint groups and of
    the main data do (arXiv:2307.04007).

    Args:
        result: The best fit.
        poi: Keys or labels of the parameters of interest.
        groups: Keys, labels or patterns such as ``"jes_*"`` of the members, by the name
            of the group. POIs and fixed parameters are left out; the impact of a group
            without a member is zero.
        constraints: As in `rank`.
        covariance: As in `rank`.
        throw: As in `rank`.

    Raises:
        UnknownKeyError: If a name or a pattern matches no parameter.

    Warns:
        UserWarning: If a POI is held at a bound.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.parameters import Normal
        >>> model = ew.Model(
        ...     lambda p, y: 0.5 * ((y - p["mu"] - p["a"] - p["b"]) / 2.0) ** 2,
        ...     {"mu": 0.0, "a": 0.0, "b": 0.0},
        ...     5.0,
        ...     constraints={"a": Normal(0.0, 4.0), "b": Normal(0.0, 3.0)},
        ... )
        >>> out = group_impacts(ew.fit(model), poi="mu", groups={"all": ["a", "b"]})
        >>> print(out.traditional.round(6), out.auxiliary.round(6))
        [[5.]] [[5.]]
    """
    fit = fitted(result, constraints, covariance)
    place = positions(poi, fit, where="poi")
    if not isinstance(groups, Mapping) or not groups:
        raise ArgumentTypeError(
            "groups: expected a mapping from names to parameters, such as {'a': 'a*'}"
        )
    chosen = [
        matching(pattern, fit, where=f"groups[{name!r}]", exclude=place, lenient=True)
        for name, pattern in groups.items()
    ]
    members = np.zeros((len(chosen), len(result.free)), bool)
    for row, here in zip(members, chosen, strict=True):
        row[here] = True
    errors, traditional, auxiliary = _grouped(fit, place, members, throw=throw)
    warn_if_held(fit, place, errors)
    return GroupImpacts(
        traditional=traditional,
        auxiliary=auxiliary,
        errors=errors,
        pois=tuple(result.labels[i] for i in place),
        groups=tuple(groups),
        members=tuple(tuple(result.labels[i] for i in here) for here in chosen),
    )


@renamed_keywords(pois="poi")
def split_errors(
    result: FitResult,
    *,
    poi: Key | Collection[Key],
    systematic: Any = None,
    constraints: Mapping[Key, AbstractConstraint] | None = None,
    covariance: Float[Array, "free free"] | None = None,
    throw: bool = True,
) -> SplitErrors:
    """Split errors into a statistical and a systematic part, by two methods.

    In the *quadrature* method the statistical error is that of a fit with the
    systematic parameters held at their best values. In the *global* method the
    systematic error is the contribution of the fluctuations of their auxiliary
    measurements. The other part is the difference in quadrature. The methods differ if
    the main data constrain a systematic parameter: the global method counts the
    uncertainty of that constraint as statistical (arXiv:2307.04007, section 3).

    Args:
        result: The best fit.
        poi: Keys or labels of the parameters of interest.
        systematic: Keys, labels or patterns; by default all parameters with a
            constraint. POIs are left out.
        constraints: As in `rank`.
        covariance: As in `rank`.
        throw: As in `rank`.

    Raises:
        ArgumentValueError: If no systematic parameter is free.

    Warns:
        UserWarning: If a POI is held at a bound.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.parameters import Normal
        >>> model = ew.Model(
        ...     lambda p, y: 0.5 * ((y - p["mu"] - p["theta"]) / 3.0) ** 2,
        ...     {"mu": 0.0, "theta": 0.0},
        ...     5.0,
        ...     constraints={"theta": Normal(0.0, 4.0)},
        ... )
        >>> split = split_errors(ew.fit(model), poi="mu")
        >>> print(split.total, split.statistical, split.systematic)
        [5.] [3.] [4.]
    """
    fit = fitted(result, constraints, covariance)
    place = positions(poi, fit, where="poi")
    chosen = _systematic(systematic, fit, place)
    members = np.zeros((1, len(result.free)), bool)
    members[0, chosen] = True
    total, held, moved = _grouped(fit, place, members, throw=throw)
    warn_if_held(fit, place, total)
    held, moved = held[:, 0], moved[:, 0]
    return SplitErrors(
        total=total,
        statistical=rest_in_quadrature(total, held),
        systematic=held,
        statistical_global=rest_in_quadrature(total, moved),
        systematic_global=moved,
        pois=tuple(result.labels[i] for i in place),
        names=tuple(result.labels[i] for i in chosen),
    )


def _systematic(patterns: Any, fit: Fitted, poi: np.ndarray) -> np.ndarray:
    if patterns is not None:
        return matching(patterns, fit, where="systematic", exclude=poi)
    known = auxiliary_of(fit)
    constrained = np.isin(fit.free, known.elements)
    constrained[poi] = False
    if not constrained.any():
        raise ArgumentValueError(
            "systematic: no free parameter has a constraint. Name the systematic "
            "parameters, or give the constraints that the likelihood contains."
        )
    return np.nonzero(constrained)[0]


def _grouped(
    fit: Fitted, poi: np.ndarray, members: np.ndarray, *, throw: bool
) -> tuple[Any, Any, Any]:
    """Return the errors of the POIs, and traditional and global impacts of groups."""
    known = auxiliary_of(fit)
    _, vector, others = ravel_state(fit.result.params)

    def impacts(fit: Fitted) -> Any:
        args = (fit.curvature, known, vector, others, fit.free, poi, members)
        return on_host(programs.call(_compiled_groups, *args))

    return computed(fit, impacts, throw=throw)[1]


def _compiled_groups(
    curvature: Any, known: Auxiliary, vector: Any, others: Any, free, poi, members
) -> tuple[Array, Array, Array]:
    covariance = covariance_from(*curvature)
    held = jnp.sqrt(group_variances(covariance, poi, members))
    shifts, _ = shifts_of(covariance[poi], known, vector, others, free)
    inside = jnp.zeros((members.shape[0], known.layout.size), bool)
    inside = inside.at[:, free].set(members)[:, known.elements]
    moved = jnp.sqrt(shifts**2 @ inside.T.astype(shifts.dtype))
    errors = errors_from(covariance)[poi]
    return errors, unless_held(held, errors), unless_held(moved, errors)
