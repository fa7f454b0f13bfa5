"""Functions of pt fitted to responses and resolutions."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

import everwillow as ew
from everwillow._errors import ArgumentValueError, nearest
from everwillow.fitting.run import prepare_task, resolve, solve_task, warn_before_fit
from everwillow.models.scale_smearing.categories import Categories
from everwillow.models.scale_smearing.correction_values import Kind
from everwillow.models.scale_smearing.parameters import SasParameters


HIGHEST = 160.0
"""The pt in GeV above which the functions are constant."""
REFERENCE = 45.0
"""The pt in GeV at which the power is 1."""
FLOOR = 1e-12
"""The least square of a width that errors are divided by."""

FITTED = "fitted"
AT_BOUND = "parameter at bound"
SIMPLER = "simpler function"
NO_NUMBER = "no number"

_BOUNDS: Mapping[Kind, Mapping[str, tuple[float, float]]] = {
    "scale": {"p0": (-0.9, 0.5), "p1": (-5.0, 5.0), "p2": (0.5, 1.5)},
    "smear": {"p0": (1e-3, 0.1), "p1": (-0.05, 0.05)},
}
# A constant shift of the energy is proportional to 1 / pt.
_FIXED_EXPONENT = -1.0
# Where fits may start: -ln L has several minima.
_EXPONENTS = np.arange(-4.75, 5, 0.5)
_CONSTANT_WIDTHS = np.array([0.0015, 0.003, 0.006, 0.01, 0.015, 0.02, 0.03, 0.05])
_STOCHASTIC_WIDTHS = np.array([0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0])


@final
@dataclasses.dataclass(frozen=True)
class Curves:
    """A function of pt for each category of the other variables.

    Attributes:
        kind: What it is: ``"scale"`` is p0 (pt / 45 GeV)^p1 + p2, ``"smear"`` is
            ``sqrt(|p0² + p1 / pt|)``.
        parameters: p0, p1, ..., shape ``(categories, parameters)``; NaN where there is
            no number.
        covariances: Their covariances, shape ``(categories, parameters, parameters)``.
        chi2: The sum of squared deviations over errors, shape ``(categories,)``.
        ndf: The number of bins minus that of parameters.
        status: For each category ``"fitted"``; ``"parameter at bound"``, where errors
            are those without bounds; ``"simpler function"``, where the fit had no
            minimum or too few bins: p1 is -1 for the scale and 0 for the smearing; or
            ``"no number"``.
        lowest: The pt in GeV below which the function is constant.
    """

    kind: Kind
    parameters: Float[np.ndarray, "categories parameters"]
    covariances: Float[np.ndarray, "categories parameters parameters"]
    chi2: Float[np.ndarray, " categories"]
    ndf: tuple[int, ...]
    status: tuple[str, ...]
    lowest: float

    def values(self, category: int, pt: Any) -> Float[np.ndarray, " points"]:
        """Return the function of a category."""
        function = scale_function if self.kind == "scale" else smear_function
        return function(self.parameters[category], self._inside(pt), np)

    def errors(self, category: int, pt: Any) -> Float[np.ndarray, " points"]:
        """Return the error of the function, from the covariance of its parameters."""
        slopes = gradient(self.kind, self.parameters[category], self._inside(pt))
        covariance = self.covariances[category]
        variance = np.einsum("pi,ij,pj->p", slopes, covariance, slopes)
        return np.sqrt(np.maximum(variance, 0))

    def _inside(self, pt: Any) -> np.ndarray:
        return np.clip(np.atleast_1d(np.asarray(pt, float)), self.lowest, HIGHEST)


@final
@dataclasses.dataclass(frozen=True)
class SmoothedParameters:
    """Functions of pt in place of bins of pt.

    Attributes:
        pt: The name of the variable.
        categories: The categories of the other variables; None if there are none.
        scale: The factors of energies in data.
        smear: The relative widths of the smearing of simulation.
    """

    pt: str
    categories: Categories | None
    scale: Curves
    smear: Curves

    def sentences(self) -> tuple[str, ...]:
        """Return a sentence for each category without a good fit of all parameters."""
        found = []
        for curves in (self.scale, self.smear):
            for place, status in enumerate(curves.status):
                label = self.categories.label(place) if self.categories else "all"
                where = f"{curves.kind} in {label}"
                if status != FITTED:
                    found.append(f"{where}: {status}.")
                chi2, ndf = float(curves.chi2[place]), curves.ndf[place]
                # Three standard deviations of a chi2 above its mean.
                if chi2 > ndf + 3 * np.sqrt(2 * max(ndf, 1)):
                    found.append(
                        f"{where}: the function does not describe the points, chi2 "
                        f"{chi2:.1f} for {ndf} degrees of freedom."
                    )
        return tuple(found)


def smooth(
    parameters: SasParameters, *, pt: str = "pt", pt_mean: Any = None
) -> SmoothedParameters:
    """Fit functions of pt to the scale and the smearing of each other category.

    The functions are p0 (pt / 45 GeV)^p1 + p2 and ``sqrt(|p0² + p1 / pt|)``, constant
    above 160 GeV and below the first edge. The errors of the bins are total errors,
    with their correlations if there is a covariance. Where the fit has no minimum, as
    for a constant scale, whose exponent is arbitrary, p1 is fixed: to -1 for the scale,
    to 0 for the smearing. The status says so.

    Args:
        parameters: Responses and resolutions, with bins of pt.
        pt: The name of the variable.
        pt_mean: The mean pt of each bin, if `parameters` does not have it.

    Raises:
        ArgumentValueError: If there are no bins of pt, their means are not known, or
            there are no errors.

    Example:
        >>> from everwillow.models.scale_smearing import parameters_from_json
        >>> parameters = parameters_from_json(
        ...     '{"categories": {"pt": [25, 35, 45, 60, 100, 200]},'
        ...     ' "pt_mean": [30, 40, 50, 75, 120],'
        ...     ' "resp": [1.03, 1.02, 1.015, 1.01, 1.005], "reso": [0.02, 0.018,'
        ...     ' 0.017, 0.016, 0.015], "eresp": [0.001, 0.001, 0.001, 0.001, 0.001],'
        ...     ' "ereso": [0.001, 0.001, 0.001, 0.001, 0.001]}'
        ... )
        >>> smoothed = smooth(parameters)
        >>> smoothed.scale.status, smoothed.scale.ndf
        (('fitted',), (2,))
        >>> float(smoothed.scale.values(0, 40.0)[0])
        0.980...
    """
    names = parameters.categories.names
    if pt not in names:
        raise ArgumentValueError(
            f"parameters: they have no bins of {pt!r}, but of {', '.join(names)}."
            f"{nearest(pt, names)} Smoothing needs bins of the transverse momentum."
        )
    if not np.isfinite(parameters.eresp).any():
        raise ArgumentValueError(
            "parameters: no category has an error of its response, so functions cannot "
            "be fitted. Was a systematic without a number, or were errors switched off?"
        )
    axis = names.index(pt)
    means = _means(parameters, pt_mean, axis)
    edges = parameters.categories.axis(pt)
    lowest = float(edges[0])
    if not (np.isfinite(lowest) and lowest > 0):
        lowest = float(np.nanmin(means))
    places = np.arange(parameters.categories.size).reshape(parameters.categories.shape)
    places = np.moveaxis(places, axis, -1).reshape(-1, len(means))
    others = {
        name: edges
        for name, edges in zip(names, parameters.categories.edges, strict=True)
        if name != pt
    }
    made = {kind: _curves(kind, parameters, places, means, lowest) for kind in _BOUNDS}
    return SmoothedParameters(
        pt,
        Categories.of(others) if others else None,
        scale=made["scale"],
        smear=made["smear"],
    )


def scale_function(p: Any, pt: Any, xp: Any) -> Any:
    """Return the scale, in NumPy or JAX."""
    return p[0] * xp.exp(p[1] * xp.log(pt / REFERENCE)) + p[2]


def smear_function(p: Any, pt: Any, xp: Any) -> Any:
    """Return the width of the smearing, in NumPy or JAX."""
    return xp.sqrt(xp.maximum(xp.abs(p[0] ** 2 + p[1] / pt), FLOOR))


def gradient(
    kind: Kind, p: Float[np.ndarray, " parameters"], pt: Float[np.ndarray, " points"]
) -> Float[np.ndarray, "points parameters"]:
    """Return the derivatives of a function by its parameters."""
    if kind == "scale":
        power = (pt / REFERENCE) ** p[1]
        return np.stack([power, p[0] * power * np.log(pt / REFERENCE), 1 + 0 * pt], -1)
    square = p[0] ** 2 + p[1] / pt
    root = np.sign(square) / np.sqrt(np.maximum(np.abs(square), FLOOR))
    return np.stack([root * p[0], root / (2 * pt)], -1)


@dataclasses.dataclass(frozen=True)
class _Points:
    """Bins of pt of one category: `used` says which have a number.

    The product of `whitening` with deviations has the identity as covariance.
    """

    pt: np.ndarray
    values: np.ndarray
    covariance: np.ndarray
    whitening: np.ndarray
    used: np.ndarray

    @property
    def count(self) -> int:
        return int(np.count_nonzero(self.used))

    def chi2(self, values: np.ndarray) -> float:
        """Return the sum of squared deviations from a function."""
        return float(np.sum((self.whitening @ (self.values - values)) ** 2))


@dataclasses.dataclass(frozen=True)
class _Curve:
    """The result of one category."""

    parameters: np.ndarray
    covariance: np.ndarray
    free: int
    status: str


def _means(parameters: SasParameters, given: Any, axis: int) -> np.ndarray:
    """Return the mean pt of each bin."""
    means = parameters.pt_mean if given is None else given
    if means is None:
        raise ArgumentValueError(
            "parameters: they do not say the mean pt of each bin. Give the means: "
            "{pt_mean}.",
            settings={"pt_mean": ...},
        )
    means = np.asarray(means, float)
    bins = parameters.categories.shape[axis]
    if means.shape != (bins,):
        raise ArgumentValueError(
            f"pt_mean: it has the shape {means.shape}, and there are {bins} bins of pt."
        )
    return means


def _curves(
    kind: Kind,
    parameters: SasParameters,
    places: np.ndarray,
    means: np.ndarray,
    lowest: float,
) -> Curves:
    """Fit the function of all categories; `places` has one row for each of them."""
    points = [_points(kind, parameters, row, means, lowest) for row in places]
    made = [_curve(kind, one) for one in points]
    function = scale_function if kind == "scale" else smear_function
    return Curves(
        kind,
        np.stack([one.parameters for one in made]),
        np.stack([one.covariance for one in made]),
        np.array(
            [
                found.chi2(function(one.parameters, found.pt, np))
                for found, one in zip(points, made, strict=True)
            ]
        ),
        tuple(found.count - one.free for found, one in zip(points, made, strict=True)),
        tuple(one.status for one in made),
        lowest,
    )


def _points(
    kind: Kind,
    parameters: SasParameters,
    row: np.ndarray,
    means: np.ndarray,
    lowest: float,
) -> _Points:
    """Return the bins of one category."""
    resp, size = parameters.resp[row], parameters.categories.size
    if kind == "scale":
        values, slope, shift = 1 / resp, -1 / resp**2, 0
        errors = parameters.eresp[row]
    else:
        values, slope, shift = parameters.reso[row], np.ones(len(row)), size
        upper = parameters.reso_upper[row] - values
        # Of a smearing at zero the error is one-sided.
        errors = np.where(np.isnan(parameters.ereso[row]), upper, parameters.ereso[row])
    covariance = np.diag(errors**2)
    if parameters.covariance is not None:
        block = parameters.covariance[np.ix_(row + shift, row + shift)]
        known = np.isfinite(block)
        covariance = np.where(known, block, covariance)
    covariance = covariance * np.outer(slope, slope)
    variances = np.diagonal(covariance)
    used = np.isfinite(values) & np.isfinite(means) & (variances > 0)
    whitening = np.zeros((len(row), len(row)))
    inside = np.ix_(used, used)
    if used.any():
        whitening[inside] = np.linalg.inv(_root(covariance[inside]))
    return _Points(
        np.where(used, np.clip(means, lowest, HIGHEST), REFERENCE),
        np.where(used, values, 0.0),
        np.where(np.outer(used, used), covariance, 0.0),
        whitening,
        used,
    )


def _root(covariance: np.ndarray) -> np.ndarray:
    """Return the Cholesky factor, with independent errors if there is none."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return np.diag(np.sqrt(np.diagonal(covariance)))


def _residuals(function: Callable[..., Any]) -> ew.LeastSquares:
    def residuals(params: Mapping[str, Any], points: Mapping[str, Any]) -> Any:
        p = [params[name] for name in sorted(params)]
        return points["whitening"] @ (points["values"] - function(p, points["pt"], jnp))

    return ew.LeastSquares(residuals)


# At module level: equal objectives share one compiled program.
_OBJECTIVES: Mapping[Kind, ew.LeastSquares] = {
    "scale": _residuals(scale_function),
    "smear": _residuals(smear_function),
}


def _curve(kind: Kind, points: _Points) -> _Curve:
    """Fit the function of one category, or a simpler one."""
    size = len(_BOUNDS[kind])
    if points.count == 0:
        none = np.full((size, size), np.nan)
        return _Curve(none[0], none, 0, NO_NUMBER)
    if points.count >= size:
        result = _minimum(kind, points)
        at_bound = bool(np.any(result.at_bound))
        found = np.array([float(result.params[key]) for key in sorted(_BOUNDS[kind])])
        if result.success and not at_bound:
            return _Curve(found, np.asarray(result.covariance), size, FITTED)
        # A logarithmic scale or a mostly stochastic width has p0 at its bound.
        if result.success:
            slopes = points.whitening @ gradient(kind, found, points.pt)
            information = slopes.T @ slopes
            if np.linalg.cond(information) < 1e12:
                return _Curve(found, np.linalg.inv(information), size, AT_BOUND)
    return _simpler(kind, points)


def _minimum(kind: Kind, points: _Points) -> ew.FitResult:
    """Fit the function, without the one-sided errors that take another program."""
    arguments = resolve(
        _OBJECTIVES[kind],
        ew.State.from_pytree(_start(kind, points)),
        {"pt": points.pt, "values": points.values, "whitening": points.whitening},
        bounds={key: ew.Interval(*ends) for key, ends in _BOUNDS[kind].items()},
    )
    task, numbers = prepare_task(arguments)
    warn_before_fit(task, numbers)
    return solve_task(task, numbers, {}, throw=False, distances=False)


def _start(kind: Kind, points: _Points) -> dict[str, float]:
    """Return the best of many points, inside of the bounds."""
    if kind == "scale":
        # Linear but for the exponent.
        candidates = [_linear_scale(points, exponent)[0] for exponent in _EXPONENTS]
    else:
        # p1 as the square of a width at the lowest pt, or minus that of the constant.
        low = points.pt.min()
        candidates = [
            np.array([constant, sign * (scale * other) ** 2 * low])
            for constant in _CONSTANT_WIDTHS
            for sign, scale, others in (
                (1, 0.05, _STOCHASTIC_WIDTHS),
                (-1, constant, _STOCHASTIC_WIDTHS[1:-1]),
            )
            for other in others
        ]
    ends = np.array(list(_BOUNDS[kind].values()))
    margin = 0.01 * (ends[:, 1] - ends[:, 0])
    function = scale_function if kind == "scale" else smear_function
    inside = [np.clip(p, ends[:, 0] + margin, ends[:, 1] - margin) for p in candidates]
    best = min(inside, key=lambda p: points.chi2(function(p, points.pt, np)))
    return dict(zip(_BOUNDS[kind], map(float, best), strict=True))


def _linear_scale(points: _Points, exponent: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the scale with a given exponent, and its covariance."""
    power = (points.pt / REFERENCE) ** exponent
    design = np.stack([power, np.ones(len(power))], -1)
    found, covariance = _linear(points, design)
    whole = np.zeros((3, 3))
    whole[np.ix_([0, 2], [0, 2])] = covariance
    return np.array([found[0], exponent, found[1]]), whole


def _linear(points: _Points, design: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the coefficients of a linear function, and their covariance."""
    slopes = points.whitening @ design
    covariance = np.linalg.inv(slopes.T @ slopes)
    return covariance @ slopes.T @ (points.whitening @ points.values), covariance


def _simpler(kind: Kind, points: _Points) -> _Curve:
    """Fit the function with p1 fixed, which is linear: the minimum is exact."""
    if kind == "scale" and points.count > 1:
        return _Curve(*_linear_scale(points, _FIXED_EXPONENT), 2, SIMPLER)
    found, covariance = _linear(points, np.ones((len(points.pt), 1)))
    whole = np.zeros((len(_BOUNDS[kind]),) * 2)
    place = 2 if kind == "scale" else 0
    whole[place, place] = covariance[0, 0]
    fixed = np.zeros(len(whole))
    fixed[place] = found[0]
    return _Curve(fixed, whole, 1, SIMPLER)
