"""The dependences of functions, and the evaluation of all of them."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from everwillow._errors import SpecificationError, unknown_key
from everwillow.models.hs3.definition import Reference
from everwillow.models.hs3.functions.base import AbstractFunction, Binning
from everwillow.models.hs3.functions.registry import read_function


Edge: TypeAlias = float | np.ndarray
"""An end of an interval, or of several."""

Region: TypeAlias = Mapping[str, tuple[Edge, Edge]]
"""The lower and upper ends of each observable, all numbers or all of one shape."""


class Graph:
    """The functions of a document, in an order in which each can be computed.

    It is hashable and never changes. `notes` has a sentence for each ignored part.

    Args:
        functions: Their definitions by name.
        known: Names of all parameters; a function that refers to another name is an
            error. Any name is a parameter if None.
        roots: Names whose functions are needed; others are not read. All if None.
        discrete: Observables with categories: whole numbers from 0, with an interval of
            width 1 around each of them.

    Raises:
        SpecificationError: If a definition cannot be used, or for a circular
            dependence.
        UnknownKeyError: If a name is not known.

    Example:
        >>> graph = Graph({"s": {"type": "sum", "summands": ["a", "b", 1]}})
        >>> graph.free(["s"])
        ('a', 'b')
        >>> print(Scope({"a": 1.0, "b": 2.0}, graph=graph)["s"])
        4.0
    """

    def __init__(
        self,
        functions: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        known: Iterable[str] | None = None,
        roots: Iterable[str] | None = None,
        discrete: Iterable[str] = (),
    ) -> None:
        specs = functions or {}
        read = _read(specs, specs if roots is None else roots)
        self.functions = {name: function for name, (function, _) in read.items()}
        self.notes = tuple(note for _, notes in read.values() for note in notes)
        self.known = None if known is None else frozenset(known)
        self.discrete = frozenset(discrete)
        self._hash = hash((tuple(self.functions.items()), self.discrete))
        self._order = {name: index for index, name in enumerate(self._sorted())}
        self._needed: dict[str, frozenset[str]] = {}
        self._free: dict[str, tuple[str, ...]] = {}
        self._smooth: dict[str, tuple[str, ...]] = {}
        for name in self._order:
            self.check(self.functions[name].names, where=f"functions/{name}")
            self._register(name)

    def function_name(self, name: str) -> str | None:
        """Return the function of a name, or None; ``f.value`` is ``f``."""
        return _function_name(name, self.functions)

    def free(self, names: Iterable[str], *, smooth: bool = False) -> tuple[str, ...]:
        """Return the names on which `names` depend and that are not functions.

        Args:
            names: Names of functions and of others.
            smooth: Whether to leave out names that matter only by their bin.
        """
        below = self._smooth if smooth else self._free
        free_names: dict[str, None] = {}
        for name in names:
            function = self.function_name(name)
            free_names.update(dict.fromkeys(below[function] if function else (name,)))
        return tuple(free_names)

    def binnings(self, names: Iterable[str]) -> list[Binning]:
        """Return the bins on which `names` depend."""
        functions = [f for n in names if (f := self.function_name(n)) is not None]
        needed = {step for name in functions for step in self._needed[name]}
        bins = [self.functions[name].bins for name in needed]
        return [one for one in bins if one is not None]

    def check(self, names: Iterable[str], *, where: str) -> None:
        """Raise an error for a name that is neither a function nor a known parameter.

        Raises:
            UnknownKeyError: With the nearest names.
        """
        if self.known is None:
            return
        for name in names:
            if self.function_name(name) is None and name not in self.known:
                raise unknown_key(name, [*self.known, *self.functions], where=where)

    def plan(self, name: str) -> list[str]:
        """Return the functions to compute for one of them, itself last."""
        return sorted(self._needed[name], key=self._order.__getitem__)

    def _register(self, name: str) -> None:
        direct = self.functions[name].names
        below = [f for n in direct if (f := self.function_name(n)) is not None]
        self._needed[name] = frozenset([name]).union(*(self._needed[f] for f in below))
        self._free[name] = self.free(direct)
        # The bins of a function of the observable are not bins of the observable.
        binned = [n for n in direct if self.function_name(n) is not None]
        smooth = [*self.functions[name].smooth_names, *binned]
        self._smooth[name] = self.free(smooth, smooth=True)

    def _sorted(self) -> list[str]:
        order: list[str] = []
        state: dict[str, bool] = {}  # True once done, False while below it
        for start in self.functions:
            path = [(start, iter(self.functions[start].names))]
            if state.get(start):
                continue
            state[start] = False
            while path:
                name, rest = path[-1]
                below = next(
                    (f for n in rest if (f := self.function_name(n)) is not None), None
                )
                if below is None:
                    state[name] = True
                    order.append(name)
                    path.pop()
                elif below not in state:
                    state[below] = False
                    path.append((below, iter(self.functions[below].names)))
                elif not state[below]:
                    raise _cycle([step for step, _ in path], below)
        return order

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return (
            isinstance(other, Graph)
            and self.functions == other.functions
            and self.discrete == other.discrete
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Graph({list(self.functions)})"


class Scope:
    """The values of all names at one point; functions are computed on demand.

    Args:
        values: Values of parameters and observables by name; parameters are scalars,
            observables scalars or arrays of one shape.
        domain: The range of each observable, over which densities are normalised.
        graph: The functions.
    """

    def __init__(
        self,
        values: Mapping[str, ArrayLike],
        domain: Region | None = None,
        *,
        graph: Graph | None = None,
    ) -> None:
        self.values = values
        self.domain: Region = {} if domain is None else domain
        self.graph = Graph() if graph is None else graph
        self._computed: dict[str, Array] = {}
        self._placed: dict[Binning, tuple[Array, Array]] = {}

    def __getitem__(self, reference: Reference) -> Array:
        if not isinstance(reference, str):
            return jnp.asarray(reference)
        function = self.graph.function_name(reference)
        if function is not None:
            return self._compute(function)
        if reference not in self.values:
            raise unknown_key(reference, self.values, where="values")
        return jnp.asarray(self.values[reference])

    def at(self, values: Mapping[str, ArrayLike]) -> "Scope":
        """Return a scope with other values of some names."""
        return self._with({**self.values, **values}, self.domain, changed=set(values))

    def within(self, domain: Region) -> "Scope":
        """Return a scope with other ranges of some observables."""
        return self._with(self.values, {**self.domain, **domain}, changed=set())

    def function(self, name: str) -> AbstractFunction | None:
        """Return the function of that name, or None."""
        function = self.graph.function_name(name)
        return None if function is None else self.graph.functions[function]

    def place(self, binning: Binning) -> tuple[Array, Array]:
        """Return the bin of the variables, computed once for each binning."""
        if binning not in self._placed:
            self._placed[binning] = binning.place(self)
        return self._placed[binning]

    def observables(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the observables on which `names` depend, in order."""
        return tuple(name for name in self.graph.free(names) if name in self.domain)

    def _with(self, values: Any, domain: Region, *, changed: set[str]) -> "Scope":
        scope = Scope(values, domain, graph=self.graph)
        for name, value in self._computed.items():
            if changed.isdisjoint(self.graph.free([name])):
                scope._computed[name] = value
        return scope

    def _compute(self, name: str) -> Array:
        for step in self.graph.plan(name):
            if step not in self._computed:
                self._computed[step] = self.graph.functions[step](self)
        return self._computed[name]


def _function_name(name: str, functions: Mapping[str, Any]) -> str | None:
    if name in functions:
        return name
    stem = name.removesuffix(".value")
    return stem if stem in functions else None


def _read(
    specs: Mapping[str, Mapping[str, Any]], roots: Iterable[str]
) -> dict[str, tuple[AbstractFunction, tuple[str, ...]]]:
    """Read the functions that `roots` need."""
    read: dict[str, tuple[AbstractFunction, tuple[str, ...]]] = {}
    pending = list(roots)[::-1]
    while pending:
        name = _function_name(pending.pop(), specs)
        if name is not None and name not in read:
            read[name] = read_function(name, specs[name])
            pending.extend(reversed(read[name][0].names))
    return read


def _cycle(path: list[str], below: str) -> SpecificationError:
    loop = [*path[path.index(below) :], below]
    msg = f"functions: they need each other in a circle: {' -> '.join(loop)}."
    return SpecificationError(msg)
