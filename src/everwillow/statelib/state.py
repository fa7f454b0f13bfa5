"""The `State`: an immutable, flat, ordered mapping from keys to parameter values.

It only manages keys: no value is converted or read (except to print it), so that a
State works under `jax.jit`, `jax.vmap` and `jax.grad`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (the signatures of jax.tree_util are not fully known to it)

import types
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping
from typing import Any, NoReturn, TypeAlias, final

import jax.tree_util as jtu

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    KeyCollisionError,
    unknown_key,
)
from everwillow._html import Table, html_of
from everwillow._native import native_tree
from everwillow._tree import (
    format_leaf,
    format_type,
    is_whole,
)
from everwillow._typing import Key
from everwillow.statelib.meta import Meta, Piece


_SHOWN_IN_REPR = 12


def key_segments(entry: Any) -> tuple[str, ...]:
    """Return the texts of one entry of a key path: several for a tuple as a key.

    Raises:
        ArgumentTypeError: If it is no entry of a key path of JAX.

    Example:
        >>> import jax.tree_util as jtu
        >>> key_segments(jtu.DictKey(("a", 0)))
        ('a', '0')
    """
    match entry:
        case jtu.DictKey(key=tuple() as key):
            return tuple(map(str, key))
        case jtu.DictKey(key=key) | jtu.FlattenedIndexKey(key=key):
            return (str(key),)
        case jtu.SequenceKey(idx=index):
            return (str(index),)
        case jtu.GetAttrKey(name=name):
            return (str(name),)
        case _:
            raise ArgumentTypeError(
                f"The entry {entry!r} of a key path has the unknown type "
                f"{type(entry).__name__}. Key paths come from "
                "jax.tree_util.tree_flatten_with_path."
            )


def canonicalize_key(path: Iterable[Any], *, sep: str | None = ".") -> Key:
    """Turn a JAX key path into the key that a `State` uses.

    Args:
        path: Key path as given by `jax.tree_util.tree_flatten_with_path`.
        sep: Separator that joins the segments; None returns them as a tuple.

    Returns:
        ``"b.c"`` or ``"a.0"``; with ``sep=None`` ``("b", "c")`` or ``("a", "0")``. The
        empty path, that of a pytree which is a single leaf, gives ``""`` or ``()``.

        A tuple as key of a dictionary gives one segment for each of its elements.

    Raises:
        ArgumentValueError: If a segment contains the separator.
        ArgumentTypeError: If an entry of the path has an unknown type.

    Example:
        >>> import jax.tree_util as jtu
        >>> canonicalize_key((jtu.DictKey("b"), jtu.SequenceKey(0)))
        'b.0'
    """
    _check_sep(sep)
    segments = tuple(segment for entry in path for segment in key_segments(entry))
    if sep is None:
        return segments
    for segment in segments:
        if sep in segment:
            other = next((s for s in (".", "/", ":", "|") if s not in segment), None)
            advice = f"sep={other!r}, or sep=None" if other else "sep=None"
            raise ArgumentValueError(
                f"The key segment {segment!r} of {'/'.join(segments)!r} contains the "
                f"separator {sep!r}, so the joined key could not be distinguished "
                f"from a nested one. Choose {advice} for tuples as keys."
            )
    return sep.join(segments)


def _check_sep(sep: object) -> None:
    if sep is not None and not isinstance(sep, str):
        raise ArgumentTypeError(
            f"sep: expected a string or None, got {type(sep).__name__}."
        )
    if sep == "":
        raise ArgumentValueError(
            "sep: the empty string cannot separate; use None for tuples as keys."
        )


class _Items(ItemsView[Key, Any]):
    """The entries of a State, without a look-up of each key."""

    _mapping: "State"

    def __iter__(self) -> Iterator[tuple[Key, Any]]:
        return self._mapping._items()  # pyright: ignore[reportPrivateUsage]


@final
class State(Mapping[Key, Any]):
    """An immutable, ordered mapping from keys to parameter values.

    Made by `State.from_pytree`, it remembers the pytree it came from and, through
    renaming and merging, the original key of each entry. The order is that in which JAX
    flattens the pytree (dictionaries by sorted key).

    A State is a pytree whose leaves are its values. A value of None is an empty
    subtree: it marks an entry whose value is in another State, see `partition`. Two
    States are equal only if they are one object, as arrays are compared element by
    element; compare `to_dict` or the leaves instead.

    Example:
        >>> state = State.from_pytree({"mu": 1.0, "bkg": {"norm": 2.0}})
        >>> state
        State(bkg.norm=2.0, mu=1.0)
        >>> state["bkg.norm"]
        2.0
        >>> state.to_pytree()
        {'bkg': {'norm': 2.0}, 'mu': 1.0}
    """

    # More than twelve methods, because the Mapping protocol and immutability
    # alone take eleven.
    __slots__ = ("__weakref__", "_meta", "_values")

    _meta: Meta
    _values: tuple[Any, ...]

    def __new__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise: a State is made by `from_pytree`."""
        del args, kwargs
        raise ArgumentTypeError("State: make one with State.from_pytree(pytree).")

    @classmethod
    def from_pytree(
        cls,
        pytree: Any,
        *,
        is_leaf: Callable[[Any], bool] | None = None,
        sep: str | None = ".",
    ) -> "State":
        """Make a State of the leaves of a pytree.

        Args:
            pytree: Any pytree but a State; its leaves may be scalars or arrays. Tables,
                series and dataclasses are opened as `fit` does with data. Transforms
                and `Interval` are leaves: a State of bounds has the keys of the
                parameters.
            is_leaf: As in `jax.tree.flatten`; None in the pytree is structure and
                gets no key, unless this says that it is a leaf.
            sep: Separator that joins the segments of a key; None makes keys tuples of
                strings.

        Raises:
            ArgumentTypeError: If a State is given.
            ArgumentValueError: If a key segment contains the separator.
            KeyCollisionError: If two leaves have one key, as with ``1`` and ``"1"``.
        """
        if isinstance(pytree, State):
            raise ArgumentTypeError(
                "State.from_pytree: got a State, which needs no conversion. For its "
                "pytree use state.to_pytree(), to change values sl.update(state, ...)."
            )
        _check_sep(sep)

        def stop(value: Any) -> bool:
            return is_whole(value) or (is_leaf is not None and is_leaf(value))

        try:
            pytree = native_tree(pytree, "params", is_leaf=stop)
            leaves, treedef = jtu.tree_flatten_with_path(pytree, is_leaf=stop)
        except ValueError as error:
            raise ArgumentValueError(
                f"State.from_pytree: the pytree cannot be flattened: {error} The keys "
                "of one dictionary must all be of one type, best strings."
            ) from error
        keys = tuple(canonicalize_key(path, sep=sep) for path, _ in leaves)
        if len(set(keys)) != len(keys):
            twice = sorted({str(key) for key in keys if keys.count(key) > 1})
            raise KeyCollisionError(
                f"State.from_pytree: several leaves have the key {', '.join(twice)}."
            )
        meta = Meta((Piece(treedef, keys, keys, sep),), merged=False)
        return make_state(meta, tuple(leaf for _, leaf in leaves))

    def with_values(self, values: Iterable[Any]) -> "State":
        """Return a State of the same structure with other values, in State order.

        Shapes and dtypes are not checked.

        Raises:
            ArgumentValueError: If the number of values is not that of the entries.
        """
        new = tuple(values)
        if len(new) != len(self._values):
            raise ArgumentValueError(
                f"with_values: got {len(new)} values for {len(self)} entries."
            )
        return make_state(self._meta, new)

    def to_pytree(self) -> Any:
        """Return the original pytree, under its original names, with these values.

        For a merged State this is the flat tuple of the pytrees of all pieces, also if
        it was merged from merged States; a shared value is in each.
        """
        values, meta = self._values, self._meta
        trees = tuple(
            piece.treedef.unflatten([values[position] for position in positions])
            for piece, positions in zip(meta.pieces, meta.positions, strict=True)
        )
        return trees if meta.merged else trees[0]

    def to_dict(self) -> dict[Key, Any]:
        """Return a new dictionary of all entries."""
        return dict(zip(self._meta.keys, self._values, strict=True))

    @property
    def mapping(self) -> Mapping[Key, Any]:
        """A read-only view of all entries."""
        return types.MappingProxyType(self.to_dict())

    @property
    def notnone(self) -> dict[Key, Any]:
        """A new dictionary of the entries that are not None."""
        return {key: value for key, value in self._items() if value is not None}

    @property
    def is_merged(self) -> bool:
        """Whether the State came from `merge`, so that `split` can undo it."""
        return self._meta.merged

    def origins(self, key: Key) -> tuple[tuple[int, Key], ...]:
        """Return the origins of an entry: pairs of piece number and original key.

        A State that was not merged has the one piece 0.

        Raises:
            UnknownKeyError: If the State has no such key.
        """
        origins = self._meta.origins.get(key)
        if origins is None:
            raise unknown_key(key, self._meta.keys, where="State.origins")
        return origins

    def show(self) -> str:
        """Return a table of the entries: key, value, type, and origin if it differs.

        Example:
            >>> print(State.from_pytree({"mu": 1.0, "theta": [0.5, 2]}).show())
            key      value  type
            mu       1      float
            theta.0  0.5    float
            theta.1  2      int
        """
        return str(self._table())

    def _repr_html_(self) -> str:
        """Return the same for notebooks."""
        return html_of([self._table()])

    def _table(self) -> Table:
        rows = [
            (_text(key), format_leaf(value), format_type(value), self._from(key))
            for key, value in self._items()
        ]
        if not any(row[3] for row in rows):
            return Table([("key", "value", "type"), *(row[:3] for row in rows)])
        return Table([("key", "value", "type", "from"), *rows])

    def __getitem__(self, key: Key) -> Any:
        position = self._meta.index.get(key)
        if position is None:
            raise unknown_key(key, self._meta.keys, where="State")
        return self._values[position]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._meta.keys)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._meta.index

    def get(self, key: Key, default: Any = None) -> Any:
        """Return the value of a key, or the default if there is no such key."""
        position = self._meta.index.get(key)
        return default if position is None else self._values[position]

    def items(self) -> ItemsView[Key, Any]:
        """Return the entries, pairs of key and value."""
        return _Items(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        del name, value
        raise AttributeError(
            "State: it is immutable; sl.update(state, updates={...}) makes a new one."
        )

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name, None)

    def __reduce__(self) -> tuple[Any, ...]:
        return make_state, (self._meta, self._values)

    def __repr__(self) -> str:
        shown = [
            f"{_text(key)}={format_leaf(value, str)}"
            for key, value in list(self._items())[:_SHOWN_IN_REPR]
        ]
        if len(self) > _SHOWN_IN_REPR:
            shown.append(f"... {len(self)} entries in all")
        line = f"State({', '.join(shown)})"
        if len(line) <= 88:
            return line
        return "State(\n" + "".join(f"  {entry},\n" for entry in shown) + ")"

    def _items(self) -> Iterator[tuple[Key, Any]]:
        return zip(self._meta.keys, self._values, strict=True)

    def _from(self, key: Key) -> str:
        origins = self.origins(key)
        if self.is_merged:
            return ", ".join(f"{number}: {_text(name)}" for number, name in origins)
        return _text(origins[0][1]) if origins[0][1] != key else ""


def make_state(meta: Meta, values: tuple[Any, ...]) -> State:
    """Build a State from its metadata and one value for each key, without checks.

    JAX calls this for every unflattening.
    """
    state = object.__new__(State)
    object.__setattr__(state, "_meta", meta)
    object.__setattr__(state, "_values", values)
    return state


def state_parts(state: State) -> tuple[Meta, tuple[Any, ...]]:
    """Return the metadata of a State and its values in order."""
    # For this package only; others use `State.with_values` and the keys.
    return state._meta, state._values  # pyright: ignore[reportPrivateUsage]


def _text(key: Key) -> str:
    return key if isinstance(key, str) and key else repr(key)


def _flatten(state: State) -> tuple[tuple[Any, ...], Meta]:
    meta, values = state_parts(state)
    return values, meta


def _flatten_with_keys(state: State) -> tuple[Iterable[tuple[Any, Any]], Meta]:
    meta, values = state_parts(state)
    return zip(meta.path, values, strict=True), meta


def _unflatten(meta: Meta, values: Iterable[Any]) -> State:
    return make_state(meta, tuple(values))


jtu.register_pytree_with_keys(State, _flatten_with_keys, _unflatten, _flatten)


Parameters: TypeAlias = State | Mapping[str, Any] | list[Any] | tuple[Any, ...]
"""Parameters as functions take them: a State, or a pytree of which one is made."""


def as_state(params: Any, *, where: str = "params") -> State:
    """Return parameters as a State: unchanged, or made of a dict, list or tuple.

    Args:
        params: A State, or a pytree of parameters that is one of these containers.
        where: The argument, for messages.

    Raises:
        ArgumentTypeError: If it is something else.

    Example:
        >>> as_state({"mu": 1.0})
        State(mu=1.0)
    """
    if isinstance(params, State):
        return params
    if isinstance(params, Mapping | list | tuple):
        return State.from_pytree(params)
    raise ArgumentTypeError(
        f"{where}: expected a State, a dict or another pytree of parameters, got "
        f"{type(params).__name__}. Make a State of any pytree with "
        "State.from_pytree(pytree)."
    )
