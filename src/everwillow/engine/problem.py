"""Conversion of the arguments of `fit` to arrays of fixed structure, on the host."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ShapeMismatchError,
    unknown_key,
)
from everwillow._native import native
from everwillow._numerics import is_traced, namespace
from everwillow._typing import Key
from everwillow.engine.layout import Layout, as_arrays, ravel_state
from everwillow.parameters import Interval, TransformBase
from everwillow.parameters.bound_table import BoundTable
from everwillow.parameters.bounds import range_hint
from everwillow.statelib.state import as_state


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Numbers:
    """All numbers of a fit; the arguments of the compiled core.

    Attributes:
        vector: All parameters, start values and fixed ones, shape ``(params,)``.
        others: Entries of the State that are no floating-point parameters.
        index: Places in the vector of the parameters of the solver, shape ``(n,)``.
        mask: Which of these may move; False holds them at their start.
        lower: Lower ends, shape ``(n,)``; None if nothing is bounded.
        upper: Upper ends, shape ``(n,)``; None if nothing is bounded.
        transforms: Smooth maps, one for each kind, its numbers of shape ``(k,)``.
        transformed: For each map its places among the ``n``, shape ``(k,)``.
        observation: The second argument of the objective.
    """

    vector: Any
    others: tuple[Any, ...]
    index: Any
    mask: Any
    lower: Any
    upper: Any
    transforms: tuple[TransformBase, ...]
    transformed: tuple[Any, ...]
    observation: Any

    def at(self, x: Any) -> "Numbers":
        """Return the numbers with other values of the parameters of the solver."""
        vector = jnp.asarray(self.vector).at[self.index].set(x)
        return dataclasses.replace(self, vector=vector)


def build(
    params: Any,
    observation: Any,
    fixed: Any,
    bounds: Any,
    *,
    native_boxes: bool,
    whole: bool,
) -> tuple[Layout, Numbers]:
    """Check the arguments of a fit and turn them into numbers.

    Args:
        params: Start values: a State, or a dict or another pytree of them.
        observation: Any pytree.
        fixed: Mapping of key to value or ``...``, or None.
        bounds: Mapping of key to `Interval` or transform, or None.
        native_boxes: Whether the solver honours boxes; if not, smooth maps replace
            intervals.
        whole: Whether the objective has its own curvature; the core then works with all
            parameters, and the mask holds those that are fixed.
    """
    layout, vector, others = ravel_state(as_state(params))
    vector, others, free = apply_fixed(layout, vector, others, fixed)
    _check_finite(layout, vector)
    traced = is_traced(vector, bounds)
    # A parameter fixed on an end stays in the problem: the solver has to move it inside
    # where there are no derivatives on the end.
    ends = native_boxes and not traced and not free.all()
    inside = free | _on_ends(layout, vector, ~free, bounds) if ends else free
    (index,) = np.nonzero(inside | whole)
    mask = free[index]
    limits = _limits(
        layout, vector, inside, index, bounds, native_boxes=native_boxes, traced=traced
    )
    numbers = Numbers(
        vector=limits.vector,
        others=others,
        index=index,
        mask=mask,
        lower=limits.lower,
        upper=limits.upper,
        transforms=limits.transforms,
        transformed=limits.transformed,
        observation=as_arrays(observation, "observation"),
    )
    return layout, numbers


def _check_finite(layout: Layout, vector: Any) -> None:
    """Refuse start and fixed values that are NaN or infinite."""
    if is_traced(vector) or np.isfinite(vector).all():
        return
    (places,) = np.nonzero(~np.isfinite(vector))
    wrong = [f"{layout.labels[i]} = {vector[i]}" for i in places[:10]]
    raise ArgumentValueError(
        f"params: {', '.join(wrong)}. Start from, and fix at, finite values."
    )


def check_mapping(argument: Any, name: str) -> Mapping[Key, Any]:
    """Return the argument as a mapping; None is an empty one."""
    if argument is None:
        return {}
    if isinstance(argument, Mapping):
        return argument
    raise ArgumentTypeError(
        f"{name}: expected a State or a mapping from parameter keys, got "
        f"{type(argument).__name__}. {_as_mapping(argument, name)}"
    )


def _as_mapping(argument: Any, name: str) -> str:
    """Return the mapping that a single name, or several, should be written as."""
    names = [argument] if isinstance(argument, str) else argument
    if not isinstance(names, list | tuple | set | frozenset) or not names:
        return f'Write {name}={{"name": ...}}.'
    value = "Interval(lower, upper)" if name == "bounds" else "..."
    shown = ", ".join(f"{one!r}: {value}" for one in sorted(names, key=str)[:3])
    return f"Write {name}={{{shown}}}."


def apply_fixed(
    layout: Layout, vector: Any, others: tuple[Any, ...], fixed: Any
) -> tuple[Any, tuple[Any, ...], np.ndarray]:
    """Write fixed values into the vector, and mark the free elements.

    Returns:
        The vector, the other entries, and a mask of the free elements.
    """
    free = np.ones(layout.size, bool)
    rest = list(others)
    fixed = check_mapping(fixed, "fixed")
    traced = is_traced(vector, dict(fixed))
    vector = jnp.asarray(vector) if traced else np.array(vector)
    for key, entry in fixed.items():
        if key not in layout.where:
            raise unknown_key(key, layout.keys, where="fixed")
        if entry is None:
            continue
        position = layout.where[key]
        elements = layout.elements(position)
        if entry is Ellipsis:
            free[elements] = False
            continue
        value = _fixed_value(key, entry, layout.shapes[position])
        if np.shape(value) and not is_traced(value):
            # NaN marks the elements of an array that stay free.
            chosen = ~np.isnan(np.ravel(value))
            elements, value = elements[chosen], np.ravel(value)[chosen]
        free[elements] = False
        if not layout.numeric[position]:
            rest[sum(not n for n in layout.numeric[:position])] = value
        elif traced:
            vector = vector.at[elements].set(jnp.ravel(value))
        else:
            vector[elements] = np.ravel(value)
    check_fittable(layout, others, fixed)
    return vector, tuple(rest), free


def _fixed_value(key: Key, value: Any, shape: tuple[int, ...]) -> Any:
    numbers = (int, float, np.ndarray, np.generic, jax.Array)
    value = native(value, f"fixed[{key!r}]")
    if isinstance(value, bool) or not isinstance(value, numbers):
        raise ArgumentTypeError(
            f"fixed[{key!r}]: expected a number, an array, or ... for the start value, "
            f"got {type(value).__name__}."
        )
    if np.shape(value) not in ((), shape):
        raise ShapeMismatchError(
            f"fixed[{key!r}]: the value has shape {np.shape(value)}, the parameter "
            f"has shape {shape}."
        )
    xp = namespace(value)
    return xp.broadcast_to(value, shape)


def check_fittable(
    layout: Layout, others: tuple[Any, ...], fixed: Mapping[Key, Any]
) -> None:
    """Refuse integers that are not fixed: they have no derivative."""
    keys = [k for k, n in zip(layout.keys, layout.numeric, strict=True) if not n]
    for key, value in zip(keys, others, strict=True):
        if value is not None and fixed.get(key) is None:
            raise ArgumentTypeError(
                f"params[{key!r}]: an array of dtype {value.dtype} cannot be fitted. "
                f"Use floating-point numbers, or fix it: fixed={{{key!r}: ...}}."
            )


def _on_ends(layout: Layout, vector: Any, fixed: np.ndarray, bounds: Any) -> np.ndarray:
    """Return which elements are fixed on an end of their interval."""
    on_ends = np.zeros(layout.size, bool)
    if isinstance(bounds, BoundTable):  # such likelihoods are finite on their ends
        return on_ends
    for key, bound in check_mapping(bounds, "bounds").items():
        if not isinstance(bound, Interval) or key not in layout.where:
            continue
        position = layout.where[key]
        elements, shape = layout.elements(position), layout.shapes[position]
        if fixed[elements].any():
            _check_shape(key, bound, shape)
            ends = _spread(bound.lower, shape), _spread(bound.upper, shape)
            on_ends[elements] = fixed[elements] & np.any(
                vector[elements] == ends, axis=0
            )
    return on_ends


class _Limits(NamedTuple):
    """Bounds as arrays; see `Numbers` for the first four.

    Attributes:
        lower: Lower ends.
        upper: Upper ends.
        transforms: Smooth maps.
        transformed: Their places.
        vector: All parameters, with start values moved off the ends of smooth maps.
    """

    lower: Any
    upper: Any
    transforms: tuple[TransformBase, ...]
    transformed: tuple[np.ndarray, ...]
    vector: Any


def _limits(
    layout: Layout,
    vector: Any,
    free: np.ndarray,
    index: np.ndarray,
    bounds: Any,
    *,
    native_boxes: bool,
    traced: bool,
) -> _Limits:
    """Turn bounds into box ends and stacked transforms for the fitted parameters."""
    table = isinstance(bounds, BoundTable) and tuple(bounds) == layout.keys
    if table and native_boxes:
        return _packed_limits(layout, vector, free, index, bounds, traced=traced)
    place = np.zeros(layout.size, int)
    place[index] = np.arange(index.size)
    groups: dict[Any, list[tuple[TransformBase, np.ndarray]]] = {}
    boxes: list[tuple[np.ndarray, Any, Any]] = []
    for key, given in check_mapping(bounds, "bounds").items():
        position = _position(layout, key, given)
        elements = layout.elements(position)
        if given is None or not free[elements].any():
            continue
        shape = layout.shapes[position]
        _check_shape(key, given, shape)
        bound = given
        if isinstance(given, Interval) and not native_boxes:
            bound = given.smooth()
            if bound is None:
                continue
            vector = _move_off_ends(vector, elements, given, traced=traced)
        if not traced:
            _check_start(key, vector[elements].reshape(shape), bound)
        inside = free[elements]
        if isinstance(bound, Interval):
            ends = [_spread(end, shape)[inside] for end in (bound.lower, bound.upper)]
            boxes.append((place[elements[inside]], *ends))
        else:
            flat = jax.tree.map(lambda leaf: _spread(leaf, shape)[inside], bound)  # noqa: B023
            placed = (flat, place[elements[inside]])
            groups.setdefault(jax.tree.structure(flat), []).append(placed)
    lower, upper = _box_ends(index.size, boxes, vector.dtype)
    return _Limits(lower, upper, *_stack_transforms(groups), vector)


def _packed_limits(
    layout: Layout,
    vector: Any,
    free: np.ndarray,
    index: np.ndarray,
    bounds: BoundTable,
    *,
    traced: bool,
) -> _Limits:
    """Take the box ends of all parameters from a table."""
    lower, upper = bounds.lower, bounds.upper
    if not traced:
        outside = free & ((vector < lower) | (vector > upper))
        for position, key in enumerate(layout.keys) if outside.any() else ():
            elements, shape = layout.elements(position), layout.shapes[position]
            if outside[elements].any():
                _check_start(key, vector[elements].reshape(shape), bounds[key])
    xp = namespace(lower, upper)
    # Fixed parameters may have any value.
    lower = xp.where(free, lower, -np.inf)
    upper = xp.where(free, upper, np.inf)
    return _Limits(lower[index], upper[index], (), (), vector)


def _position(layout: Layout, key: Key, bound: Any) -> int:
    """Return the position of the entry of a bound, after checking both."""
    if key not in layout.where:
        raise unknown_key(key, layout.keys, where="bounds")
    if bound is not None and not isinstance(bound, Interval | TransformBase):
        raise ArgumentTypeError(
            f"bounds[{key!r}]: expected an Interval or a transform, got "
            f"{type(bound).__name__}. {range_hint(bound)}"
        )
    return layout.where[key]


def _check_shape(key: Key, bound: Any, shape: tuple[int, ...]) -> None:
    for leaf in jax.tree.leaves(bound):
        if np.broadcast_shapes(np.shape(leaf), shape) != shape:
            raise ShapeMismatchError(
                f"bounds[{key!r}]: the ends have shape {np.shape(leaf)}, which does "
                f"not broadcast to the parameter's shape {shape}."
            )


def _spread(leaf: Any, shape: tuple[int, ...]) -> Any:
    xp = namespace(leaf)
    return xp.ravel(xp.broadcast_to(leaf, shape))


def _box_ends(
    count: int, boxes: list[tuple[np.ndarray, Any, Any]], dtype: Any
) -> tuple[Any, Any]:
    """Collect box ends in two vectors, or None where nothing is bounded."""
    if not boxes:
        return None, None
    xp = namespace([b[1:] for b in boxes])
    lower, upper = np.full(count, -np.inf, dtype), np.full(count, np.inf, dtype)
    if xp is np:
        for places, low, high in boxes:
            lower[places], upper[places] = low, high
        return lower, upper
    places = np.concatenate([b[0] for b in boxes])
    low = jnp.concatenate([jnp.asarray(b[1], dtype) for b in boxes])
    high = jnp.concatenate([jnp.asarray(b[2], dtype) for b in boxes])
    return jnp.asarray(lower).at[places].set(low), jnp.asarray(upper).at[places].set(
        high
    )


def _stack_transforms(
    groups: dict[Any, list[tuple[TransformBase, np.ndarray]]],
) -> tuple[tuple[TransformBase, ...], tuple[np.ndarray, ...]]:
    """Join transforms of one kind, so that each kind is evaluated once."""
    transforms, places = [], []
    for members in groups.values():
        xp = namespace([m[0] for m in members])
        transforms.append(
            jax.tree.map(
                lambda *x, lib=xp: lib.concatenate(x), *[m[0] for m in members]
            )
        )
        places.append(np.concatenate([m[1] for m in members]))
    return tuple(transforms), tuple(places)


def _check_start(key: Key, value: np.ndarray, bound: Interval | TransformBase) -> None:
    if isinstance(bound, TransformBase):
        inside, kind = bool(np.all(bound.in_range(value))), "strictly inside"
    else:
        inside = bool(np.all((value >= bound.lower) & (value <= bound.upper)))
        kind = "inside"
    if not inside:
        raise ArgumentValueError(
            f"params[{key!r}]: the start value {value} is not {kind} its bounds "
            f"{bound}. Start elsewhere: sl.update(state, updates={{{key!r}: ...}})."
        )


def _move_off_ends(
    vector: Any, elements: np.ndarray, bound: Interval, *, traced: bool
) -> Any:
    """Move a start value off the ends, on which smooth maps are infinite."""
    if traced:
        return vector
    lower, upper = np.broadcast_arrays(bound.lower, bound.upper)
    both = np.isfinite(lower) & np.isfinite(upper)
    width = np.where(both, np.where(both, upper, 0) - np.where(both, lower, 0), 1.0)
    inner = 1e-3 * width
    vector = np.array(vector)
    old = vector[elements]
    near_low, near_high = old == np.ravel(lower), old == np.ravel(upper)
    vector[elements] = old + np.ravel(inner) * near_low - np.ravel(inner) * near_high
    return vector
