"""Checkpoints of a fit: its state after a step, and a fingerprint of the fit."""

import dataclasses
import functools as ft
import hashlib
import importlib.metadata
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np

from everwillow import _store
from everwillow._errors import ArgumentTypeError, ArgumentValueError, CheckpointError
from everwillow.engine.core import Task
from everwillow.engine.problem import Numbers


FILE = "checkpoint.npz"
_KIND = "ifit checkpoint"

_Tree = TypeVar("_Tree")


class Checkpoint:
    """A directory that holds the state of one fit after its last step.

    Args:
        directory: The directory, which is created if it does not exist.
        fingerprint: The fingerprint of the fit, from `fingerprint_of`.

    Raises:
        ArgumentTypeError: If `directory` is no path.
        ArgumentValueError: If there is a file of that name.
    """

    def __init__(
        self, directory: str | os.PathLike[str], fingerprint: Mapping[str, str]
    ) -> None:
        if not isinstance(directory, str | os.PathLike):
            raise ArgumentTypeError(
                f"checkpoint: expected the path of a directory, got "
                f"{type(directory).__name__}."
            )
        folder = pathlib.Path(directory)
        if folder.exists() and not folder.is_dir():
            raise ArgumentValueError(
                f"checkpoint: {folder} is a file; give a directory."
            )
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self.fingerprint = dict(fingerprint)

    def save(self, count: int, tree: Any) -> None:
        """Write the arrays of a pytree, and the number of steps so far."""
        arrays = {name: _to_host(leaf) for name, leaf in _named_arrays(tree).items()}
        _store.save(
            self.path,
            arrays,
            {"kind": _KIND, "count": count, "fingerprint": self.fingerprint},
        )

    def resume(self, tree: _Tree) -> tuple[int, _Tree]:
        """Return the number of steps and the pytree last saved.

        Args:
            tree: The state of a new fit; returned, with 0, if nothing is saved.

        Raises:
            CheckpointError: If the file is damaged, or of another fit.
        """
        try:
            arrays, metadata = _store.load(self.path)
        except FileNotFoundError:
            return 0, tree
        except ArgumentValueError as error:
            raise CheckpointError(f"checkpoint: {error} {self._remedy}") from error
        if metadata.get("kind") != _KIND:
            raise CheckpointError(
                f"checkpoint: {self.path} is no checkpoint. {self._remedy}"
            )
        self._check_fingerprint(metadata["fingerprint"])
        expected = _named_arrays(tree)
        if {name: _spec(array) for name, array in arrays.items()} != {
            name: _spec(_to_host(leaf)) for name, leaf in expected.items()
        }:
            raise CheckpointError(
                f"checkpoint: {self.path} holds the state of another solver. "
                f"{self._remedy}"
            )
        loaded = {
            name: _from_host(arrays[name], like) for name, like in expected.items()
        }
        return metadata["count"], _with_arrays(tree, loaded)

    @property
    def _remedy(self) -> str:
        return (
            f"To start the fit anew delete {self.path.parent}, or choose another "
            f"directory."
        )

    def _check_fingerprint(self, other: Mapping[str, str]) -> None:
        names = {**self.fingerprint, **other}
        different = [n for n in names if self.fingerprint.get(n) != other.get(n)]
        if different:
            raise CheckpointError(
                f"checkpoint: {self.path} belongs to another fit; these differ: "
                f"{', '.join(different)}. {self._remedy}"
            )


def _named_arrays(tree: Any) -> dict[str, Any]:
    leaves, _ = jtu.tree_flatten_with_path(tree)
    return {jtu.keystr(path): leaf for path, leaf in leaves if eqx.is_array(leaf)}


def _with_arrays(tree: _Tree, arrays: Mapping[str, Any]) -> _Tree:
    return jtu.tree_map_with_path(
        lambda path, leaf: arrays.get(jtu.keystr(path), leaf), tree
    )


def _spec(array: Any) -> tuple[Any, ...]:
    return array.shape, array.dtype


def _is_key(array: Any) -> bool:
    return bool(jnp.issubdtype(array.dtype, jax.dtypes.prng_key))


def _to_host(array: Any) -> np.ndarray:
    return np.asarray(jr.key_data(array) if _is_key(array) else array)


def _from_host(array: np.ndarray, like: Any) -> Any:
    if _is_key(like):
        return jr.wrap_key_data(jnp.asarray(array), impl=jr.key_impl(like))
    return array


def fingerprint_of(task: Task, numbers: Numbers) -> dict[str, str]:
    """Return a digest of each part of a fit, under its name in messages.

    Of functions only the name counts, neither their code nor the values that they close
    over.
    """
    layout, mask = task.layout, np.asarray(numbers.mask)
    free = np.zeros(layout.size, bool)
    free[np.asarray(numbers.index)[mask]] = True
    vector = np.asarray(numbers.vector)
    parts = {
        "parameters": (layout.keys, layout.shapes, layout.numeric),
        "fixed": (free, vector[~free], numbers.others),
        "start values": vector[free],
        "bounds": (
            numbers.lower,
            numbers.upper,
            numbers.transforms,
            numbers.transformed,
        ),
        "observation": numbers.observation,
        "objective": task.objective,
        "solver": task.solver,
        # The state of a solver may change with its version.
        "versions": tuple(
            importlib.metadata.version(name) for name in ("everwillow", "optimistix")
        ),
    }
    return {name: _digest(part) for name, part in parts.items()}


def _digest(value: Any) -> str:
    out = hashlib.sha256()
    _describe(value, out.update)
    return out.hexdigest()


def _describe(value: Any, write: Callable[[bytes], None]) -> None:
    """Write bytes that are the same in every process, and differ for other values."""
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = _to_host(value)
        write(f"<array {array.dtype} {array.shape}>".encode())
        write(array.tobytes())
    elif isinstance(value, bool | int | float | complex | str | bytes | None):
        write(f"<{type(value).__name__} {value!r}>".encode())
    elif isinstance(value, ft.partial):
        _describe_items("partial", (value.func, value.args, value.keywords), write)
    elif isinstance(value, list | tuple):
        _describe_items(type(value).__qualname__, value, write)
    elif isinstance(value, Mapping):
        items = sorted(value.items(), key=lambda item: repr(item[0]))
        _describe_items("mapping", (part for item in items for part in item), write)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in dataclasses.fields(value) if hasattr(value, f.name)]
        fields = (part for name in names for part in (name, getattr(value, name)))
        _describe_items(type(value).__qualname__, fields, write)
    elif hasattr(value, "__qualname__"):
        write(f"<{value.__qualname__}>".encode())
    else:
        leaves = [leaf for leaf in jax.tree.leaves(value) if leaf is not value]
        _describe_items(type(value).__qualname__, leaves, write)


def _describe_items(
    name: str, items: Iterable[Any], write: Callable[[bytes], None]
) -> None:
    write(f"<{name} ".encode())
    for item in items:
        _describe(item, write)
    write(b">")
