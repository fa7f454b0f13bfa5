"""The walk through all that a function or an object holds, written as tokens."""

import struct
import types
import weakref
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from everwillow._captures.held import INERT
from everwillow._captures.parts import ABSENT
from everwillow._captures.reads import Scope
from everwillow._captures.splitting import CODE, splitter


# Number of tokens above which comparisons are slow, and a warning is given.
MANY = 200_000
# Above this number of tokens two walks are never equal.
LONGEST = 5_000_000

_ARRAYS = (np.ndarray, jax.Array)

_pack = struct.Struct("d").pack


class Walk:
    """The contents of an object, as a sequence of tokens that can be compared.

    Attributes:
        tokens: Equal for two objects that hold the same.
        tracers: The traced values found, each once.
        data: Whether there is anything but code.
    """

    __slots__ = ("data", "scope", "seen", "tokens", "tracers")

    def __init__(self, root: Any, scope: Scope) -> None:
        self.scope = scope
        known: Any = None
        while known != (len(scope.codes), scope.dynamic):
            # Names that were found to be read may be in objects visited before.
            known = len(scope.codes), scope.dynamic
            self.begin()
            self.visit(root)

    def begin(self) -> None:
        """Reset the results."""
        self.tokens: list[Any] = []
        self.tracers: list[Any] = []
        self.data = False
        # Kept alive, so that no two objects of this walk have the same id.
        self.seen: dict[int, tuple[int, Any]] = {}

    def visit(self, root: Any) -> None:
        """Append the tokens of an object, each part before what comes after it."""
        tokens, seen, scope = self.tokens, self.seen, self.scope
        waiting = [root]
        while waiting:
            value = waiting.pop()
            kind = type(value)
            if kind in INERT:
                # Zeros have signs, and NaN is not even itself.
                tokens += (kind, _pack(value) if kind is float else value)
                self.data |= value is not None and value is not ABSENT
                continue
            before = seen.get(id(value))
            if before is not None:
                tokens += ("again", before[0])
                continue
            seen[id(value)] = len(seen), value
            if issubclass(kind, Tracer):
                tokens += (Tracer, len(self.tracers))
                self.tracers.append(value)
                continue
            split = splitter(value)
            self.data |= split not in CODE
            header, parts = split(value, scope)
            tokens.append(kind)
            tokens += header
            tokens.append(len(parts))
            waiting += reversed(parts)
            if len(tokens) > LONGEST:
                tokens.append(object())
                return

    @property
    def numbers(self) -> int:
        """How many numbers the arrays among the contents have."""
        values = (value for _, value in self.seen.values())
        return sum(one.size for one in values if isinstance(one, _ARRAYS))


_scopes: weakref.WeakKeyDictionary[Any, Scope] = weakref.WeakKeyDictionary()


def scope_of(root: Any) -> Scope:
    """Return the scope of a function, a method or the objects of one class."""
    if isinstance(root, types.MethodType):
        root = root.__func__
    key = getattr(root, "__code__", None) or type(root)
    found = _scopes.get(key)
    if found is None:
        found = _scopes[key] = Scope()
        # The code that reads an object without code is not known.
        found.dynamic = not callable(root)
    return found
