"""The place of each entry of a State in the flat vector of the compiled core."""

import dataclasses
import functools as ft
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from everwillow._errors import ArgumentTypeError
from everwillow._native import check_static, is_native, native, native_tree
from everwillow._numerics import is_traced
from everwillow._typing import Key
from everwillow.statelib import State


@dataclasses.dataclass(frozen=True)
class Layout:
    """The structure of a State of parameters; static, and equal for equal structures.

    It has more than twelve methods because each table is a cached property.

    Attributes:
        treedef: Tree definition of the State.
        shapes: Shape of each entry.
        numeric: Whether each entry is a floating-point parameter. Entries that are
            not (integers, booleans, None) stay out of the vector and cannot be fitted.
    """

    treedef: Any
    shapes: tuple[tuple[int, ...], ...]
    numeric: tuple[bool, ...]

    @ft.cached_property
    def _hash(self) -> int:
        return hash((self.treedef, self.shapes, self.numeric))

    def __hash__(self) -> int:
        return self._hash

    @ft.cached_property
    def template(self) -> State:
        """A State of this structure, for its keys."""
        return self.treedef.unflatten([0.0] * self.treedef.num_leaves)

    @ft.cached_property
    def keys(self) -> tuple[Key, ...]:
        """The keys in State order."""
        return tuple(self.template.keys())

    @ft.cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of elements of the vector of each entry."""
        return tuple(
            math.prod(shape) if numeric else 0
            for shape, numeric in zip(self.shapes, self.numeric, strict=True)
        )

    @ft.cached_property
    def starts(self) -> tuple[int, ...]:
        """The first element of each entry in the vector."""
        ends = np.cumsum((0, *self.sizes))
        return tuple(int(end) for end in ends[:-1])

    @ft.cached_property
    def size(self) -> int:
        """Length of the vector."""
        return sum(self.sizes)

    @ft.cached_property
    def _entries(self) -> tuple[tuple[int, int, tuple[int, ...], bool], ...]:
        """Start, size and shape of each entry, and whether it is in the vector."""
        return tuple(
            zip(self.starts, self.sizes, self.shapes, self.numeric, strict=True)
        )

    @ft.cached_property
    def where(self) -> dict[Key, int]:
        """The position of each key."""
        return {key: i for i, key in enumerate(self.keys)}

    @ft.cached_property
    def labels(self) -> tuple[str, ...]:
        """A name for each element of the vector: ``"mu"``, ``"gamma[3]"``."""
        out: list[str] = []
        for key, shape, numeric in zip(
            self.keys, self.shapes, self.numeric, strict=True
        ):
            name = key_text(key)
            if numeric and shape == ():
                out.append(name)
            elif numeric:
                out.extend(
                    f"{name}[{','.join(map(str, index))}]"
                    for index in np.ndindex(shape)
                )
        return tuple(out)

    @ft.cached_property
    def long_index(self) -> np.ndarray:
        """For each element of the ravelled pytree, its place in the vector.

        A parameter that several models share stands several times in the pytree.
        """
        values = [
            np.arange(start, start + size).reshape(shape)
            if numeric
            else np.full(shape, -1)
            for start, size, shape, numeric in self._entries
        ]
        leaves = jax.tree.leaves(self.template.with_values(values).to_pytree())
        parts = [np.ravel(leaf) for leaf in leaves]
        # 32 bits, whatever precision JAX has when this is computed.
        return np.concatenate([np.zeros(0, int), *parts]).astype(np.int32)

    def elements(self, position: int) -> np.ndarray:
        """Return which elements of the vector an entry takes."""
        start = self.starts[position]
        return np.arange(start, start + self.sizes[position])

    @ft.cached_property
    def _cuts(self) -> tuple[tuple[Any, tuple[int, ...]], ...]:
        return tuple(
            (slice(start, start + size) if shape else (start, ...), shape)
            for start, size, shape, numeric in self._entries
            if numeric
        )

    def split_host(self, vector: np.ndarray) -> list[np.ndarray]:
        """Cut a concrete vector into the values of the numeric entries, as views."""
        return [
            vector[place].reshape(shape) if shape else vector[place]
            for place, shape in self._cuts
        ]

    def split_traced(self, vector: jax.Array) -> list[jax.Array]:
        """Cut a vector into the values of the numeric entries, in one operation."""
        shapes = [shape for _, shape in self._cuts]
        if not shapes:
            return []
        parts = jax.lax.split(vector, list(map(math.prod, shapes)))
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def named(self, vector: Any, free: Sequence[int]) -> State:
        """Give a vector over some elements its names, with None for the others.

        Elements of an array that are missing while others are there become NaN.

        Args:
            vector: Values of shape ``(..., free)``.
            free: Which elements of the whole vector these are.
        """
        place = np.full(self.size, -1)
        place[list(free)] = np.arange(len(free))
        values = []
        for start, size, shape, numeric in self._entries:
            places = place[start : start + size]
            # An entry without elements is never missing.
            if not numeric or (size and places.max() < 0):
                values.append(None)
                continue
            if size == 0 or places.min() >= 0:
                # In State order, so without gaps.
                begin = places[0] if size else 0
                part = vector[..., begin : begin + size]
            else:
                xp: Any = np if isinstance(vector, np.ndarray) else jnp
                part = xp.where(places >= 0, vector[..., places], xp.nan)
            values.append(part.reshape(vector.shape[:-1] + shape))
        return self.template.with_values(values)

    def state(self, vector: Any, others: tuple[Any, ...]) -> State:
        """Rebuild the State from the vector and the entries that are not in it."""
        concrete = isinstance(vector, np.ndarray)
        parts = iter(self.split_host(vector) if concrete else self.split_traced(vector))
        rest = iter(others)
        values = [next(parts) if numeric else next(rest) for numeric in self.numeric]
        return self.template.with_values(values)


def key_text(key: Key) -> str:
    """Return a key as one string, the segments of a tuple joined by dots."""
    return key if isinstance(key, str) else ".".join(key)


@ft.lru_cache(maxsize=1024)
def _layout(treedef, shapes, numeric) -> Layout:
    """Return the one layout of a structure, so that its tables are made once."""
    return Layout(treedef, shapes, numeric)


_DOUBLE, _SINGLE = np.dtype(np.float64), np.dtype(np.float32)


def float_dtype() -> np.dtype:
    """Return the floating-point type that parameters have."""
    # As `jnp.result_type(float)`, in a tenth of the time.
    return _DOUBLE if jax.config.read("jax_enable_x64") else _SINGLE


def on_host(tree: Any) -> Any:
    """Return the arrays of a tree in NumPy, unless they are traced."""
    return tree if is_traced(tree) else jax.tree.map(np.asarray, tree)


def as_array(leaf: Any) -> Any:
    """Turn a Python number into an array, so that another value does not retrace.

    Floats get the default floating-point type; booleans and integers keep their kind,
    and integers are weakly typed, as Python's are.
    """
    if isinstance(leaf, float):
        return np.asarray(leaf, float_dtype())
    if isinstance(leaf, bool):
        return np.asarray(leaf)
    return jnp.asarray(leaf) if isinstance(leaf, int) else leaf


def as_arrays(tree: Any, name: str) -> Any:
    """Turn the data of a fit into arrays: see `as_array` and `native_tree`.

    Args:
        tree: Any pytree.
        name: Its name in messages.

    Raises:
        ArgumentTypeError: If an array holds no numbers, or an object is neither an
            array nor fit for the key of a compiled program.
        ArgumentValueError: If something is masked.
    """
    leaves, treedef = jax.tree.flatten(tree)
    if not all(map(is_native, leaves)):
        tree = native_tree(tree, name)
        leaves, treedef = jax.tree.flatten(tree)
        check_static(tree, name)
    return treedef.unflatten(map(as_array, leaves))


def ravel_state(state: State) -> tuple[Layout, Any, tuple[Any, ...]]:
    """Split a State into its layout, the vector of parameters and the other entries.

    Returns:
        The layout; the vector, in NumPy unless a value is traced; the values that are
        no parameters (integers, booleans, None), in State order.

    Raises:
        ArgumentTypeError: If a value is no number or array of numbers.
    """
    dtype = float_dtype()
    parts: list[Any] = []
    others: list[Any] = []
    shapes: list[tuple[int, ...]] = []
    numeric: list[bool] = []
    traced = False
    for key, value in state.items():
        if type(value) is float:
            # By far the most frequent case.
            kind, array, shape = True, value, ()
        else:
            kind, array = _classify(key, value)
            traced |= isinstance(array, Tracer)
            shape = () if array is None else np.shape(array)
        numeric.append(kind)
        shapes.append(shape)
        (parts if kind else others).append(array)
    layout = _layout(jax.tree.structure(state), tuple(shapes), tuple(numeric))
    if traced:
        vector = jnp.concatenate(
            [jnp.ravel(jnp.asarray(p, dtype)) for p in parts] or [jnp.zeros(0, dtype)]
        )
    elif len(parts) == layout.size and not any(shapes):
        vector = np.array(parts, dtype)
    else:
        flat = [np.ravel(part) for part in parts]
        vector = np.concatenate(flat or [np.zeros(0)]).astype(dtype)
    return layout, vector, tuple(others)


def _classify(key: Key, value: Any) -> tuple[bool, Any]:
    """Return whether a value is a floating-point parameter, and the value as array."""
    if value is None:
        return False, None
    if isinstance(value, float) or (
        isinstance(value, int) and not isinstance(value, bool)
    ):
        return True, value
    if isinstance(value, bool):
        return False, np.asarray(value)
    value = native(value, f"params[{key!r}]")
    if isinstance(value, Tracer):
        return bool(jnp.issubdtype(value.dtype, jnp.floating)), value
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.asarray(value)
        if jnp.issubdtype(array.dtype, jnp.floating):
            return True, array
        if array.dtype.kind in "biu":
            return False, array
    raise ArgumentTypeError(
        f"params[{key!r}]: expected a number or an array of real numbers, got "
        f"{type(value).__name__}. Put anything else into the observation or the model."
    )
