"""Rankings of nuisance parameters, with their impacts, pulls and constraints."""

from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeAlias, Unpack, get_args

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int

from everwillow._errors import ArgumentValueError
from everwillow._html import Part, Table, html_of, text_of
from everwillow._keywords import renamed_keywords
from everwillow._numerics import is_traced, namespace
from everwillow._rounding import alike, noiseless, signed, signed_digits
from everwillow._typing import Key, Nll
from everwillow.engine import programs
from everwillow.engine.layout import on_host, ravel_state
from everwillow.engine.prefit import centers_and_widths, pull
from everwillow.fitting import FitResult
from everwillow.fitting.options import RefitOptions, takes_options
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
    responses,
)
from everwillow.impacts.refits import RefitImpacts, posed, refit_parameters
from everwillow.model import AbstractModel
from everwillow.parameters import AbstractConstraint


Refit: TypeAlias = Literal["postfit", "prefit"]


class RankingResult(eqx.Module):
    """Impacts of nuisance parameters on parameters of interest (POIs).

    Impacts are signed shifts of the POI in its own units, shape ``(pois, names)``, for
    a shift of the nuisance parameter upwards; to first order a shift downwards gives
    the opposite. They are NaN for a parameter held at a bound, which has no post-fit
    error, for pre-fit impacts of one without a constraint, and for a POI held at a
    bound, which does not move to first order. Fits move them: see `postfit_refits` and
    `remarks`.

    Attributes:
        postfit: The impacts for a shift by the post-fit error: traditional impacts.
        prefit: The impacts for a shift by the width of the constraint.
        values: Best-fit values of the nuisance parameters, shape ``(names,)``.
        errors: Their post-fit errors; NaN for those held at a bound.
        centers: The values that their constraints prefer.
        widths: The widths of their constraints.
        poi_values: Best-fit values of the POIs, shape ``(pois,)``.
        poi_errors: Their post-fit errors.
        postfit_refits: The impacts of `postfit` from fits; None without any. A
            parameter held at a bound moves into its range by its one-sided error.
        prefit_refits: The impacts of `prefit` from fits; None without `refit`.
        pois: Labels of the POIs.
        names: Labels of the nuisance parameters.
    """

    postfit: Float[Array, "pois names"]
    prefit: Float[Array, "pois names"]
    values: Float[Array, " names"]
    errors: Float[Array, " names"]
    centers: Float[Array, " names"]
    widths: Float[Array, " names"]
    poi_values: Float[Array, " pois"]
    poi_errors: Float[Array, " pois"]
    postfit_refits: RefitImpacts | None
    prefit_refits: RefitImpacts | None
    pois: tuple[str, ...] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)

    @property
    def pulls(self) -> Float[Array, " names"]:
        """Return (value - nominal) / pre-fit width, NaN without a constraint."""
        return pull(self.values, self.centers, self.widths)

    @property
    def constraints(self) -> Float[Array, " names"]:
        """Return post-fit error / pre-fit width, NaN without a constraint."""
        return self.errors / self.widths

    @property
    def order(self) -> Int[Array, "pois names"]:
        """Positions of the names by decreasing size of the post-fit impact, NaN last.

        An impact that is NaN is replaced by the larger one of the two refits.
        """
        xp = namespace(self)
        size = xp.abs(self.postfit)
        if self.postfit_refits is not None:
            both = xp.abs(self.postfit_refits.shifts)
            larger = xp.where(xp.isnan(both), -1.0, both).max(axis=-3)
            size = xp.where(xp.isnan(size), larger, size)
        return xp.argsort(xp.where(size >= 0, -size, xp.inf), axis=-1)

    def __repr__(self) -> str:
        """Return a table for each POI, the largest impacts first."""
        if is_traced(self) or np.ndim(self.postfit) != 2:
            return f"RankingResult({', '.join(self.pois)}; {len(self.names)} names)"
        tables = [text_of(self._parts(i)) for i in range(len(self.pois))]
        return "\n\n".join(tables)

    def _repr_html_(self) -> str:
        """Return the same for notebooks."""
        if is_traced(self) or np.ndim(self.postfit) != 2:
            return html_of([repr(self)])
        places = range(len(self.pois))
        return html_of([part for i in places for part in self._parts(i)])

    def _parts(self, poi: int) -> list[Part]:
        columns = [("pull", self.pulls), ("constraint", self.constraints)]
        columns += [("post-fit", self.postfit[poi])]
        if self.postfit_refits is not None:
            columns += [
                ("refit up", self.postfit_refits.up[poi]),
                ("refit down", self.postfit_refits.down[poi]),
            ]
        columns += [("pre-fit", self.prefit[poi])]
        if self.prefit_refits is not None:
            columns += [
                ("refit up", self.prefit_refits.up[poi]),
                ("refit down", self.prefit_refits.down[poi]),
            ]
        value, error = float(self.poi_values[poi]), float(self.poi_errors[poi])
        rows = [
            (
                self.names[i],
                *(_text(column[i], head, error) for head, column in columns),
            )
            for i in self.order[poi][:SHOWN]
        ]
        more = len(self.names) - SHOWN
        texts = alike([value, error], error, DIGITS)
        head = f"impacts on {self.pois[poi]} = {texts[0]}"
        head += NO_ERROR if np.isnan(error) else f" +- {texts[1]}"
        table = Table([("name", *(name for name, _ in columns)), *rows])
        hidden = [f"... and {more} more"] if more > 0 else []
        return [head, table, *hidden, *self.remarks(poi)]

    def remarks(self, poi: int = 0) -> tuple[str, ...]:
        """Return sentences on numbers that are missing for a POI, by its position."""
        names = np.asarray(self.names)
        held = names[np.isnan(np.asarray(self.errors))].tolist()
        is_held = bool(np.isnan(self.poi_errors[poi]))
        exact = self.postfit_refits
        sentences = []
        if is_held:
            how = "there are no impacts" if exact is None else "impacts are from fits"
            sentences.append(
                f"{self.pois[poi]} is held at its bound, and nothing moves it to first "
                f"order: {how}."
            )
        if held and exact is None:
            sentences.append(
                f"{', '.join(held)}: held at a bound, without an error and an impact."
            )
        elif held:
            sentences.append(
                f"{', '.join(held)}: held at a bound, and moved by its one-sided error "
                "into its range only."
            )
        if exact is not None:
            failed = ~np.asarray(exact.success) & np.asarray(exact.inside)
            wrong = names[failed.any(axis=0)].tolist()
            if wrong:
                sentences.append(f"{', '.join(wrong)}: a fit failed.")
        return tuple(sentences)


# Number of rows of a ranking that are shown.
SHOWN = 20

# Text in place of the error of a POI without one.
NO_ERROR = ", which has no error: it is held at a bound, or the fit has no covariance"

# The signs of shifts down and up.
SIDES = np.array([[-1.0], [1.0]])


def _text(value: Any, head: str, error: float) -> str:
    if np.isnan(value):
        return ""
    if head == "constraint":
        return f"{float(value):.3f}"
    if head == "pull":
        return signed(float(value), 3)
    return signed_digits(noiseless(float(value), error))


@renamed_keywords(pois="poi", nuisances="names")
@takes_options(RefitOptions)
def rank(
    nll_fn: Nll | AbstractModel,
    result: FitResult,
    observation: Any = None,
    *,
    poi: Key | Collection[Key],
    names: Any = "*",
    constraints: Mapping[Key, AbstractConstraint] | None = None,
    covariance: Float[Array, "free free"] | None = None,
    refit: Refit | Collection[Refit] | None = None,
    batch_size: int | None = None,
    throw: bool = True,
    **options: Unpack[RefitOptions],
) -> RankingResult:
    r"""Rank nuisance parameters by their impact on parameters of interest.

    The *traditional* impact of the nuisance parameter k on the POI i is the shift of
    the POI in a fit with k held one post-fit error above its best value; the *pre-fit*
    impact is the same for the width of its constraint. To first order they are, with
    the covariance C,

    .. math:: \frac{C_{ik}}{\sqrt{C_{kk}}} \quad\text{and}\quad
              \frac{C_{ik}}{C_{kk}} w_k .

    Squares of traditional impacts do *not* add up to the variance of the POI when
    nuisance parameters are correlated after the fit; those of `global_impacts` do
    (arXiv:2307.04007, section 2).

    They are computed from the covariance of the fit alone. With `refit` they are
    computed by fits, too, two for each parameter, each of which starts at its end as
    predicted by the covariance. The record has both. The covariance says nothing if a
    POI or a nuisance parameter is held at a bound: post-fit impacts are then found by
    fits without being asked for.

    Args:
        nll_fn: The fitted likelihood; needed for `refit` only, like `observation`.
        result: Its best fit.
        observation: Second argument of `nll_fn`; None for the data of a Model.
        poi: Keys or labels of the parameters of interest.
        names: Keys, labels or patterns such as ``"jes_*"``; POIs are left out.
        constraints: The constraints by key; those of the Model by default. Pulls need
            them for a plain function, whose constraints are not known.
        covariance: The covariance of the free parameters, in place of that of the fit.
        refit: ``"postfit"``, ``"prefit"`` or both: the impacts to compute by fits; an
            empty tuple for none. None is ``"postfit"`` if a parameter is held at a
            bound, and none otherwise, inside JAX transformations, and for a plain
            function without `bounds`.
        batch_size: The number of fits that run at once; by default 1 on a CPU and 64 on
            an accelerator.
        throw: Whether to raise an error if the fit has no covariance. If False, and
            always inside JAX transformations, all impacts are NaN then.
        **options: `RefitOptions`: `bounds`, needed where `nll_fn` is a plain function;
            `solver` and `max_steps`.

    Returns:
        `RankingResult`; a refit that fails is NaN in it, with its status.

    Raises:
        UnknownKeyError: If a name or a pattern matches no parameter.
        ArgumentValueError: If a POI was fixed in the fit.
        NotPositiveDefiniteError: If the fit has no covariance.

    Warns:
        UserWarning: If a POI is held at a bound, and nothing is fitted.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.parameters import Normal
        >>> model = ew.Model(
        ...     lambda p, y: 0.5 * ((y - p["mu"] - p["theta"]) / 3.0) ** 2,
        ...     {"mu": 0.0, "theta": 0.0},
        ...     5.0,
        ...     constraints={"theta": Normal(0.0, 4.0)},
        ... )
        >>> ranking = rank(model, ew.fit(model), poi="mu")
        >>> print(ranking.postfit.round(6), ranking.poi_errors.round(6))
        [[-4.]] [5.]
    """
    fit = fitted(result, constraints, covariance)
    place = positions(poi, fit, where="poi")
    nuisance = matching(names, fit, where="names", exclude=place)
    center, width = (
        vector[fit.free[nuisance]]
        for vector in centers_and_widths(fit.constraints, fit.layout)
    )
    shifts = lambda fit: on_host(
        programs.call(_compiled_shifts, fit.curvature, place, nuisance, width)
    )
    fit, (spread, errors, postfit, prefit) = computed(fit, shifts, throw=throw)
    if refit is None:
        known = isinstance(nll_fn, AbstractModel) or options.get("bounds") is not None
        held = known and _any_held(fit, errors, np.concatenate([place, nuisance]))
        refit = ("postfit",) if held else ()
    kinds = _checked_kinds(refit)
    values = ravel_state(result.params)[1][fit.free]
    refits: dict[str, RefitImpacts | None] = {"postfit": None, "prefit": None}
    if not kinds:
        cure = ", or move the others by fits, refit='postfit'"
        warn_if_held(fit, place, errors[place], cure=cure, stacklevel=5)
    else:
        problem, setting = posed(nll_fn, fit, observation, **options)
        for kind in kinds:
            size = _moves(fit, errors)[nuisance] if kind == "postfit" else width
            targets = values[nuisance][None] + SIDES * size[None]
            refits[kind] = refit_parameters(
                problem, setting, spread, place, nuisance, targets, batch_size
            )
    labels = result.labels
    return RankingResult(
        postfit=postfit,
        prefit=prefit,
        values=values[nuisance],
        errors=errors[nuisance],
        centers=center,
        widths=width,
        poi_values=values[place],
        poi_errors=errors[place],
        postfit_refits=refits["postfit"],
        prefit_refits=refits["prefit"],
        pois=tuple(labels[i] for i in place),
        names=tuple(labels[i] for i in nuisance),
    )


def _any_held(fit: Fitted, errors: Any, places: np.ndarray) -> bool:
    """Return whether a parameter is held at a bound, outside of a trace."""
    if is_traced(errors, fit.result.at_bound, fit.result.success):
        return False
    held = np.asarray(fit.result.at_bound) & np.isnan(np.asarray(errors))
    return bool(fit.result.success) and bool(held[places].any())


def _moves(fit: Fitted, errors: Any) -> Any:
    """Return the post-fit errors, at a bound the one-sided ones."""
    sides = fit.result.bound_errors
    if sides is None:
        return errors
    xp = namespace(errors, sides)
    return xp.where(xp.isnan(errors) & xp.asarray(fit.result.at_bound), sides, errors)


def _checked_kinds(refit: Any) -> tuple[str, ...]:
    kinds = (refit,) if isinstance(refit, str) else tuple(refit)
    for kind in kinds:
        if kind not in get_args(Refit):
            raise ArgumentValueError(
                f"refit: expected 'postfit', 'prefit' or both, got {kind!r}."
            )
    return kinds


def _compiled_shifts(curvature: Any, poi: Any, nuisance: Any, width: Any) -> Any:
    covariance = covariance_from(*curvature)
    errors = errors_from(covariance)
    slope = responses(covariance, poi, nuisance)
    postfit = slope * errors[nuisance][None, :]
    return covariance, errors, postfit, slope * width[None, :]


__all__ = ["RankingResult", "Refit", "rank"]
