"""Nonlinear regression with certified answers: the 27 NIST StRD datasets.

NIST/ITL Statistical Reference Datasets, "Nonlinear Regression",
https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml: data, two starts (the first
far, the second near), and least-squares answers certified to eleven digits. The
numbers are in ``nist_strd.json``, with their origin; the models are here.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


Points = jax.Array | np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """One dataset, its model and the certified fit.

    ``y`` is the response that the model describes (for Nelson the logarithm of the
    published one) and ``x`` the predictor, with shape ``(points,)``, or
    ``(2, points)`` for Nelson. ``certified_sd`` are the standard deviations of
    linear regression at the minimum, ``residual_sd`` times the root of the diagonal
    of ``inv(J.T @ J)``, and ``residual_sd = sqrt(rss / dof)``. ``difficulty`` is
    NIST's opinion: ``"lower"``, ``"average"`` or ``"higher"``.
    """

    name: str
    model: Callable[[jax.Array, Points], jax.Array]
    x: np.ndarray
    y: np.ndarray
    starts: tuple[np.ndarray, np.ndarray]
    certified: np.ndarray
    certified_sd: np.ndarray
    rss: float
    residual_sd: float
    dof: int
    difficulty: str

    def residuals(self, params: jax.Array) -> jax.Array:
        """Return ``y - model(params, x)``, not divided by any error."""
        return jnp.subtract(self.y, self.model(params, self.x))

    def sum_of_squares(self, params: jax.Array) -> jax.Array:
        """Return the sum of squared residuals, whose minimum is ``rss``."""
        return jnp.sum(self.residuals(params) ** 2)

    def nll(self, params: jax.Array) -> jax.Array:
        """Return half the sum of squares in units of ``residual_sd``.

        With that error on every point, the Gauss-Newton covariance at the minimum
        has the certified standard deviations, and the minimum is ``dof / 2``.
        """
        return 0.5 * self.sum_of_squares(params) / self.residual_sd**2

    def digits(self, params: np.ndarray) -> float:
        """Return the number of certified digits that the worst parameter has.

        NIST's log relative error: ``-log10(|params - certified| / |certified|)``,
        at most 11, as there are no more digits to compare with.
        """
        error = np.abs(np.asarray(params) - self.certified) / np.abs(self.certified)
        return float(-np.log10(np.max(error, initial=1e-11)))


def _saturation(b: jax.Array, x: Points) -> jax.Array:
    return b[0] * (1 - jnp.exp(-b[1] * x))


def _misra1b(b: jax.Array, x: Points) -> jax.Array:
    return b[0] * (1 - (1 + b[1] * x / 2) ** -2)


def _misra1c(b: jax.Array, x: Points) -> jax.Array:
    return b[0] * (1 - (1 + 2 * b[1] * x) ** -0.5)


def _misra1d(b: jax.Array, x: Points) -> jax.Array:
    return b[0] * b[1] * x / (1 + b[1] * x)


def _chwirut(b: jax.Array, x: Points) -> jax.Array:
    return jnp.exp(-b[0] * x) / (b[1] + b[2] * x)


def _lanczos(b: jax.Array, x: Points) -> jax.Array:
    first, second = b[0] * jnp.exp(-b[1] * x), b[2] * jnp.exp(-b[3] * x)
    return first + second + b[4] * jnp.exp(-b[5] * x)


def _gauss(b: jax.Array, x: Points) -> jax.Array:
    first = b[2] * jnp.exp(-((x - b[3]) ** 2) / b[4] ** 2)
    second = b[5] * jnp.exp(-((x - b[6]) ** 2) / b[7] ** 2)
    return b[0] * jnp.exp(-b[1] * x) + first + second


def _danwood(b: jax.Array, x: Points) -> jax.Array:
    return b[0] * x ** b[1]


def _kirby2(b: jax.Array, x: Points) -> jax.Array:
    return (b[0] + b[1] * x + b[2] * x**2) / (1 + b[3] * x + b[4] * x**2)


def _cubic_over_cubic(b: jax.Array, x: Points) -> jax.Array:
    above = b[0] + b[1] * x + b[2] * x**2 + b[3] * x**3
    return above / (1 + b[4] * x + b[5] * x**2 + b[6] * x**3)


def _nelson(b: jax.Array, x: Points) -> jax.Array:
    return b[0] - b[1] * x[0] * jnp.exp(-b[2] * x[1])


def _mgh17(b: jax.Array, x: Points) -> jax.Array:
    return b[0] + b[1] * jnp.exp(-b[3] * x) + b[2] * jnp.exp(-b[4] * x)


def _roszman1(b: jax.Array, x: Points) -> jax.Array:
    return b[0] - b[1] * x - jnp.arctan(b[2] / (x - b[3])) / np.pi


def _enso(b: jax.Array, x: Points) -> jax.Array:
    angle = 2 * np.pi * x
    year = b[1] * np.cos(angle / 12) + b[2] * np.sin(angle / 12)
    first = b[4] * jnp.cos(angle / b[3]) + b[5] * jnp.sin(angle / b[3])
    second = b[7] * jnp.cos(angle / b[6]) + b[8] * jnp.sin(angle / b[6])
    return b[0] + year + first + second


def _mgh09(b: jax.Array, x: Points) -> jax.Array:
    return b[0] * (x**2 + x * b[1]) / (x**2 + x * b[2] + b[3])


def _rat42(b: jax.Array, x: Points) -> jax.Array:
    return b[0] / (1 + jnp.exp(b[1] - b[2] * x))


def _mgh10(b: jax.Array, x: Points) -> jax.Array:
    return b[0] * jnp.exp(b[1] / (x + b[2]))


def _eckerle4(b: jax.Array, x: Points) -> jax.Array:
    return b[0] / b[1] * jnp.exp(-0.5 * ((x - b[2]) / b[1]) ** 2)


def _rat43(b: jax.Array, x: Points) -> jax.Array:
    return b[0] / (1 + jnp.exp(b[1] - b[2] * x)) ** (1 / b[3])


def _bennett5(b: jax.Array, x: Points) -> jax.Array:
    return b[0] * (b[1] + x) ** (-1 / b[2])


_MODELS = {
    "Misra1a": _saturation,
    "Chwirut2": _chwirut,
    "Chwirut1": _chwirut,
    "Lanczos3": _lanczos,
    "Gauss1": _gauss,
    "Gauss2": _gauss,
    "DanWood": _danwood,
    "Misra1b": _misra1b,
    "Kirby2": _kirby2,
    "Hahn1": _cubic_over_cubic,
    "Nelson": _nelson,
    "MGH17": _mgh17,
    "Lanczos1": _lanczos,
    "Lanczos2": _lanczos,
    "Gauss3": _gauss,
    "Misra1c": _misra1c,
    "Misra1d": _misra1d,
    "Roszman1": _roszman1,
    "ENSO": _enso,
    "MGH09": _mgh09,
    "Thurber": _cubic_over_cubic,
    "BoxBOD": _saturation,
    "Rat42": _rat42,
    "MGH10": _mgh10,
    "Eckerle4": _eckerle4,
    "Rat43": _rat43,
    "Bennett5": _bennett5,
}


def _load() -> dict[str, Dataset]:
    path = pathlib.Path(__file__).with_name("nist_strd.json")
    records = json.loads(path.read_text(encoding="utf-8"))["datasets"]
    problems = {}
    for name, model in _MODELS.items():
        record = records[name]
        y = np.array(record["y"], dtype=float)
        first, second = (np.array(start, dtype=float) for start in record["starts"])
        problems[name] = Dataset(
            name=name,
            model=model,
            x=np.array(record["x"], dtype=float),
            y=np.log(y) if name == "Nelson" else y,
            starts=(first, second),
            certified=np.array(record["certified"], dtype=float),
            certified_sd=np.array(record["certified_sd"], dtype=float),
            rss=record["rss"],
            residual_sd=record["residual_sd"],
            dof=record["dof"],
            difficulty=record["difficulty"],
        )
    return problems


PROBLEMS: dict[str, Dataset] = _load()
