"""The metadata of a State: tree definitions, keys, and the origins of the keys.

It is the static part of a State under JAX, so it hashes and compares by value: two
States of the same structure have equal tree definitions and share one compiled program.
"""

# pyright: reportUnknownMemberType=false
# (the signatures of jax.tree_util are not fully known to it)

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.tree_util as jtu

from everwillow._typing import Key


class Piece(NamedTuple):
    """One pytree behind a State.

    Attributes:
        treedef: The structure of the pytree.
        original: The keys its leaves had at first, in leaf order.
        current: The keys they have now, in leaf order.
        sep: The separator the keys were made with.
    """

    treedef: Any
    original: tuple[Key, ...]
    current: tuple[Key, ...]
    sep: str | None

    def __reduce__(self) -> tuple[Any, ...]:
        # Not all tree definitions of custom nodes can be pickled; a tree with integers
        # as leaves can, if the tree itself can.
        skeleton = self.treedef.unflatten(list(range(len(self.original))))
        return _restore_piece, (skeleton, self.original, self.current, self.sep)


def _restore_piece(
    skeleton: Any, original: tuple[Key, ...], current: tuple[Key, ...], sep: str | None
) -> Piece:
    return Piece(jtu.tree_structure(skeleton), original, current, sep)


class Meta:
    """The immutable metadata of a State, shared by all States of one structure.

    Attributes:
        pieces: The pytrees of the State.
        merged: Whether the State came from `merge`, so that `to_pytree` is a tuple.
        keys: The distinct current keys, in the order of their first appearance.
        index: Position of each key in `keys`.
        positions: For each piece, where its leaves lie among `keys`.
        path: The keys as entries of key paths.
    """

    __slots__ = (
        "_alone",
        "_hash",
        "_origins",
        "index",
        "keys",
        "merged",
        "path",
        "pieces",
        "positions",
    )

    def __init__(self, pieces: Sequence[Piece], *, merged: bool) -> None:
        self.pieces = tuple(pieces)
        self.merged = merged
        self.keys: tuple[Key, ...] = tuple(
            dict.fromkeys(key for piece in self.pieces for key in piece.current)
        )
        self.index = {key: position for position, key in enumerate(self.keys)}
        self.positions = tuple(
            tuple(self.index[key] for key in piece.current) for piece in self.pieces
        )
        self.path = tuple(jtu.DictKey(key) for key in self.keys)
        self._hash: int | None = None
        self._alone: tuple[Meta, ...] | None = None
        self._origins: dict[Key, tuple[tuple[int, Key], ...]] | None = None

    def __hash__(self) -> int:
        # Cached, as `jit` hashes the structure of its arguments at each call. Computed
        # at first use, as a tree with unhashable static parts may be a State, only not
        # an argument of `jit`.
        if self._hash is None:
            self._hash = hash((self.pieces, self.merged))
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Meta):
            return NotImplemented
        return self.merged == other.merged and self.pieces == other.pieces

    def __repr__(self) -> str:
        shown = ", ".join(map(str, self.keys[:6]))
        more = f", ... {len(self.keys)} in all" if len(self.keys) > 6 else ""
        return f"{shown}{more}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Without derived values, as the hash of strings differs between processes.
        return _restore_meta, (self.pieces, self.merged)

    def __copy__(self) -> "Meta":
        return self

    def __deepcopy__(self, memo: Any) -> "Meta":
        del memo
        return self

    @property
    def origins(self) -> dict[Key, tuple[tuple[int, Key], ...]]:
        """For each key its origins: pairs of piece number and original key."""
        if self._origins is None:
            found: dict[Key, tuple[tuple[int, Key], ...]] = dict.fromkeys(self.keys, ())
            for number, piece in enumerate(self.pieces):
                for old, new in zip(piece.original, piece.current, strict=True):
                    found[new] += ((number, old),)
            self._origins = found
        return self._origins

    def renamed(self, names: Mapping[Key, Key]) -> "Meta":
        """Return the metadata with new current keys and the same original ones."""
        return Meta(
            [
                piece._replace(current=tuple(names.get(k, k) for k in piece.current))
                for piece in self.pieces
            ],
            merged=self.merged,
        )

    @property
    def alone(self) -> tuple["Meta", ...]:
        """The metadata of each piece as a State of its own."""
        if self._alone is None:
            self._alone = tuple(Meta((piece,), merged=False) for piece in self.pieces)
        return self._alone


def _restore_meta(pieces: tuple[Piece, ...], merged: bool) -> Meta:  # noqa: FBT001
    return Meta(pieces, merged=merged)
