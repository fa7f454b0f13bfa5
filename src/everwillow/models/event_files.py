"""Events in files: columns of ROOT trees, parquet files and npz archives, in chunks."""

import contextlib
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from everwillow._errors import (
    EverwillowError,
    SpecificationError,
    missing_package,
    nearest,
)
from everwillow._file_formats import format_of_file


CHUNK = 200_000
"""Events of a chunk, unless another number is asked for."""

# The element of a column of arrays.
_ELEMENT = re.compile(r"(.+)\[(\d+)\]")
_KINDS = "expected a ROOT file, a parquet file or an npz archive"


class EventTable:
    """The columns of one tree, of a parquet file, or of an npz archive.

    A column may have an array for each event. ``name[i]`` is the element i of these
    arrays, and NaN where an array is shorter.

    Attributes:
        name: What it is, for messages.
        entries: The number of events.
        columns: The names of its columns.
    """

    def __init__(
        self,
        name: str,
        entries: int,
        columns: Sequence[str],
        read: Callable[[Sequence[str], int], Iterator[dict[str, Any]]],
    ) -> None:
        self.name = name
        self.entries = entries
        self.columns = tuple(columns)
        self._read = read

    def missing(self, names: Sequence[str]) -> list[str]:
        """Return one sentence for each of the columns that it does not have."""
        known = frozenset(self.columns)
        return [
            f"{self.name} has no column {name!r}.{nearest(name, self.columns)}"
            for name in names
            if name not in known and self._parts(name)[0] not in known
        ]

    def _parts(self, name: str) -> tuple[str, int | None]:
        """Return the column of a name, and the element of its arrays."""
        match = _ELEMENT.fullmatch(name)
        if match is None or name in self.columns:
            return name, None
        return match[1], int(match[2])

    def chunks(
        self, names: Sequence[str], size: int = CHUNK
    ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Read columns, one part of the events after the other.

        Args:
            names: The columns.
            size: The events of a part.

        Yields:
            The number of events of a part, and the values of the columns by name, one
            number for each event.

        Raises:
            SpecificationError: If there is no such column, or if it does not have one
                number for each event.
        """
        for problem in self.missing(names):
            raise SpecificationError(problem)
        if not names:
            for start in range(0, self.entries, size):
                yield min(size, self.entries - start), {}
            return
        with readable(self.name):
            parts = {name: self._parts(name) for name in names}
            wanted = tuple(dict.fromkeys(column for column, _ in parts.values()))
            for part in self._read(wanted, size):
                columns = {
                    name: self._numbers(name, _element(column, part[column], place))
                    for name, (column, place) in parts.items()
                }
                yield len(next(iter(columns.values()))), columns

    def whole_chunks(self, size: int = CHUNK) -> Iterator[dict[str, Any]]:
        """Read all columns as they are, arrays of objects too.

        Args:
            size: The events of a part.

        Yields:
            The values of all columns by name.
        """
        with readable(self.name):
            yield from self._read(self.columns, size)

    def _numbers(self, name: str, values: Any) -> np.ndarray:
        array = np.asarray(values)
        if array.ndim != 1 or array.dtype.kind not in "biuf":
            raise SpecificationError(
                f"{self.name}: the column {name!r} does not have one number for each "
                f"event, but values of type {array.dtype} with {array.ndim} axes."
            )
        return array


def _element(name: str, values: Any, place: int | None) -> Any:
    """Return one element of the arrays of all events, NaN where there is none.

    Raises:
        SpecificationError: If the column has no arrays.
    """
    if place is None:
        return values
    array = np.asarray(values)
    if array.ndim == 2:
        if place < array.shape[1]:
            return array[:, place]
        return np.full(len(array), np.nan)
    if array.dtype != object or array.ndim != 1:
        raise SpecificationError(
            f"the column {name!r} has no arrays, so that there is no [{place}] of it."
        )
    rows = [() if one is None else one for one in array]
    lengths = np.array([len(one) for one in rows], int)
    there = lengths > place
    if not there.any():
        return np.full(len(rows), np.nan)
    joined = np.concatenate([np.asarray(one) for one in rows if len(one)])
    if there.all():
        found = np.empty(len(rows), joined.dtype)
    else:
        found = np.full(len(rows), np.nan)
    starts = np.cumsum(lengths) - lengths
    found[there] = joined[starts[there] + place]
    return found


class EventFiles:
    """Opens files of events, each of them once.

    It is a context manager, which closes the files.

    Example:
        >>> import numpy, os, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> name = os.path.join(folder.name, "events.npz")
        >>> numpy.savez(name, mass=[1.0, 2.0, 3.0])
        >>> with EventFiles() as files:
        ...     table = files.table(pathlib.Path(name))
        ...     [part["mass"].tolist() for _, part in table.chunks(["mass"], size=2)]
        [[1.0, 2.0], [3.0]]
        >>> folder.cleanup()
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._files: dict[pathlib.Path, Callable[[str], EventTable]] = {}
        self._tables: dict[tuple[pathlib.Path, str], EventTable] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.clear()
        self._tables.clear()
        self._stack.close()

    def table(self, path: pathlib.Path, tree: str = "") -> EventTable:
        """Return the columns of a tree.

        Args:
            path: The file.
            tree: The name of the tree. Parquet files have none. Those of npz archives
                have the names of columns ``tree/column``; without a tree, all arrays
                are columns. A ROOT file with one tree needs no name.

        Raises:
            SpecificationError: If the file is of another kind or damaged, or has no
                such tree.
        """
        key = (path.resolve(), tree)
        if key not in self._tables:
            if key[0] not in self._files:
                self._files[key[0]] = self._open(path)
            with readable(str(path)):
                self._tables[key] = self._files[key[0]](tree)
        return self._tables[key]

    def _open(self, path: pathlib.Path) -> Callable[[str], EventTable]:
        """Open a file; the result finds a tree in it."""
        with readable(str(path)):
            match format_of_file(path):
                case "root":
                    return _root_trees(path, self._stack)
                case "parquet":
                    return _parquet(path, self._stack)
                case "zip":
                    return _archive(path, self._stack)
        raise SpecificationError(f"{path}: {_KINDS}.")


def write_events(
    columns: Mapping[str, np.ndarray], path: str | os.PathLike[str]
) -> None:
    """Write columns as a parquet file.

    Args:
        columns: The values by name, one number for each event.
        path: The file, whose folder must exist; it is replaced.

    Example:
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as folder, EventFiles() as files:
        ...     name = os.path.join(folder, "events.parquet")
        ...     write_events({"mass": np.array([90.0, 91.0])}, name)
        ...     files.table(pathlib.Path(name)).entries
        2
    """
    try:
        import pyarrow  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as error:
        raise missing_package("Parquet files need pyarrow", "parquet", "sas") from error
    table = pyarrow.table({name: np.asarray(one) for name, one in columns.items()})
    pyarrow.parquet.write_table(table, path)


@contextlib.contextmanager
def readable(name: str) -> Iterator[None]:
    """Give what a package raises for a damaged file the name of the file."""
    try:
        yield
    except (EverwillowError, MemoryError):
        raise
    except Exception as error:
        text = str(error).strip().split("\n", 1)[0]
        raise SpecificationError(
            f"{name} cannot be read: {type(error).__name__}: {text[:200]}. Is the file "
            "complete?"
        ) from error


def _root_trees(
    path: pathlib.Path, stack: contextlib.ExitStack
) -> Callable[[str], EventTable]:
    try:
        import uproot  # noqa: PLC0415
    except ImportError as error:
        raise missing_package("ROOT files need uproot", "nsbi", "sas") from error
    file: Any = uproot.open(path)
    stack.callback(file.close)
    kinds = file.classnames(recursive=True, cycle=False)
    trees = [name for name, kind in kinds.items() if kind in ("TTree", "ROOT::RNTuple")]

    def find(tree: str) -> EventTable:
        name = tree.split(";", 1)[0] or (trees[0] if len(trees) == 1 else "")
        if name not in trees:
            problem = f"there is no tree {tree!r}" if tree else "it has several trees"
            shown = ", ".join(trees[:8]) or "none"
            hint = nearest(tree, trees) or f" Its trees: {shown}."
            raise SpecificationError(f"{path}: {problem}.{hint}")
        found = file[tree or name]

        def read(names: Sequence[str], size: int) -> Iterator[dict[str, Any]]:
            # A filter, since names are parsed as expressions otherwise.
            wanted = frozenset(names).__contains__
            for part in found.iterate(filter_name=wanted, step_size=size, library="np"):
                yield {one: part[one] for one in names}

        return EventTable(
            f"the tree {name!r} of {path}", found.num_entries, found.keys(), read
        )

    return find


def _parquet(
    path: pathlib.Path, stack: contextlib.ExitStack
) -> Callable[[str], EventTable]:
    try:
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as error:
        raise missing_package("Parquet files need pyarrow", "parquet", "sas") from error
    # A buffer would keep what was read of the whole file.
    opened = pyarrow.parquet.ParquetFile(path, pre_buffer=False)
    file = stack.enter_context(opened)

    def read(names: Sequence[str], size: int) -> Iterator[dict[str, Any]]:
        for batch in file.iter_batches(batch_size=size, columns=list(names)):
            yield {
                name: batch.column(name).to_numpy(zero_copy_only=False)
                for name in names
            }

    table = EventTable(str(path), file.metadata.num_rows, file.schema_arrow.names, read)
    return lambda _: table


def _archive(
    path: pathlib.Path, stack: contextlib.ExitStack
) -> Callable[[str], EventTable]:
    # Opened here, as NumPy does not close what it cannot read.
    opened = stack.enter_context(path.open("rb"))
    file = stack.enter_context(np.load(opened, allow_pickle=False))

    def find(tree: str) -> EventTable:
        prefix = f"{tree}/" if tree else ""
        columns = [
            name[len(prefix) :] for name in file.files if name.startswith(prefix)
        ]
        name = f"the arrays {prefix}* of {path}" if tree else str(path)
        if not columns:
            trees = sorted({one.split("/")[0] for one in file.files if "/" in one})
            hint = nearest(tree, trees) or f" Its trees: {', '.join(trees) or 'none'}."
            raise SpecificationError(f"{path}: there is no tree {tree!r}.{hint}")
        entries = _length(file, prefix + columns[0])

        def read(names: Sequence[str], size: int) -> Iterator[dict[str, Any]]:
            arrays = {one: file[prefix + one] for one in names}
            for one, array in arrays.items():
                if len(array) != entries:
                    raise SpecificationError(
                        f"{name}: the column {one!r} has {len(array)} events, "
                        f"{columns[0]!r} has {entries}."
                    )
            for start in range(0, entries, size):
                yield {one: a[start : start + size] for one, a in arrays.items()}

        return EventTable(name, entries, columns, read)

    return find


def _length(archive: Any, name: str) -> int:
    """Return the length of an array without reading its values."""
    with archive.zip.open(f"{name}.npy") as opened:
        version = np.lib.format.read_magic(opened)
        headers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape = headers[version](opened)[0]
    return shape[0] if shape else 0
