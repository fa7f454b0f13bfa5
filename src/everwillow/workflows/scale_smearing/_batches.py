"""Events of files as parts of Arrow, with all columns as they are."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from everwillow._errors import SpecificationError, missing_package
from everwillow._file_formats import format_of_file
from everwillow.models.event_files import EventTable, readable


def import_pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and its module for parquet files.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import pyarrow  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as error:
        raise missing_package(
            "Corrected files are parquet files and need pyarrow", "sas"
        ) from error
    return pyarrow, pyarrow.parquet


def batches_of(
    path: pathlib.Path, table: EventTable, chunk: int
) -> tuple[Any, Iterator[Any]]:
    """Return the schema of a file, and its events part by part.

    Args:
        path: The file.
        table: Its columns.
        chunk: The number of events of a part.

    Raises:
        SpecificationError: If a file that is not parquet has no events, since the types
            of its columns are those of the events.
    """
    pa, pq = import_pyarrow()
    if format_of_file(path) == "parquet":
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
        return schema, _parquet_batches(path, chunk)
    parts = table.whole_chunks(chunk)
    first = next(parts, None)
    if first is None:
        raise SpecificationError(f"{table.name}: there are no events.")
    batch = pa.RecordBatch.from_pydict(_arrays(first))
    return batch.schema, _made_batches(batch, parts)


def _parquet_batches(path: pathlib.Path, chunk: int) -> Iterator[Any]:
    _, pq = import_pyarrow()
    # A buffer would keep what was read of the whole file.
    with readable(str(path)), pq.ParquetFile(path, pre_buffer=False) as file:
        yield from file.iter_batches(batch_size=chunk)


def _made_batches(first: Any, parts: Iterator[Mapping[str, Any]]) -> Iterator[Any]:
    pa, _ = import_pyarrow()
    yield first
    for part in parts:
        yield pa.RecordBatch.from_pydict(_arrays(part), schema=first.schema)


def _arrays(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return columns of NumPy as those of Arrow; arrays of events become lists."""
    pa, _ = import_pyarrow()
    made = {}
    for name, given in columns.items():
        values = np.asarray(given)
        if values.ndim == 1:
            made[name] = pa.array(values)
        else:
            width = int(np.prod(values.shape[1:]))
            flat = pa.array(values.ravel())
            made[name] = pa.FixedSizeListArray.from_arrays(flat, width)
    return made
