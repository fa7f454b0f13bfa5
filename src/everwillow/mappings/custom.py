"""A mapping from a function of the user."""

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

    Spelled by where it is, ``package.module:name WORD ...``.

    Attributes:
        fn: The function. It is kept by identity: define it once, in a module.
        words: Further arguments of it, text.
        name: How the function is written.
        own_axes: The axes of the values, if told.
        of_data: Whether it may be applied to data.
        reduction: How many of its values follow from the others.

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
            *words: Its further arguments.
            name: How it is written; by default by its module and name.
            axes: The axes of the array that it returns.
            of_data: Whether it may be applied to data, as `Yields` with a single
                process ``"data"`` and without parameters.
            ndof_reduction: How many of its values follow from the others.

        Raises:
            ArgumentTypeError: If `fn` is no function, or is not hashable.
            ArgumentValueError: If it has no name, and none is given.
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
        """How it is written."""
        return " ".join([self.name, *map(_spelled, self.words)])

    @property
    def quantity(self) -> str:
        """Return the name of the function, without its module."""
        return self.name.rpartition(":")[2]

    def __call__(self, params: Any, yields: Yields) -> PyTree:
        """Return what the function does.

        Raises:
            ArgumentTypeError: If that is something else than numbers.
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
        """Return the axes that were told."""
        del layout
        return self.own_axes

    def has_data(self, layout: Layout) -> bool:
        """Return whether it may be applied to data, as was told."""
        del layout
        return self.of_data

    @property
    def ndof_reduction(self) -> int:
        """Return what was told."""
        return self.reduction


def _spelled(word: str) -> str:
    """Spell a word, in quotes if it would fall apart otherwise."""
    return quoted(word) if not word or set(word) & set(' \t\n;"()') else word
