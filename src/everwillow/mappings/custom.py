"""Mappings that are functions of the user."""

from collections.abc import Callable
from typing import Any, final

import equinox as eqx
import jax
from jaxtyping import PyTree

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow.likelihood.histograms import Axis, Layout, Yields
from everwillow.mappings.histogram_mapping import AbstractHistogramMapping
from everwillow.mappings.tokens import quoted


@final
class Custom(AbstractHistogramMapping):
    """A function ``fn(params, yields, *words)``, from JAX arrays to JAX arrays.

    The text is its import path and arguments, ``package.module:name WORD ...``.

    Attributes:
        fn: The function. Functions are compared by identity: define it once, in a
            module.
        words: The further arguments of the function, as texts.
        name: The name of the function in the text of the mapping.
        own_axes: The axes of the values; None if they are not known.
        of_data: Whether the function may be applied to data.
        reduction: The number of values that follow from the others.

    Example:
        >>> import jax.numpy as jnp
        >>> import numpy as np
        >>> from everwillow.likelihood.histograms import Channel
        >>> def mean(params, yields):
        ...     return jnp.average(jnp.arange(2.0), weights=yields["ch0"])
        >>> x = Axis("x", edges=(0.0, 1.0, 2.0))
        >>> layout = Layout((Channel("ch0", (x,)),), ("signal",))
        >>> yields = Yields(np.array([[1.0, 4.0]]), layout)
        >>> print(Custom(mean, name="mean")(None, yields))
        0.8
    """

    fn: Callable[..., PyTree] = eqx.field(static=True)
    words: tuple[str, ...] = eqx.field(static=True)
    name: str = eqx.field(static=True)
    own_axes: tuple[Axis, ...] | None = eqx.field(static=True)
    of_data: bool = eqx.field(static=True)
    reduction: int = eqx.field(static=True)

    def __init__(
        self,
        fn: Callable[..., PyTree],
        *words: str,
        name: str | None = None,
        axes: tuple[Axis, ...] | None = None,
        of_data: bool = False,
        ndof_reduction: int = 0,
    ) -> None:
        """Make a mapping of a function.

        Args:
            fn: ``fn(params, yields, *words)``, with `Yields`.
            *words: The further arguments of the function.
            name: The name in the text of the mapping; ``module:name`` by default.
            axes: The axes of the returned array.
            of_data: Whether the function may be applied to data, as `Yields` with a
                single process ``"data"`` and with None as parameters.
            ndof_reduction: The number of values that follow from the others.

        Raises:
            ArgumentTypeError: If `fn` is not a function, or is not hashable.
            ArgumentValueError: If the function has no name and `name` is None.
        """
        if not callable(fn) or fn.__hash__ is None:
            raise ArgumentTypeError(
                f"fn: expected a function, got {type(fn).__name__}."
            )
        module, own = (getattr(fn, k, None) for k in ("__module__", "__qualname__"))
        if name is None and own is None:
            raise ArgumentValueError(
                f"name: {type(fn).__name__} does not tell its name. Give one."
            )
        self.fn, self.words = fn, tuple(words)
        self.name = f"{module}:{own}" if name is None else name
        self.own_axes = None if axes is None else tuple(axes)
        self.of_data, self.reduction = bool(of_data), int(ndof_reduction)

    @property
    def key(self) -> str:
        """The text of the mapping, which `parse_mapping` reads."""
        return " ".join([self.name, *map(_word_text, self.words)])

    @property
    def quantity(self) -> str:
        """Return the name of the function, without its module."""
        return self.name.rpartition(":")[2]

    def __call__(self, params: Any, yields: Yields) -> PyTree:
        """Call the function.

        Raises:
            ArgumentTypeError: If it does not return numbers or JAX arrays.
        """
        values = self.fn(params, yields, *self.words)
        for leaf in jax.tree.leaves(values, is_leaf=lambda one: one is None):
            if not eqx.is_array_like(leaf) or isinstance(leaf, complex):
                raise ArgumentTypeError(
                    f"mapping {self.key}: expected numbers or JAX arrays from it, got "
                    f"{type(leaf).__name__}."
                )
        return values

    def axes(self, layout: Layout) -> tuple[Axis, ...] | None:
        """Return the axes given at construction."""
        del layout
        return self.own_axes

    def has_data(self, layout: Layout) -> bool:
        """Return whether the function may be applied to data."""
        del layout
        return self.of_data

    @property
    def ndof_reduction(self) -> int:
        """The number of values that follow from the others."""
        return self.reduction


def _word_text(word: str) -> str:
    """Return the text of an argument, in quotes if it has special characters."""
    return quoted(word) if not word or set(word) & set(' \t\n;"()') else word
