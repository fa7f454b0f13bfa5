"""Marks: keys of the values that a compiled program uses besides its arguments."""

import contextlib
import warnings
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import equinox as eqx
import jax

from everwillow._captures.held import is_inert, structure_parts
from everwillow._captures.reads import Scope
from everwillow._captures.walk import MANY, Walk, scope_of


class Mark:
    """The key of all values that a function or object holds; compared by identity.

    Attributes:
        in_context: Whether it is part of the context of JAX's own caches. Those of
            `jax.jit` inside a likelihood, and of the bodies of loops, distinguish
            functions by identity only.
        numbers: How many numbers the arrays among the values have.
    """

    __slots__ = ("__weakref__", "in_context", "numbers")

    def __init__(self, *, in_context: bool, numbers: int) -> None:
        self.in_context = in_context
        self.numbers = numbers


_marks: weakref.WeakValueDictionary[Any, Mark] = weakref.WeakValueDictionary()

# The value of this context is part of the keys of JAX's caches.
context: Any = jax.make_user_context(None)


def marked(roots: Iterable[Any]) -> tuple[tuple[Mark, ...], bool]:
    """Return a mark for each function or object as it is now.

    Args:
        roots: Functions, and other objects that are neither arrays nor pytrees.

    Returns:
        The marks, and whether one of the objects holds a traced value.
    """
    marks: list[Mark] = []
    traced = False
    for tokens, walk in _walks(roots):
        if len(tokens) > MANY:
            _warn(len(tokens))
        mark = _marks.get(tokens)
        if mark is None:
            # For code without data that is compiled for the first time, the caches of
            # JAX have no entries.
            mark = _marks[tokens] = Mark(
                in_context=walk.data or not walk.scope.unseen, numbers=walk.numbers
            )
            walk.scope.unseen = False
        marks.append(mark)
        traced = traced or bool(walk.tracers)
    return tuple(marks), traced


@contextlib.contextmanager
def up_to_date(*given: Any) -> Iterator[None]:
    """Call functions directly, without outdated entries of the caches of JAX.

    JAX distinguishes a `jax.jit` in a function of a user, or the body of a loop, by
    identity only, whatever variables it reads.

    Args:
        *given: Pytrees of everything that is called.
    """
    leaves, structure = jax.tree.flatten(given)
    roots = [one for one in leaves if not (eqx.is_array(one) or is_inert(one))]
    marks, _ = marked([*roots, *structure_parts(structure)])
    in_context = tuple(mark for mark in marks if mark.in_context)
    with context(in_context) if in_context else contextlib.nullcontext():
        yield


def _warn(count: int) -> None:
    warnings.warn(
        f"A function given to everwillow reads variables or attributes that hold some "
        f"{count} objects, and all of them are compared at each call, as they may have "
        "changed. Hold numbers in an array, or pass them through `observation`.",
        stacklevel=2,
    )


def settle(roots: Iterable[Any], marks: Iterable[Mark]) -> None:
    """Give values that tracing has changed, such as a count of calls, the same marks.

    Changes of its own variables by a likelihood that is traced are no new input.
    """
    for (tokens, _), mark in zip(_walks(roots), marks, strict=True):
        _marks.setdefault(tokens, mark)


def _walks(roots: Iterable[Any]) -> list[tuple[tuple[Any, ...], Walk]]:
    walks = [Walk(root, scope_of(root)) if callable(root) else None for root in roots]
    if None in walks:
        # Objects that are no functions are read by the code of the likelihood.
        scope = Scope()
        for walk in walks:
            for code in () if walk is None else walk.scope.codes.values():
                scope.add(code)
        walks = [
            Walk(root, scope) if walk is None else walk
            for root, walk in zip(roots, walks, strict=True)
        ]
    return [(tuple(walk.tokens), walk) for walk in walks if walk is not None]
