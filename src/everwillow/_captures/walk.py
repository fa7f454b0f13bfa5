"""Walk through all that a function or an object holds, and write down what is there."""

import struct
import types
import weakref
from typing import Any

from jax.core import Tracer

from everwillow._captures.held import INERT
from everwillow._captures.parts import ABSENT, CODE, identity, splitter
from everwillow._captures.reads import Scope


# Beyond these the identity of an object stands for what is in it.
DEEPEST = 150
LONGEST = 200_000

_pack = struct.Struct("d").pack


class Walk:
    """What is in an object, as a sequence of tokens that can be compared.

    Attributes:
        tokens: Equal for two objects that hold the same.
        tracers: The traced values found, each once.
        data: Whether there is anything but code.
    """

    __slots__ = ("data", "depth", "scope", "seen", "tokens", "tracers")

    def __init__(self, root: Any, scope: Scope) -> None:
        self.scope = scope
        size = -1
        while size != len(scope.codes):
            # What has just been found to be read may be in objects passed before.
            size = len(scope.codes)
            self.begin()
            self.visit(root)

    def begin(self) -> None:
        """Forget what was found."""
        self.tokens: list[Any] = []
        self.tracers: list[Any] = []
        self.data = False
        self.depth = 0
        # Kept, so that no two objects of this walk had the same place in memory.
        self.seen: dict[int, tuple[int, Any]] = {}

    def visit(self, value: Any) -> None:
        """Append the tokens of an object."""
        kind = type(value)
        tokens = self.tokens
        if kind in INERT:
            # Zeros have signs, and NaN is not even itself.
            tokens += (kind, _pack(value) if kind is float else value)
            self.data |= value is not None and value is not ABSENT
            return
        before = self.seen.get(id(value))
        if before is not None:
            tokens += ("again", before[0])
            return
        self.seen[id(value)] = len(self.seen), value
        if issubclass(kind, Tracer):
            tokens += (Tracer, len(self.tracers))
            self.tracers.append(value)
            return
        split = splitter(value)
        if self.depth > DEEPEST or len(tokens) > LONGEST:
            split = identity
        self.data |= split not in CODE
        header, parts = split(value, self.scope)
        tokens.append(kind)
        tokens += header
        tokens.append(len(parts))
        self.depth += 1
        for part in parts:
            self.visit(part)
        self.depth -= 1


_scopes: weakref.WeakKeyDictionary[Any, Scope] = weakref.WeakKeyDictionary()


def scope_of(root: Any) -> Scope:
    """Return the scope of a function, a method or the objects of one class."""
    if isinstance(root, types.MethodType):
        root = root.__func__
    key = getattr(root, "__code__", None) or type(root)
    found = _scopes.get(key)
    if found is None:
        found = _scopes[key] = Scope()
        # What reads an object that is no function cannot be seen from it.
        found.dynamic = not callable(root)
    return found
