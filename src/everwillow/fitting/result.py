"""The result of a fit."""

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

import equinox as eqx
import jax
import numpy as np
import optimistix as optx
from jaxtyping import Bool, Float, Int

from everwillow._derivatives import DIFFERENCES, EXACT, NONE
from everwillow._errors import RESULTS, FitError
from everwillow._html import Part, Table, html_of, text_of
from everwillow._numerics import is_traced, namespace
from everwillow._rounding import edm_text, nll_text, plain, signed, with_error
from everwillow._typing import Key
from everwillow.engine.covariance import covariance_of, flat_labels, one_sided
from everwillow.engine.layout import Layout, ravel_state
from everwillow.engine.prefit import centers_and_widths, pull
from everwillow.statelib import State
from everwillow.statelib.state import as_state


# In a call outside of any JAX transformation, results live on the host.
Values: TypeAlias = jax.Array | np.ndarray


# Largest number of parameters that a message names.
MOST_NAMES = 12


_REMARKS = {
    DIFFERENCES: " The Hessian is from differences of gradients.",
    NONE: " The likelihood has no derivatives, so there are no errors.",
}


# The value of all fields that were not given.
_NOT_COMPUTED = cast(Any, None)


class FitResult(eqx.Module):
    """The result of a fit: a pytree of values, with the structure that names them.

    Vectors and matrices go over the fitted parameters, array leaves ravelled, in State
    order; `labels` names their rows. ``hessian`` is that of -ln L, so its inverse is
    the covariance matrix, without any factor 2.

    A result can be made from `params`, `nll`, `success` and `solver_result` alone; all
    else is then not computed.

    Attributes:
        params: Best-fit values in the structure of the start values; fixed entries
            keep the values they were fixed at.
        nll: -ln L at the minimum.
        success: Whether this is a minimum, with a positive definite Hessian.
        status: The status code; ``RESULTS[result.status]`` is its sentence.
        edm: Estimated distance to the minimum, in units of -ln L.
        num_steps: Number of evaluations of our solvers, of steps of others.
        gradient: Gradient of -ln L at the end, shape ``(free,)``.
        hessian: Hessian of -ln L at the end, shape ``(free, free)``; None if it was not
            computed (`NewtonCG` beyond 1000 parameters, or 5000 where it is cheap), or
            the likelihood has no derivatives.
        at_bound: Which parameters are held at a bound, shape ``(free,)``.
        newton: The Newton step at the end, shape ``(free,)``; after `RESULTS.kink` the
            step across the kink, in the parameters in which the slope jumps.
        solver_result: The result of the solver itself; None if no parameter was free.
        constraints: Constraints of the model, for pulls; empty for a plain function.
        free: The positions of the fitted parameters among all.
        layout: The structure of the parameters.
        bound_distances: The `bound_errors` that are computed from the likelihood
            itself, NaN elsewhere; None if all are those of the quadratic model.
        remark: A remark on bins whose expected count is not positive; may be empty.
        derivatives: The source of the Hessian: ``"exact"``; ``"finite differences"`` of
            gradients, where JAX refuses to differentiate the likelihood twice; or
            ``"none"``, where it has no derivatives, hence no covariance.
    """

    params: State
    nll: Float[Values, ""]
    success: Bool[Values, ""]
    status: RESULTS = _NOT_COMPUTED
    edm: Float[Values, ""] = _NOT_COMPUTED
    num_steps: Int[Values, ""] = _NOT_COMPUTED
    gradient: Float[Values, " free"] = _NOT_COMPUTED
    hessian: Float[Values, "free free"] | None = None
    at_bound: Bool[Values, " free"] = _NOT_COMPUTED
    newton: Float[Values, " free"] = _NOT_COMPUTED
    solver_result: optx.Solution | None = None
    constraints: Mapping[Key, Any] = eqx.field(default_factory=dict)
    free: tuple[int, ...] = eqx.field(static=True, default=())
    layout: Layout = eqx.field(static=True, default=_NOT_COMPUTED)
    bound_distances: Float[Values, " free"] | None = None
    remark: str = eqx.field(static=True, default="")
    derivatives: str = eqx.field(static=True, default=EXACT)

    def __post_init__(self) -> None:
        """Find the structure of the parameters where it is not given: all are free."""
        if self.layout is None:
            self.layout, _, _ = ravel_state(as_state(self.params))
            self.free = tuple(range(self.layout.size))

    @classmethod
    def of(cls, **fields: Any) -> "FitResult":
        """Make a result from all its fields.

        This does the same as calling the class, without the checks of
        `equinox.Module`, which take as long as a small fit.
        """
        result = object.__new__(cls)
        fields.setdefault("remark", "")
        fields.setdefault("derivatives", EXACT)
        for name in cls.__dataclass_fields__:
            object.__setattr__(result, name, fields.pop(name))
        if fields:
            raise TypeError(f"FitResult has no fields {sorted(fields)}.")
        return result

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the fitted parameters, ``"gamma[3]"`` for array elements."""
        labels = self.layout.labels
        return tuple(labels[i] for i in self.free)

    @property
    def covariance(self) -> Float[Values, "free free"] | None:
        """The inverse Hessian, with zeros for parameters held at a bound.

        All NaN where the fit did not end at a minimum, or the Hessian of the others is
        not positive definite; None where there is no Hessian.
        """
        if self.hessian is None:
            return None
        covariance = covariance_of(self.hessian, self.at_bound)
        xp = namespace(covariance, self.success)
        good = xp.asarray(self.success)[..., None, None]
        return xp.where(good, covariance, xp.nan)

    @property
    def errors(self) -> State | None:
        """The standard error of each parameter, in the structure of the State.

        Roots of the diagonal of the covariance; None if fixed, NaN at a bound
        (see `bound_errors`) and everywhere if there is no minimum. None altogether
        where there is no covariance. Use `everwillow.uncertainties` for an exception
        instead of NaN, or for another kind of information.
        """
        covariance = self.covariance
        if covariance is None:
            return None
        xp = namespace(covariance)
        variance = xp.diagonal(covariance, axis1=-2, axis2=-1)
        good = variance > 0
        root = xp.sqrt(xp.where(good, variance, 1))
        return self.layout.named(xp.where(good, root, xp.nan), self.free)

    @property
    def bound_errors(self) -> Float[Values, " free"] | None:
        r"""One-sided errors of parameters held at a bound, NaN for the others.

        The distance :math:`\delta` into the range at which -ln L, minimised over all
        other parameters, has risen by ½, as `everwillow.profile.minos` finds it; the
        width of the range if it rises by less within it.

        `fit` computes it from the likelihood. Where this search fails, and in fits that
        are parts of other inferences, it is the distance in the quadratic model:
        :math:`|g| \delta + \frac12 S \delta^2 = \frac12` with the Schur complement
        :math:`S = H_{ii} - H_{if} H_{ff}^{-1} H_{fi}` of the parameters f that are not
        at a bound.
        """
        if self.hessian is None:
            return None
        model = one_sided(self.gradient, self.hessian, self.at_bound)
        known = self.bound_distances
        if known is None:
            return model
        xp = namespace(known, model)
        return xp.where(xp.isnan(known), model, known)

    def message(self) -> str:
        """Return a sentence on how the fit ended, naming the parameters concerned."""
        if np.ndim(self.success):
            good = int(np.sum(self.success))
            return f"{good} of {np.size(self.success)} fits ended at a minimum."
        if self.status is None:
            return "Minimum found." if bool(self.success) else "No minimum found."
        if self.solver_result is None and bool(self.success):
            return "Every parameter is fixed: evaluated, not fitted."
        steps = int(self.num_steps)
        count = f"{steps} step{'' if steps == 1 else 's'}"
        remark = f" {self.remark}" if self.remark else ""
        if bool(self.success):
            text = f"Minimum found after {count}, {edm_text(float(self.edm))}."
            if np.any(self.at_bound):
                text += _named(self.labels, self.at_bound, "At a bound")
            return text + remark + _REMARKS.get(self.derivatives, "")
        text = RESULTS[self.status]
        if bool(self.status == RESULTS.flat_direction):
            names = flat_labels(self.hessian, self.newton, self.at_bound, self.labels)
            text += _named(tuple(names), np.ones(len(names), bool))
            text += " Fix one of them, constrain it, or combine them into one."
        elif bool(self.status == RESULTS.nonfinite_start):
            text += f" Start values: {self.params}. -ln L = {_short(self.nll)}."
            (places,) = np.nonzero(~np.isfinite(np.asarray(self.gradient)))
            wrong = [self.labels[i] for i in places]
            if wrong:
                text += f" The gradient is not finite in {', '.join(wrong[:10])}."
        elif bool(self.status == RESULTS.kink):
            text += _named(self.labels, np.asarray(self.newton) != 0)
        elif bool(self.status == RESULTS.no_limit):
            text += _named(self.labels, self.at_bound)
        elif bool(self.status == RESULTS.nonlinear_max_steps_reached):
            text = (
                f"No minimum within max_steps={steps} steps; the EDM is still "
                f"{_short(self.edm)}. Give more steps, or start closer; where -ln L "
                "keeps falling as parameters grow, there is no minimum: bound them."
            )
        else:
            text += f" {edm_text(float(self.edm))} after {count}."
        return text + remark

    def check(self) -> "FitResult":
        """Return the result itself, or raise `FitError` if it is no minimum."""
        if bool(np.all(np.asarray(self.success))):
            return self
        raise FitError(self.message(), result=self)

    def __repr__(self) -> str:
        """Return a table of the parameters and how the fit ended."""
        return text_of(self._parts())

    def _repr_html_(self) -> str:
        """Return the same for notebooks."""
        return html_of(self._parts())

    def _parts(self) -> list[Part]:
        names = ", ".join(map(str, self.params))
        if is_traced(self):
            return [f"FitResult({names}; traced)"]
        if np.ndim(self.nll):
            return [f"FitResult({names}; {self.message()})"]
        return [_table(self), f"-ln L = {nll_text(float(self.nll))}", self.message()]


def _named(
    labels: tuple[str, ...], which: Any, title: str = "Parameters concerned"
) -> str:
    """Return a sentence with the names of some parameters."""
    names = [labels[i] for i in np.nonzero(np.asarray(which))[0]]
    more = f" and {len(names) - MOST_NAMES} more" if names[MOST_NAMES:] else ""
    return f" {title}: {', '.join(names[:MOST_NAMES])}{more}."


def _short(value: Any) -> str:
    # Adding zero turns -0 into 0.
    return f"{float(value) + 0.0:.3g}"


def _table(result: FitResult) -> Table:
    """Return rows of name, value, error and pull."""
    values = np.concatenate(
        [np.ravel(v) for v in result.params.values() if np.asarray(v).dtype.kind == "f"]
        or [np.zeros(0)]
    )
    shown = dict(zip(result.layout.labels, (plain(v, 6) for v in values), strict=True))
    errors: dict[str, str] = {}
    covariance, sides = result.covariance, result.bound_errors
    labels = result.labels
    absent = "not computed" if bool(result.success) else "no minimum"
    if covariance is not None and sides is not None and bool(result.success):
        for i, name in enumerate(labels):
            if result.at_bound[i]:
                errors[name] = f"{float(sides[i]):.4g} (at bound)"
            else:
                value = values[result.free[i]]
                error = float(np.sqrt(covariance[i, i]))
                shown[name], errors[name] = with_error(value, error)
    pulls = _pulls(result, values)
    rows = [
        (
            name,
            shown[name],
            errors.get(name, absent if name in labels else "fixed"),
            pulls.get(name, ""),
        )
        for name in result.layout.labels
    ]
    heads = ("parameter", "value", "error", "pull")
    if not pulls:
        rows, heads = [row[:3] for row in rows], heads[:3]
    return Table([heads, *rows])


def _pulls(result: FitResult, values: np.ndarray) -> dict[str, str]:
    """Return (value - center) / width of the constrained parameters, by label."""
    centers, widths = centers_and_widths(result.constraints, result.layout)
    pulls = pull(values, centers, widths)
    return {
        label: signed(one, 3)
        for label, one, width in zip(result.layout.labels, pulls, widths, strict=True)
        if not np.isnan(width)
    }
