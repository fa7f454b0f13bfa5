"""Conversion of observations to the vectors of spey: main data, then auxiliary data."""

import dataclasses
import functools as ft
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    NonFiniteError,
    ShapeMismatchError,
)
from everwillow.model import AbstractModel
from everwillow.models.binned import BinnedModel


def flattened(observation: Mapping[str, Any], *, auxiliary: bool = True) -> np.ndarray:
    """Return an observation as a vector, the auxiliary data after the main data."""
    parts = ["main", "aux"] if auxiliary else ["main"]
    leaves = [leaf for part in parts for leaf in jax.tree.leaves(observation[part])]
    return np.concatenate([np.zeros(0), *(np.ravel(leaf) for leaf in leaves)])


def batch_flattened(
    observations: Mapping[str, Any], *, auxiliary: bool = True
) -> np.ndarray:
    """Return observations, stacked along a first axis, as the rows of a matrix."""
    parts = ["main", "aux"] if auxiliary else ["main"]
    leaves = [leaf for part in parts for leaf in jax.tree.leaves(observations[part])]
    rows = [np.reshape(leaf, (np.shape(leaf)[0], -1)) for leaf in leaves]
    return np.concatenate(rows, axis=1)


@dataclasses.dataclass(frozen=True)
class _Form:
    """A possible form of observations; data of single events have several."""

    main: Any
    aux: Any

    @ft.cached_property
    def sizes(self) -> tuple[int, int]:
        """The number of main and of auxiliary data."""
        both = (jax.tree.leaves(part) for part in (self.main, self.aux))
        main, aux = (sum(int(np.prod(np.shape(x))) for x in part) for part in both)
        return main, aux


@dataclasses.dataclass(frozen=True)
class DataForms:
    """The ways in which the data of a model can be written as a vector.

    Attributes:
        model: The model.
    """

    model: AbstractModel

    @ft.cached_property
    def _forms(self) -> list[_Form]:
        observed = self.model.observation
        forms = [_Form(observed["main"], observed["aux"])]
        if not isinstance(self.model, BinnedModel):
            # Asimov data of single events are a grid with weights, toys are padded.
            params = self.model.state.to_pytree()
            made = [
                jax.eval_shape(self.model.asimov, params),
                jax.eval_shape(self.model.sample_observation, params, jr.key(0)),
            ]
            forms += [_Form(one["main"], observed["aux"]) for one in made]
        return forms

    @ft.cached_property
    def _by_length(self) -> dict[int, set[tuple[int, bool]]]:
        """The possible forms by length of a vector, with or without auxiliary data."""
        forms: dict[int, set[tuple[int, bool]]] = {}
        shapes = [jax.tree.map(np.shape, form.main) for form in self._forms]
        for i, form in enumerate(self._forms):
            first = shapes.index(shapes[i])
            main, aux = form.sizes
            forms.setdefault(main, set()).add((first, False))
            forms.setdefault(main + aux, set()).add((first, aux > 0))
        for length, ways in forms.items():
            # Both forms are equal if there are no auxiliary data.
            if any(not self._forms[i].sizes[1] for i, _ in ways):
                forms[length] = {(i, False) for i, _ in ways}
        return forms

    def observation(self, data: Any, *, where: str = "data") -> dict[str, Any]:
        """Return a vector as an observation.

        Args:
            data: Main data followed by the auxiliary data, or main data only: then the
                auxiliary data are those observed.
            where: The name of the argument in messages.

        Raises:
            ArgumentTypeError: If the data are not numbers.
            NonFiniteError: If a number is NaN or infinite.
            ShapeMismatchError: If the length is wrong.
        """
        vector = _numbers(data, where)
        ways = self._by_length.get(vector.size, set())
        if not ways:
            main, aux = self._forms[0].sizes
            raise ShapeMismatchError(
                f"{where}: {vector.size} numbers, but the model has {main} main data "
                f"and {aux} auxiliary data: give {main}, or {main + aux} numbers."
            )
        if len(ways) > 1:
            raise ArgumentValueError(
                f"{where}: {vector.size} numbers can be read in {len(ways)} ways, as "
                "data of single events have any length. Use the methods of the model."
            )
        ((number, with_aux),) = ways
        form = self._forms[number]
        cut = form.sizes[0]
        main = _unflattened(form.main, vector[:cut])
        aux = self.model.observation["aux"]
        return {
            "main": main,
            "aux": _unflattened(form.aux, vector[cut:]) if with_aux else aux,
        }


def _numbers(data: Any, where: str) -> np.ndarray:
    try:
        vector = np.ravel(np.asarray(data, np.float64))
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(
            f"{where}: expected a list of numbers, got {type(data).__name__}."
        ) from error
    if not np.isfinite(vector).all():
        (bad,) = np.nonzero(~np.isfinite(vector))
        raise NonFiniteError(
            f"{where}: number {bad[0]} is {vector[bad[0]]}. Data must be finite."
        )
    return vector


def _unflattened(like: Any, vector: np.ndarray) -> Any:
    leaves, structure = jax.tree.flatten(like)
    ends = np.cumsum([int(np.prod(np.shape(leaf))) for leaf in leaves])
    parts = np.split(vector, ends[:-1]) if leaves else []
    dtype = jnp.result_type(float)
    shaped = [
        np.reshape(part, np.shape(leaf)).astype(dtype)
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    return structure.unflatten(shaped)
