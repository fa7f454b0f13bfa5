"""One definition of each type of distribution, with values, for tests of them all.

A new type is added here and gets every test of `distributions/test_distributions.py`.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from everwillow.models.hs3.distributions import Builder
from everwillow.models.hs3.distributions.base import AbstractDistribution
from everwillow.models.hs3.functions.graph import Graph, Scope


X = (0.5, 5.0)
MODELS = {
    "exact": {"type": "truth_model_function", "x": "x"},
    "gauss": {"type": "gauss_model_function", "x": "x", "mean": 0.1, "sigma": "s"},
    "narrow": {"type": "gauss_model_function", "x": "x", "mean": 0.0, "sigma": 0.2},
    "both": {
        "type": "mixture_model",
        "summands": ["gauss", "narrow"],
        "coefficients": [0.7],
    },
}
PARTS = {
    "signal": {"type": "gaussian_dist", "x": "x", "mean": "a", "sigma": "b"},
    "background": {"type": "exponential_dist", "x": "x", "c": 0.4},
}
# Its steps are among the edges of panels in the tests.
STEPS = {"name": "x", "edges": [0.5, 1.4, 2.75, 5.0]}


def _histogram(*contents: float) -> dict[str, Any]:
    data = {"axes": [STEPS], "contents": list(contents)}
    return {"type": "histogram", "data": data}


STEPPED = {
    "nominal": _histogram(3.0, 2.0, 0.5),
    "low": _histogram(2.0, 2.5, 0.6),
    "high": _histogram(4.5, 1.9, 0.2),
    "morphed": {
        "type": "interpolation",
        "nom": "nominal",
        "low": ["low", "high"],
        "high": ["high", "nominal"],
        "vars": ["alpha", "alpha"],
        "interpolationCodes": [4, 5],
        "positiveDefinite": True,
    },
    "steps": {
        "type": "step",
        "variables": ["x"],
        "axes": [STEPS],
        "parameters": ["g", 1.0, 0.5],
    },
    "line": {"type": "polynomial", "x": "x", "coefficients": [1.0, "g"]},
}


@dataclass(frozen=True)
class Case:
    """A definition, values of its parameters, and functions that it needs.

    Attributes:
        spec: The definition.
        values: Values of the parameters.
        domain: Ranges of the observables.
        functions: Functions by name.
        accuracy: Of its normalisation.
        extreme: Other values, far out, at which all is still finite.
    """

    spec: dict[str, Any]
    values: dict[str, float]
    domain: dict[str, tuple[float, float]] = field(default_factory=lambda: {"x": X})
    functions: dict[str, Any] = field(default_factory=dict)
    accuracy: float = 1e-10
    extreme: tuple[dict[str, float], ...] = ()

    def build(self) -> AbstractDistribution:
        """Make the distribution."""
        specs = {**PARTS, "it": self.spec}
        return Builder(specs, {**MODELS, **self.functions}).build("it")

    def scope(self, values, points) -> Scope:
        """Return the values at points of the observables."""
        graph = Graph(self.functions)
        return Scope({**values, **points}, self.domain, graph=graph)

    def grid(self, size: int) -> dict[str, np.ndarray]:
        """Return points inside the domain, none of them special."""
        rng = np.random.default_rng(7)
        return {
            name: low + (high - low) * rng.uniform(0.02, 0.98, size)
            for name, (low, high) in self.domain.items()
        }


def _plane(values: dict[str, float], **others: Any) -> Any:
    return {"values": values, "domain": {"x": X, "y": (-1.0, 3.0)}, **others}


CASES = {
    "argus_dist": Case(
        {
            "type": "argus_dist",
            "mass": "x",
            "resonance": "m0",
            "slope": "c",
            "power": "p",
        },
        {"m0": 4.8, "c": -3.0, "p": 0.5},
        accuracy=1e-6,
        extreme=({"m0": 5.3, "c": -200.0, "p": 3.0}, {"m0": 1.0, "c": 90.0, "p": 0.2}),
    ),
    "chebychev_dist": Case(
        {"type": "chebychev_dist", "x": "x", "coefficients": ["a", -0.2, "b"]},
        {"a": 0.4, "b": 0.1},
        extreme=({"a": 0.0, "b": 0.0},),
    ),
    "bernstein_poly_dist": Case(
        {"type": "bernstein_poly_dist", "x": "x", "coefficients": ["a", 2.0, "b"]},
        {"a": 0.4, "b": 1.1},
        extreme=({"a": 1e12, "b": 0.0},),
    ),
    "polynomial_dist": Case(
        {"type": "polynomial_dist", "x": "x", "coefficients": [1.0, "a", "b"]},
        {"a": 0.4, "b": 1.1},
        extreme=({"a": 0.0, "b": 0.0}, {"a": 1e20, "b": 1e20}),
    ),
    "histogram_dist": Case(
        {"type": "histogram_dist", "data": {"axes": [STEPS], "contents": [3, 1, 2]}},
        {"unused": 1.0},
    ),
    "weighted_sum_dist": Case(
        {
            "type": "weighted_sum_dist",
            "samples": ["morphed", "steps", 0.3],
            "coefficients": ["c", 1.5, 1],
            "extended": True,
        },
        {"c": 0.7, "alpha": 0.4, "g": 1.1},
        functions=STEPPED,
        extreme=({"c": 0.0, "alpha": -7.0, "g": 30.0},),
    ),
    "weighted_sum_dist of smooth and flat": Case(
        {
            "type": "weighted_sum_dist",
            "samples": ["morphed", "line"],
            "coefficients": ["c"],
        },
        {"c": 0.7, "alpha": 0.4, "g": 1.1},
        functions=STEPPED,
    ),
    "uniform_dist": Case({"type": "uniform_dist", "x": "x"}, {"unused": 1.0}),
    "exponential_dist": Case(
        {"type": "exponential_dist", "x": "x", "c": "c"},
        {"c": 0.7},
        extreme=({"c": 0.0}, {"c": 1e-9}, {"c": -300.0}, {"c": 2000.0}),
    ),
    "gaussian_dist": Case(
        {"type": "gaussian_dist", "x": "x", "mean": "a", "sigma": "b"},
        {"a": 1.3, "b": 0.4},
        extreme=({"a": 60.0, "b": 0.4}, {"a": -60.0, "b": 0.4}, {"a": 0.0, "b": 1e4}),
    ),
    "normal_dist": Case(
        {"type": "normal_dist", "x": "x", "mean": "a", "sigma": 0.5}, {"a": 1.3}
    ),
    "generalized_normal_dist": Case(
        {
            "type": "generalized_normal_dist",
            "x": "x",
            "mean": "a",
            "alpha": "b",
            "beta": "c",
        },
        {"a": 2.3, "b": 0.6, "c": 8.0},
        extreme=({"a": 30.0, "b": 0.6, "c": 8.0}, {"a": 2.0, "b": 1e-3, "c": 1.5}),
    ),
    "lognormal_dist": Case(
        {"type": "lognormal_dist", "x": "x", "mu": "a", "sigma": "b"},
        {"a": 0.3, "b": 0.4},
        extreme=({"a": 30.0, "b": 0.4}, {"a": -30.0, "b": 0.4}),
    ),
    "crystalball_dist": Case(
        {
            "type": "crystalball_dist",
            "m": "x",
            "m0": "a",
            "alpha": "b",
            "n": "c",
            "sigma": 0.4,
        },
        {"a": 3.1, "b": 1.2, "c": 2.5},
        accuracy=1e-8,
        extreme=(
            {"a": 3.1, "b": -1.2, "c": 2.5},
            {"a": 3.1, "b": 1.2, "c": 1.0},
            {"a": 40.0, "b": 0.5, "c": 150.0},
            {"a": -40.0, "b": 0.5, "c": 2.0},
        ),
    ),
    "crystalball_dist two-sided": Case(
        {
            "type": "crystalball_dist",
            "m": "x",
            "m0": "a",
            "alpha_L": "b",
            "alpha_R": 1.7,
            "n": "c",
            "sigma_L": 0.4,
            "sigma_R": "s",
        },
        {"a": 3.1, "b": 1.2, "c": 2.5, "s": 0.7},
        accuracy=1e-8,
        extreme=({"a": 30.0, "b": 1.2, "c": 1.0, "s": 0.7},),
    ),
    "crystalball_doublesided_dist": Case(
        {
            "type": "crystalball_doublesided_dist",
            "m": "x",
            "m0": 3.0,
            "alpha": "b",
            "n": 2.0,
            "sigma": 0.4,
        },
        {"b": 1.2},
        accuracy=1e-8,
    ),
    **{
        f"decay_dist {kind} {model}": Case(
            {
                "type": "decay_dist",
                "t": "x",
                "tau": "tau",
                "decayType": kind,
                "resolutionModel": model,
            },
            {"tau": 1.4, "s": 0.3},
            domain={"x": domain},
            accuracy=1e-8 if model != "exact" else 1e-3,
            extreme=({"tau": 1e-2, "s": 0.3}, {"tau": 1e4, "s": 1e-2}),
        )
        for kind, model, domain in [
            (0, "gauss", (-1.0, 6.0)),
            (1, "both", (-3.0, 6.0)),
            (0, "exact", (-0.9, 6.1)),
            (2, "exact", (-6.1, 0.1)),
        ]
    },
    "relativistic_breit_wigner_dist": Case(
        {
            "type": "relativistic_breit_wigner_dist",
            "x": "x",
            "mass": "m0",
            "channels": [
                {"Gamma": "w", "m1": 0.14, "m2": 0.14, "l": 1, "R": 5.0},
                {"Gamma": 0.2, "m1": 0.5, "m2": 0.5},
            ],
        },
        {"m0": 0.77, "w": 0.15},
        domain={"x": (0.3, 2.0)},
        accuracy=1e-5,
        extreme=({"m0": 1.2, "w": 1e-3}, {"m0": 1.9, "w": 5.0}),
    ),
    "generic_dist": Case(
        {"type": "generic_dist", "expression": "exp(-0.5*((x-a)/b)^2) * (1 + c*x)"},
        {"a": 2.0, "b": 0.5, "c": 0.3},
        extreme=({"a": 200.0, "b": 2.0, "c": 0.3},),
    ),
    "density_function_dist": Case(
        {"type": "density_function_dist", "function": "f"},
        {"a": 0.3, "b": 2.0},
        functions={"f": {"type": "polynomial", "x": "x", "coefficients": ["b", "a"]}},
    ),
    "log_density_function_dist": Case(
        {"type": "log_density_function_dist", "function": "f"},
        {"a": 0.3, "b": -0.5},
        functions={
            "f": {"type": "polynomial", "x": "x", "coefficients": [5e3, "a", "b"]}
        },
    ),
    "efficiency_product_pdf_dist": Case(
        {"type": "efficiency_product_pdf_dist", "pdf": "signal", "eff": "f"},
        {"a": 2.0, "b": 0.8, "c": 0.3},
        functions={"f": {"type": "polynomial", "x": "x", "coefficients": [1.0, "c"]}},
    ),
    "mixture_dist": Case(
        {
            "type": "mixture_dist",
            "summands": ["signal", "background"],
            "coefficients": ["f"],
        },
        {"a": 2.0, "b": 0.3, "f": 0.3},
        extreme=(
            {"a": 2.0, "b": 0.3, "f": 0.0},
            {"a": 2.0, "b": 0.3, "f": 1.0},
            {"a": 60.0, "b": 0.3, "f": 0.5},
        ),
    ),
    "mixture_dist extended": Case(
        {
            "type": "mixture_dist",
            "summands": ["signal", "background"],
            "coefficients": ["n", 30.0],
            "extended": True,
        },
        {"a": 2.0, "b": 0.3, "n": 7.0},
        extreme=({"a": 2.0, "b": 0.3, "n": 0.0}, {"a": 2.0, "b": 0.3, "n": 1e9}),
    ),
    "mixture_dist not extended": Case(
        {
            "type": "mixture_dist",
            "summands": ["signal", "background"],
            "coefficients": ["f", 0.6],
            "extended": False,
        },
        {"a": 2.0, "b": 0.3, "f": 0.4},
    ),
    "product_dist": Case(
        {"type": "product_dist", "factors": ["signal", "background"]},
        {"a": 2.0, "b": 0.5},
    ),
    "rate_extended_dist": Case(
        {"type": "rate_extended_dist", "rate": "n", "dist": "signal"},
        {"a": 2.0, "b": 0.5, "n": 12.0},
    ),
    "rate_density_dist": Case(
        {"type": "rate_density_dist", "x": "x", "density": "f"},
        {"a": 0.3, "b": 2.0},
        functions={"f": {"type": "polynomial", "x": "x", "coefficients": ["b", "a"]}},
    ),
    "bincounts_extended_dist": Case(
        {"type": "bincounts_extended_dist", "rate": "n", "dist": "signal"},
        {"a": 2.0, "b": 0.5, "n": 12.0},
    ),
    "bincounts_density_dist": Case(
        {"type": "bincounts_density_dist", "x": "x", "density": "f"},
        {"a": 0.3, "b": 2.0},
        functions={"f": {"type": "polynomial", "x": "x", "coefficients": ["b", "a"]}},
    ),
    "multivariate_normal_dist": Case(
        {
            "type": "multivariate_normal_dist",
            "x": ["x", "y"],
            "mean": ["a", 1.0],
            "covariances": [["v", 0.3], [0.3, 0.5]],
        },
        **_plane({"a": 2.0, "v": 1.2}),
    ),
}
"""A case for each type; what follows a space tells several of one type apart."""


def arrays(values: dict[str, float]) -> dict[str, jax.Array]:
    """Return values as arrays, which are traced."""
    return {name: jax.numpy.asarray(value) for name, value in values.items()}
