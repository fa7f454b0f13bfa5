"""The error of a result by source, as it is published."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import ArgumentValueError, ConflictError
from everwillow._html import Part, Shown, Table
from everwillow._numerics import is_traced
from everwillow._rounding import alike
from everwillow._typing import Key
from everwillow.engine.layout import ravel_state
from everwillow.fitting import FitResult
from everwillow.impacts._auxiliary_fluctuations import auxiliary_of
from everwillow.impacts.best_fit import (
    Fitted,
    chosen_poi,
    fitted,
    held_is_known,
    matching,
    only_position,
)
from everwillow.impacts.definitions import rest_in_quadrature, sum_in_quadrature
from everwillow.impacts.groups import group_impacts
from everwillow.impacts.statistics import statistical_impacts
from everwillow.model import AbstractModel


STATISTICAL, SIMULATION = "statistical", "simulation"
REST, TOTAL = "other", "total"


class Breakdown(Shown, eqx.Module):
    """The value of a parameter of interest, and the parts of its error.

    The parts add up to the total in quadrature.

    Attributes:
        value: The best value.
        parts: The part of the error from each source, shape ``(sources,)``.
        total: The error.
        sources: ``"statistical"``, ``"simulation"`` if the Model profiles the
            statistics of its simulated samples, the groups, and ``"other"`` for
            constrained parameters in no group.
        poi: Label of the parameter of interest.
    """

    value: Float[Array, ""]
    parts: Float[Array, " sources"]
    total: Float[Array, ""]
    sources: tuple[str, ...] = eqx.field(static=True)
    poi: str = eqx.field(static=True)

    @property
    def by_source(self) -> dict[str, Any]:
        """The parts of the error by source."""
        return dict(zip(self.sources, self.parts, strict=True))

    @property
    def statistical(self) -> Float[Array, ""]:
        """The part of the main data."""
        return self.parts[0]

    @property
    def systematic(self) -> Float[Array, ""]:
        """All other parts in quadrature."""
        return rest_in_quadrature(self.total, self.statistical)

    def markdown(self, *, name: str | None = None, unit: str = "") -> str:
        """Return a table in Markdown, with all numbers rounded alike.

        Args:
            name: The name of the parameter of interest; its label by default.
            unit: The unit of the numbers.
        """
        head, *rows = self._rows(name or self.poi, unit)
        lines = [head, ("---", "---:"), *rows]
        return "\n".join(f"| {left} | {right} |" for left, right in lines)

    def latex(self, *, name: str | None = None, unit: str = "") -> str:
        r"""Return a `tabular` for LaTeX, with all numbers rounded alike.

        Args:
            name: LaTeX of the parameter of interest, such as ``r"$m_t$"``; its label
                by default.
            unit: The unit of the numbers.
        """
        rows = [
            (left, re.sub(r"e([+-]\d+)$", _power, right))
            for left, right in self._rows(name or _escaped(self.poi), unit)
        ]
        cells = [(_escaped(left), right) for left, right in rows[1:-1]]
        body = [f"{left} & ${right}$ \\\\" for left, right in cells]
        return "\n".join(
            [
                r"\begin{tabular}{lr}",
                r"\hline",
                f"{rows[0][0]} & ${rows[0][1]}$ \\\\",
                r"\hline",
                *body,
                r"\hline",
                f"{rows[-1][0]} & ${rows[-1][1]}$ \\\\",
                r"\hline",
                r"\end{tabular}",
            ]
        )

    def _parts(self) -> Sequence[Part]:
        if is_traced(self) or np.ndim(self.total):
            return [f"Breakdown({self.poi}; {', '.join(self.sources)})"]
        return [Table(self._rows(self.poi, ""))]

    def _rows(self, name: str, unit: str) -> list[tuple[str, str]]:
        """Return value, parts and total, rounded to two digits of the total."""
        head = f"{name} [{unit}]" if unit else name
        numbers = (self.value, *self.parts, self.total)
        texts = alike(map(float, numbers), float(self.total))
        return list(zip((head, *self.sources, TOTAL), texts, strict=True))


def breakdown(
    model: AbstractModel,
    result: FitResult,
    observation: Any = None,
    *,
    poi: Key | None = None,
    groups: Mapping[str, Any] | None = None,
    covariance: Float[Array, "free free"] | None = None,
    throw: bool = True,
) -> Breakdown:
    """Return the error of a result by source: statistical, groups of nuisances, total.

    A part is the contribution of the fluctuations of its measurements (global impacts,
    arXiv:2307.04007): of the auxiliary measurements of a group, of simulated samples,
    and for the statistical part of the main data. For Gaussian measurements these are
    the parts that a BLUE combination quotes. They add up to the total in quadrature.
    Parameters without a constraint are part of the statistical error, since the main
    data alone determine them.

    Args:
        model: The Model that was fitted, such as a combination.
        result: Its best fit.
        observation: The fitted data; None for the data of the Model.
        poi: Key or label of the parameter of interest; None for that of the Model.
        groups: Keys, labels or patterns such as ``"jes_*"`` of the members, by the name
            of the group. By default every constrained parameter is a group.
        covariance: As in `rank`.
        throw: As in `rank`.

    Raises:
        ArgumentValueError: If a group has the name of another part.
        ConflictError: If a parameter is in two groups.
        UnknownKeyError: If a name or a pattern matches no parameter.

    Warns:
        UserWarning: If the parameter of interest is held at a bound: all parts are NaN.

    Example:
        >>> import everwillow as ew
        >>> def measured(mass, error):
        ...     nll = lambda p, y: 0.5 * ((y - p["mass"] - p["jes"]) / error) ** 2
        ...     start, jes = {"mass": 170.0, "jes": 0.0}, {"jes": ew.Normal(0.0, 0.6)}
        ...     return ew.Model(nll, start, mass, constraints=jes)
        >>> both = ew.combine({"A": measured(172.0, 1.0), "B": measured(174.0, 2.0)})
        >>> parts = breakdown(both, ew.fit(both), poi="mass", groups={"JES": "jes"})
        >>> parts
        mass         172.4
        statistical  0.9
        JES          0.6
        total        1.1
        >>> print(parts.markdown(unit="GeV"))
        | mass [GeV] | 172.4 |
        | --- | ---: |
        | statistical | 0.9 |
        | JES | 0.6 |
        | total | 1.1 |
    """
    fit = fitted(result, None, covariance)
    place = only_position(chosen_poi(model, poi), fit)
    label, options = result.labels[place[0]], {"covariance": covariance, "throw": throw}
    chosen = _disjoint_groups(fit, place, groups)
    found = group_impacts(result, poi=label, groups=chosen, **options)
    total = found.errors[0]
    moved = dict(zip(found.groups, found.auxiliary[0], strict=True))
    if not chosen[REST]:
        del moved[REST]
    names, parts = [*moved], [*moved.values()]
    diagnostics = getattr(model, "diagnostics", None)
    if diagnostics is not None and diagnostics.simulated:
        with held_is_known():
            split = statistical_impacts(
                model, result, observation, poi=label, **options
            )
        names, parts = [SIMULATION, *names], [split.simulation_global[0], *parts]
    xp: Any = jax.numpy if is_traced(total, *parts) else np
    others = xp.stack([*parts, xp.zeros_like(total)])
    statistical = rest_in_quadrature(total, sum_in_quadrature(others[None])[0])
    value = ravel_state(result.params)[1][fit.free[place[0]]]
    return Breakdown(
        value=value,
        parts=xp.stack([statistical, *parts]),
        total=total,
        sources=(STATISTICAL, *names),
        poi=label,
    )


def _disjoint_groups(
    fit: Fitted, poi: np.ndarray, groups: Mapping[str, Any] | None
) -> dict[str, list[str]]:
    """Return the labels of the members of each group, and of all other nuisances.

    Raises:
        ArgumentValueError: If a group has the name of another part.
        ConflictError: If a parameter is in two groups.
    """
    labels, free = np.asarray(fit.result.labels), fit.free
    constrained = np.isin(free, auxiliary_of(fit).elements)
    constrained[poi] = False
    if groups is None:
        groups = {label: [label] for label in labels[constrained].tolist()}
    owner: dict[int, str] = {}
    chosen: dict[str, list[str]] = {}
    for name, patterns in groups.items():
        if name in (STATISTICAL, SIMULATION, REST, TOTAL):
            raise ArgumentValueError(
                f"groups: {name!r} is the name of another part; rename the group."
            )
        where = f"groups[{name!r}]"
        here = matching(patterns, fit, where=where, exclude=poi, lenient=True).tolist()
        for i in here:
            if owner.setdefault(i, name) != name:
                raise ConflictError(
                    f"groups: {labels[i]} is in {owner[i]!r} and in {name!r}, so the "
                    "parts would not add up to the error. Name it in one group."
                )
        chosen[name] = labels[here].tolist()
    rest = constrained & ~np.isin(np.arange(len(free)), list(owner))
    return {**chosen, REST: labels[rest].tolist()}


_LATEX = str.maketrans({letter: f"\\{letter}" for letter in "_%&#$"})


def _escaped(text: str) -> str:
    return text.translate(_LATEX)


def _power(found: re.Match[str]) -> str:
    return rf" \times 10^{{{int(found[1])}}}"
