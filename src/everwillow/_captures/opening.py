"""Functions that hold traced values as pytrees with these values as leaves.

A rule for derivatives applies to arguments only, so traced values that a function
closes over have to become arguments. The function is rebuilt with other values in place
of the traced ones; parts without traced values stay the same objects.
"""

import copy
import types
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.tree_util as jtu
from jax.core import Tracer

from everwillow._captures import classes as classes_, held as held_, parts as parts_
from everwillow._captures.held import Template
from everwillow._captures.parts import content
from everwillow._captures.reads import Scope, is_of_library, reads_of
from everwillow._captures.splitting import splitter
from everwillow._captures.walk import Walk, scope_of
from everwillow._errors import ArgumentTypeError


class _Hole:
    """Placeholder of a traced value in a template."""

    __slots__ = ("place",)

    def __init__(self, place: int) -> None:
        self.place = place


@jtu.register_pytree_node_class
class Opened:
    """A function or an object whose traced values are leaves.

    Attributes:
        arrays: The traced values.
        template: The function with placeholders.
    """

    def __init__(self, arrays: tuple[Any, ...], template: Template) -> None:
        self.arrays = arrays
        self.template = template

    def tree_flatten(self) -> tuple[tuple[Any, ...], Template]:
        """Return leaves and structure."""
        return self.arrays, self.template

    @classmethod
    def tree_unflatten(cls, template: Template, arrays: Any) -> "Opened":
        """Make one of structure and leaves."""
        return cls(tuple(arrays), template)

    def restored(self) -> Any:
        """Return the function with the leaves in place of the placeholders."""

        def filled(value: Any) -> Any:
            return self.arrays[value.place]

        return _Builder(self.template.value, _Hole, filled).built()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.restored()(*args, **kwargs)

    @property
    def curvature(self) -> Any:
        """The second-order evaluation that the function offers, or None."""
        return getattr(self.restored(), "curvature", None)

    @property
    def flat(self) -> Any:
        """The form of the function for vectors, or None."""
        return getattr(self.restored(), "flat", None)


def holds_tracer(value: Any) -> bool:
    """Return whether a function, an object or a pytree of them holds a traced value.

    Leaves of the pytree itself do not count.
    """
    leaves, structure = jax.tree.flatten(value)
    held = [leaf for leaf in leaves if not eqx.is_array(leaf)]
    held += held_.structure_parts(structure)
    return any(_tracers(one) for one in held if not held_.is_inert(one))


def _tracers(value: Any) -> list[Any]:
    return Walk(value, scope_of(value)).tracers


def opened(tree: Any) -> Any:
    """Return a pytree with functions that hold traced values as `Opened` nodes.

    Raises:
        ArgumentTypeError: If a traced value is in an object that cannot be rebuilt.
    """
    if not holds_tracer(tree):
        return tree
    leaves, structure = jax.tree.flatten(tree, is_leaf=_hides_tracer)
    return structure.unflatten([_opened_leaf(leaf) for leaf in leaves])


def reclosed(tree: Any) -> Any:
    """Undo `opened`: return a pytree with functions in place of `Opened` nodes."""

    def is_opened(node: Any) -> bool:
        return isinstance(node, Opened)

    return jax.tree.map(
        lambda one: one.restored() if is_opened(one) else one, tree, is_leaf=is_opened
    )


def _hides_tracer(value: Any) -> bool:
    """Return whether the structure of one node of a pytree holds a traced value."""
    if type(value) in (dict, list, tuple, type(None)) or jtu.all_leaves([value]):
        return False
    structure = jax.tree.structure(value, is_leaf=lambda one: one is not value)
    return any(_tracers(one) for one in held_.structure_parts(structure))


def _opened_leaf(leaf: Any) -> Any:
    if eqx.is_array(leaf) or held_.is_inert(leaf):
        return leaf
    walk = Walk(leaf, scope_of(leaf))
    if not walk.tracers:
        return leaf
    places = {id(tracer): i for i, tracer in enumerate(walk.tracers)}
    template = _Builder(leaf, Tracer, lambda value: _Hole(places[id(value)])).built()
    return Opened(tuple(walk.tracers), Template(template, tuple(walk.tokens)))


class _Builder:
    """Rebuild an object with some of its parts replaced."""

    def __init__(
        self, root: Any, replaced: type, replacement: Callable[[Any], Any]
    ) -> None:
        self.root = root
        self.replaced = replaced
        self.replacement = replacement
        self.scope: Scope = scope_of(root)
        self.made: dict[int, Any] = {}
        self.seen: dict[int, Any] = {}
        self.above: dict[int, list[int]] = {}
        pending = list(self._explore(root))
        self.touched: set[int] = set()
        while pending:
            one = pending.pop()
            if one not in self.touched:
                self.touched.add(one)
                pending += self.above.get(one, ())

    def _explore(self, value: Any) -> Iterator[int]:
        """Record the parents of all parts, and yield the objects to be replaced."""
        waiting = [value]
        while waiting:
            one = waiting.pop()
            if id(one) in self.seen or type(one) in held_.INERT:
                continue
            self.seen[id(one)] = one
            if isinstance(one, self.replaced):
                yield id(one)
                continue
            for part in splitter(one)(one, self.scope)[1]:
                self.above.setdefault(id(part), []).append(id(one))
                waiting.append(part)

    def built(self) -> Any:
        """Return the rebuilt object."""
        return self.make(self.root)

    def make(self, value: Any) -> Any:
        """Return a part, rebuilt if a part of it is replaced."""
        if id(value) not in self.touched:
            return value
        if id(value) in self.made:
            return self.made[id(value)]
        if isinstance(value, self.replaced):
            return self.replacement(value)
        maker = _MAKERS.get(splitter(value))
        if maker is None:
            raise _cannot(value)
        new = maker(value, self)
        self.made[id(value)] = new
        return new


def _cannot(value: Any) -> ArgumentTypeError:
    name = getattr(value, "__qualname__", type(value).__qualname__)
    msg = (
        f"A likelihood reads a traced value that {name} ({type(value).__name__}) "
        "holds, and everwillow cannot differentiate through that. Pass the value "
        "through `observation` or `params`, or as a variable or an attribute that the "
        "function reads itself."
    )
    return ArgumentTypeError(msg)


def _make_function(value: Any, builder: _Builder) -> Any:
    code, space = value.__code__, value.__globals__
    changed = [
        name
        for name in (() if is_of_library(value) else reads_of(code).variables)
        if id(space.get(name)) in builder.touched
    ]
    # Globals are copied only if one of them is traced.
    space = dict(space) if changed else space
    cells = [
        types.CellType() if id(content(cell)) in builder.touched else cell
        for cell in value.__closure__ or ()
    ]
    new = types.FunctionType(code, space, value.__name__, None, tuple(cells) or None)
    builder.made[id(value)] = new
    for old, cell in zip(value.__closure__ or (), cells, strict=True):
        if cell is not old:
            cell.cell_contents = builder.make(content(old))
    space.update({name: builder.make(space[name]) for name in changed})
    defaults = value.__defaults__
    new.__defaults__ = defaults and tuple(map(builder.make, defaults))
    new.__kwdefaults__ = builder.make(value.__kwdefaults__)
    new.__dict__.update(builder.make(value.__dict__))
    new.__qualname__ = value.__qualname__
    return new


def _make_method(value: Any, builder: _Builder) -> Any:
    return types.MethodType(builder.make(value.__func__), builder.make(value.__self__))


def _make_partial(value: Any, builder: _Builder) -> Any:
    keywords = {name: builder.make(one) for name, one in value.keywords.items()}
    return type(value)(
        builder.make(value.func), *map(builder.make, value.args), **keywords
    )


def _make_sequence(value: Any, builder: _Builder) -> Any:
    if isinstance(value, tuple):
        made = map(builder.make, value)
        kind = type(value)
        return kind(*made) if hasattr(value, "_fields") else kind(made)
    new = copy.copy(value)
    builder.made[id(value)] = new
    for i, one in enumerate(value):
        new[i] = builder.make(one)
    return new


def _make_mapping(value: Any, builder: _Builder) -> Any:
    new = dict(value) if isinstance(value, types.MappingProxyType) else copy.copy(value)
    builder.made[id(value)] = new
    for name, one in value.items():
        new[name] = builder.make(one)
    return new


def _make_container(value: Any, builder: _Builder) -> Any:
    make = _make_mapping if isinstance(value, dict) else _make_sequence
    return make(value, builder)


def _make_object(value: Any, builder: _Builder) -> Any:
    return _made_of(held_.attributes(value), value, builder)


def _make_module(value: Any, builder: _Builder) -> Any:
    known = value.__dict__
    names = [name for name in classes_.field_names(type(value)) if name in known]
    return _made_of({name: known[name] for name in names}, value, builder)


def _made_of(attributes: dict[str, Any], value: Any, builder: _Builder) -> Any:
    kind = type(value)
    if id(classes_.instance_class(kind)) in builder.touched:
        raise _cannot(kind)
    new = object.__new__(kind)
    builder.made[id(value)] = new
    for name, one in attributes.items():
        # Past `__setattr__`, which may check or record assignments.
        object.__setattr__(new, name, builder.make(one))
    return new


def _make_node(value: Any, builder: _Builder) -> Any:
    leaves, structure = jax.tree.flatten(value)
    held = held_.structure_parts(structure)
    if any(
        id(one) in builder.touched
        for one in (classes_.instance_class(type(value)), *held)
    ):
        raise _cannot(value)
    return structure.unflatten(map(builder.make, leaves))


def _make_unwrapped(value: Any, builder: _Builder) -> Any:
    """Return the wrapped function without `jax.jit` or cache, which keep results."""
    if isinstance(value, staticmethod | classmethod):
        raise _cannot(value)
    return builder.make(value.__wrapped__)


_MAKERS: dict[Any, Callable[[Any, _Builder], Any]] = {
    parts_.function: _make_function,
    parts_.method: _make_method,
    parts_.partial: _make_partial,
    parts_.sequence: _make_sequence,
    parts_.mapping: _make_mapping,
    parts_.extended: _make_container,
    classes_.object_: _make_object,
    classes_.module_: _make_module,
    classes_.node: _make_node,
    classes_.wrapping: _make_unwrapped,
}
