"""Likelihoods as functions of vectors.

A compiled program takes a thousand slices for a pytree of a thousand numbers, and none
for a vector. Models with a likelihood that is packed in arrays offer it in this form.
"""

from typing import Any, Protocol

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from everwillow._typing import Array, Scalar
from everwillow.objective import Evaluation
from everwillow.parameters.constraint_table import ConstraintTable


class FlatMain(Protocol):
    """The main likelihood of a model in vectors, ordered as ``ravel_pytree(params)``.

    Attributes:
        size: The length of the vector.
        constrained: For each element of the model's `ConstraintTable` its place in the
            vector.

    It may have an attribute `cheap_hessian`: whether a Hessian costs little more than a
    gradient, so that conditional fits compute one at each step.
    """

    @property
    def size(self) -> int:
        """The length of the vector."""
        ...

    @property
    def constrained(self) -> np.ndarray:
        """The places of the constrained elements."""
        ...

    @property
    def matrix_free(self) -> bool:
        """Whether its second derivatives can only be multiplied with vectors."""
        ...

    def nll(self, vector: Array, main: Any) -> Scalar:
        """Return -ln L of the main data, without constraints."""
        ...

    def evaluation(self, vector: Array, main: Any) -> Evaluation:
        """Return -ln L of the main data with its derivatives."""
        ...


class FlatModel(eqx.Module):
    """The likelihood of a model in vectors, constraints included.

    Attributes:
        main: Its main part.
        constraints: Its constraints.
    """

    main: FlatMain
    constraints: ConstraintTable

    def nll(self, vector: Array, observation: Any) -> Scalar:
        """Return -ln L.

        Args:
            vector: Parameters in the order of ``ravel_pytree(params)``.
            observation: ``{"main": ..., "aux": ...}``.
        """
        aux = self.constraints.aux(observation["aux"]).vector
        values = vector[self.main.constrained]
        main = self.main.nll(vector, observation["main"])
        return main + self.constraints.nll(values, aux)

    def evaluation(self, vector: Array, observation: Any) -> Evaluation:
        """Return -ln L with its derivatives."""
        aux = self.constraints.aux(observation["aux"]).vector
        places = self.main.constrained
        main = self.main.evaluation(vector, observation["main"])
        value, slope, bend = self.constraints.second_order(vector[places], aux)
        zeros = jnp.zeros_like(vector)
        diagonal = zeros.at[places].add(bend)
        stand_in = main.gauss_newton
        if stand_in is not None:
            positive = zeros.at[places].add(bend.clip(0))
            stand_in = stand_in.plus_diagonal(positive)
        return Evaluation(
            main.value + value,
            main.gradient.at[places].add(slope),
            main.curvature.plus_diagonal(diagonal),
            stand_in,
        )
