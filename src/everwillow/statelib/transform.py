"""Functions that make States out of States: rename, merge, split, partition, update.

None of them changes its arguments, and all remember the original names, so that
`State.to_pytree` always returns the pytree that the user's likelihood takes.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    KeyCollisionError,
    ShapeMismatchError,
    unknown_key,
)
from everwillow._tree import LeafSpec, leaf_shape, leaf_spec
from everwillow._typing import Key
from everwillow.statelib.meta import Meta
from everwillow.statelib.state import State, make_state, state_parts


@dataclass(frozen=True, slots=True)
class Transform:
    """A change of one entry by `apply_transformations`.

    Attributes:
        new_key: The key the entry gets, or None to keep its own.
        value_fn: ``value_fn(key, value) -> value``, called with the key *before* the
            renaming, or None to keep the value.
    """

    new_key: Key | None = None
    value_fn: Callable[[Key, Any], Any] | None = None

    def __post_init__(self) -> None:
        if self.new_key is not None:
            _check_key(self.new_key, where="Transform")
        if self.value_fn is not None and not callable(self.value_fn):
            raise ArgumentTypeError(
                "Transform: value_fn must be a function of (key, value), got "
                f"{type(self.value_fn).__name__}."
            )


def apply_transformations(
    state: State, transformations: Mapping[Key, Transform]
) -> State:
    """Rename entries of a State and change their values.

    All entries are renamed at once, so two keys may be swapped. The order stays, and
    `State.to_pytree` still gives the original names. In a merged State a shared entry
    is renamed in all the pieces that share it. Entries that are None stay None. Without
    transformations the State itself is returned.

    Raises:
        UnknownKeyError: If a key is not in the State.
        KeyCollisionError: If two entries would have one key.

    Example:
        >>> state = State.from_pytree({"m": 125.0, "s": 2.0})
        >>> double = Transform(value_fn=lambda key, value: 2 * value)
        >>> apply_transformations(state, {"m": Transform(new_key="mass"), "s": double})
        State(mass=125.0, s=4.0)
    """
    where = "apply_transformations"
    _as_state(state, where=where)
    _check_mapping(transformations, where=where, name="transformations")
    if not transformations:
        return state
    for key, transform in transformations.items():
        _check_transform(key, transform)
    _check_known(transformations, state, where=where)
    names = {k: t.new_key for k, t in transformations.items() if t.new_key is not None}
    renamed = _renamed(state, names, where=where)
    functions = {k: t.value_fn for k, t in transformations.items() if t.value_fn}
    return renamed.with_values(
        functions[key](key, value) if key in functions and value is not None else value
        for key, value in state.items()
    )


def rename(state: State, names: Mapping[Key, Key]) -> State:
    """Give entries new keys; `State.to_pytree` still gives the original names.

    Args:
        state: The State, which is not changed.
        names: From present key to new key.

    Raises:
        UnknownKeyError: If a key is not in the State.
        KeyCollisionError: If two entries would have one key.

    Example:
        >>> rename(State.from_pytree({"m": 125.0}), {"m": "mass"})
        State(mass=125.0)
    """
    _as_state(state, where="rename")
    _check_mapping(names, where="rename", name="names")
    _check_known(names, state, where="rename")
    for new in names.values():
        _check_key(new, where="rename")
    return _renamed(state, names, where="rename")


def prefix(state: State, name: str, *, keep: Iterable[Key] = ()) -> State:
    """Put a prefix before every key except those to keep.

    Args:
        state: The State, which is not changed.
        name: The prefix; joined by the separator of the State, and the first segment
            of keys that are tuples.
        keep: Keys that stay as they are, for example those shared with other States.

    Raises:
        UnknownKeyError: If a key to keep is not in the State.
        KeyCollisionError: If a new key is one of the kept.

    Example:
        >>> state = State.from_pytree({"mass": 125.0, "scale": 1.0})
        >>> prefix(state, "atlas", keep=("mass",))
        State(mass=125.0, atlas.scale=1.0)
    """
    _as_state(state, where="prefix")
    _check_prefix(name, keep)
    keep = list(keep)
    _check_known(keep, state, where="prefix: keep")
    separators = {
        key: piece.sep
        for piece in reversed(state_parts(state)[0].pieces)
        for key in piece.current
    }
    kept = set(keep)
    names = {
        key: _prefixed(key, name, separators[key]) for key in state if key not in kept
    }
    return _renamed(state, names, where="prefix")


def merge(*states: State) -> State:
    """Merge States into one, in which entries of the same key are one entry.

    Keys come in the order of their first appearance. Where start values of a shared
    key differ, that of the last State is used; None is replaced by any value.
    `State.to_pytree` of the result is the tuple of the individual pytrees, and `split`
    undoes the merging. The pieces of a merged State are merged individually, so the
    pieces of ``merge(merge(a, b), c)`` are those of a, b and c.

    Raises:
        ShapeMismatchError: If values of a shared key differ in shape or dtype kind.
            A Python int agrees with a float, as it usually is meant as one.

    Example:
        >>> a = State.from_pytree({"mass": 125.0, "scale_a": 1.0})
        >>> b = State.from_pytree({"mass": 124.0, "scale_b": 1.0})
        >>> merge(a, b)
        State(mass=124.0, scale_a=1.0, scale_b=1.0)
    """
    if not states:
        raise ArgumentValueError("merge: give at least one State.")
    values: dict[Key, Any] = {}
    specs: dict[Key, tuple[LeafSpec, int]] = {}
    for number, state in enumerate(states):
        _as_state(state, where=f"merge: argument {number}")
        for key, value in state.to_dict().items():
            if value is not None or key not in values:
                values[key] = value
            spec = leaf_spec(value)
            if spec is not None:
                _check_shared(key, spec, number, specs)
    pieces = [piece for state in states for piece in state_parts(state)[0].pieces]
    return make_state(Meta(pieces, merged=True), tuple(values.values()))


def split(merged: State) -> tuple[State, ...]:
    """Undo `merge`: return one State for each piece, with its part of the values.

    Every piece gets the value of a shared entry. Keys are the present ones, and
    `State.to_pytree` of each piece gives its own names and structure. Nested merging
    is flat: ``split(merge(merge(a, b), c))`` has three pieces.

    Raises:
        ArgumentValueError: If the State was not merged.
    """
    _as_state(merged, where="split")
    meta, values = state_parts(merged)
    if not meta.merged:
        raise ArgumentValueError(
            "split: the State was not merged; only what sl.merge made can be split."
        )
    return tuple(
        make_state(alone, tuple(values[position] for position in positions))
        for alone, positions in zip(meta.alone, meta.positions, strict=True)
    )


def partition(
    state: State, predicate: Callable[[Key, Any], bool]
) -> tuple[State, State]:
    """Divide the entries of a State into two States of the same keys.

    Args:
        state: The State, which is not changed.
        predicate: ``predicate(key, value)``, true for entries of the left State. It is
            not called for entries that are None; they are None in both States.

    Returns:
        ``(left, right)``; each has None where the value is on the other side.

    Example:
        >>> state = State.from_pytree({"mu": 1.0, "theta": 0.0})
        >>> partition(state, lambda key, value: key == "mu")
        (State(mu=1.0, theta=None), State(mu=None, theta=0.0))
    """
    _as_state(state, where="partition")
    if not callable(predicate):
        raise ArgumentTypeError(
            "partition: predicate must be a function of (key, value), got "
            f"{type(predicate).__name__}."
        )
    left: list[Any] = []
    right: list[Any] = []
    for key, value in state.to_dict().items():
        chosen = value is not None and bool(predicate(key, value))
        left.append(value if chosen else None)
        right.append(None if chosen else value)
    return state.with_values(left), state.with_values(right)


def combine_partitions(left: State, right: State) -> State:
    """Undo `partition`: take each value from the side that has it.

    An entry that is None on both sides stays None.

    Raises:
        ArgumentValueError: If the two are not of one structure, or if both have a
            value for the same key.
    """
    _as_state(left, where="combine_partitions: left")
    _as_state(right, where="combine_partitions: right")
    (meta, left_values), (right_meta, right_values) = map(state_parts, (left, right))
    if meta != right_meta:
        differing = sorted({str(key) for key in left.keys() ^ right.keys()})
        difference = (
            f"keys {', '.join(differing)} are on one side only"
            if differing
            else ("their keys agree, but not the pytrees they came from")
        )
        raise ArgumentValueError(
            f"combine_partitions: not the two parts of one State: {difference}."
        )
    pairs = list(zip(left_values, right_values, strict=True))
    twice = [
        str(key)
        for key, (a, b) in zip(left, pairs, strict=True)
        if a is not None and b is not None
    ]
    if twice:
        raise ArgumentValueError(
            f"combine_partitions: both sides have a value for {', '.join(twice)}; "
            "one of them must be None."
        )
    return left.with_values(b if a is None else a for a, b in pairs)


def update(state: State, updates: Mapping[Key, Any]) -> State:
    """Return a State with some values replaced.

    Args:
        state: The State, which is not changed.
        updates: From key to new value, a mapping or a State; ``...`` keeps the value of
            an entry. New values may have any dtype.

    Raises:
        UnknownKeyError: If a key is not in the State.
        ShapeMismatchError: If a value has another shape than the one it replaces.

    Example:
        >>> state = State.from_pytree({"mu": 1.0, "theta": 0.0})
        >>> update(state, {"mu": 2.0, "theta": ...})
        State(mu=2.0, theta=0.0)
    """
    _as_state(state, where="update")
    _check_mapping(updates, where="update", name="updates")
    _check_known(updates, state, where="update")
    meta, old_values = state_parts(state)
    values = list(old_values)
    for key, new in updates.items():
        if new is ...:
            continue
        position = meta.index[key]
        old_shape, new_shape = leaf_shape(values[position]), leaf_shape(new)
        if old_shape != new_shape and None not in (old_shape, new_shape):
            raise ShapeMismatchError(
                f"update: {key!r} has shape {old_shape}, its new value shape "
                f"{new_shape}; broadcast the value yourself if that is meant."
            )
        values[position] = new
    return state.with_values(values)


def _check_shared(
    key: Key, spec: LeafSpec, number: int, specs: dict[Key, tuple[LeafSpec, int]]
) -> None:
    known, first = specs.setdefault(key, (spec, number))
    if not known.agrees_with(spec):
        raise ShapeMismatchError(
            f"merge: the States disagree on {key!r}: {known} in State {first}, {spec} "
            f"in State {number}. Rename one of them, or give both the same form."
        )
    if known.kind == "number":  # an int literal agrees with any kind
        specs[key] = (spec, number)


def _renamed(state: State, names: Mapping[Key, Key], *, where: str) -> State:
    old_key: dict[Key, Key] = {}
    for key in state:
        new = names.get(key, key)
        if new in old_key:
            raise KeyCollisionError(
                f"{where}: {old_key[new]!r} and {key!r} would both have the key "
                f"{new!r}. Sharing an entry is for sl.merge; otherwise choose "
                "another name."
            )
        old_key[new] = key
    meta, values = state_parts(state)
    return make_state(meta.renamed(names), values)


def _prefixed(key: Key, name: str, sep: str | None) -> Key:
    if isinstance(key, tuple):
        return (name, *key)
    return f"{name}{'.' if sep is None else sep}{key}" if key else name


def _as_state(state: Any, *, where: str) -> None:
    if not isinstance(state, State):
        raise ArgumentTypeError(
            f"{where}: expected a State, got {type(state).__name__}. Make one with "
            "State.from_pytree(pytree)."
        )


def _check_transform(key: Key, transform: Any) -> None:
    if not isinstance(transform, Transform):
        raise ArgumentTypeError(
            f"apply_transformations: the entry for {key!r} must be a Transform, got "
            f"{type(transform).__name__}. To rename only, use sl.rename."
        )


def _check_prefix(name: Any, keep: Any) -> None:
    if not isinstance(name, str) or not name:
        raise ArgumentTypeError(
            f"prefix: the prefix must be a non-empty string, got {name!r}."
        )
    if isinstance(keep, str):
        raise ArgumentTypeError(
            f"prefix: keep must be a collection of keys; write keep=({keep!r},)."
        )


def _check_mapping(mapping: Any, *, where: str, name: str) -> None:
    if not isinstance(mapping, Mapping):
        raise ArgumentTypeError(
            f"{where}: {name} must be a mapping from keys, got "
            f"{type(mapping).__name__}."
        )


def _check_known(keys: Iterable[Key], state: State, *, where: str) -> None:
    for key in keys:
        if key not in state:
            raise unknown_key(key, state, where=where)


def _check_key(key: Any, *, where: str) -> None:
    parts = cast(tuple[Any, ...], key) if isinstance(key, tuple) else (key,)
    if not all(isinstance(part, str) for part in parts):
        raise ArgumentTypeError(
            f"{where}: a key must be a string or a tuple of strings, got {key!r}."
        )
