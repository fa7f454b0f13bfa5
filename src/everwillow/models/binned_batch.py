"""Batches of models of one structure, for evaluation in one compiled call."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from everwillow._errors import ArgumentValueError, ConflictError
from everwillow.models.binned import BinnedModel


@final
class BinnedBatch(eqx.Module):
    """Models of one structure that differ in numbers, such as signal hypotheses.

    Attributes:
        shared: The arrays that are equal in all models.
        stacked: The other arrays, with a leading axis of models.
        size: The number of models.

    Example:
        >>> from everwillow.likelihood.binned.spec import (
        ...     BinnedSpec, ChannelSpec, ParameterSpec, SampleSpec, Scale
        ... )
        >>> def model(signal):
        ...     sample = SampleSpec("signal", np.array([signal]), (Scale("mu"),))
        ...     channel = ChannelSpec("SR", np.array([3.0]), (sample,))
        ...     return BinnedModel.from_spec(
        ...         BinnedSpec((channel,), (ParameterSpec("mu", 1.0),))
        ...     )
        >>> batch = BinnedBatch.of([model(2.0), model(4.0)])
        >>> print(batch.map(lambda m: m.expected({"mu": 1.0})))
        [[2.]
         [4.]]
    """

    shared: tuple[Any, ...]
    stacked: tuple[Any, ...]
    size: int = eqx.field(static=True)
    is_stacked: tuple[bool, ...] = eqx.field(static=True)
    structure: Any = eqx.field(static=True)

    @classmethod
    def of(cls, models: Sequence[BinnedModel]) -> "BinnedBatch":
        """Stack models.

        Raises:
            ArgumentValueError: If there is none.
            ConflictError: If their structures differ.
        """
        if not models:
            raise ArgumentValueError("BinnedBatch: give at least one model.")
        flat, structures = zip(*map(jax.tree.flatten, models), strict=True)
        for position, structure in enumerate(structures):
            same = structure == structures[0]
            if not same or list(map(np.shape, flat[position])) != list(
                map(np.shape, flat[0])
            ):
                raise ConflictError(
                    f"BinnedBatch: model {position} has another structure than the "
                    "first: other channels, parameters or kinds of effects."
                )
        columns = list(zip(*flat, strict=True))
        differ = tuple(
            any(not np.array_equal(leaf, column[0]) for leaf in column[1:])
            for column in columns
        )
        return cls(
            tuple(c[0] for c, d in zip(columns, differ, strict=True) if not d),
            tuple(np.stack(c) for c, d in zip(columns, differ, strict=True) if d),
            len(models),
            differ,
            structures[0],
        )

    def map(self, fn: Callable[[BinnedModel], Any]) -> Any:
        """Apply a function to every model in one compiled call.

        Args:
            fn: ``fn(model)`` in JAX: a fit, a limit, expected counts. It is compiled
                once for each function: define it once, outside of a loop.

        Returns:
            The results of the function, with a leading axis of models.
        """
        return _mapped(self, fn)

    def __repr__(self) -> str:
        """Return one line with the number of models and their structure."""
        one = self.structure.unflatten([None] * len(self.is_stacked))
        return f"BinnedBatch({self.size} times {one!r})"

    def __len__(self) -> int:
        """Return the number of models."""
        return self.size

    def __getitem__(self, index: int) -> BinnedModel:
        """Return one model."""
        if not -self.size <= index < self.size:
            raise IndexError(
                f"BinnedBatch: there is no model {index}, there are {self.size}."
            )
        return self._model([leaf[index] for leaf in self.stacked])

    def __iter__(self) -> Iterator[BinnedModel]:
        """Iterate over the models."""
        return (self[i] for i in range(self.size))

    def _model(self, own: Sequence[Any]) -> BinnedModel:
        shared, stacked = iter(self.shared), iter(own)
        leaves = [next(stacked) if d else next(shared) for d in self.is_stacked]
        return self.structure.unflatten(leaves)


@eqx.filter_jit
def _mapped(batch: BinnedBatch, fn: Callable[[BinnedModel], Any]) -> Any:
    if not batch.stacked:
        one = fn(batch._model([]))
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (batch.size, *x.shape)), one)
    return eqx.filter_vmap(lambda own: fn(batch._model(own)))(batch.stacked)
