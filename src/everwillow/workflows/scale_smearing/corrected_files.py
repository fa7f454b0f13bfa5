"""Corrected copies of files with events: parquet files, written part by part."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from everwillow._errors import (
    ArgumentValueError,
    SpecificationError,
    nearest,
)
from everwillow._store import replacing
from everwillow.models.data_files import check_file
from everwillow.models.event_files import CHUNK, EventFiles, EventTable
from everwillow.models.event_filter import EventExpression
from everwillow.models.scale_smearing.application import smearing_factors
from everwillow.models.scale_smearing.branches import expressions, missing_columns
from everwillow.models.scale_smearing.correction_sources import (
    Corrections,
    Source,
    corrections_of,
)
from everwillow.models.scale_smearing.random_numbers import (
    standard_normals,
    uniform_numbers,
)
from everwillow.workflows.scale_smearing._batches import batches_of, import_pyarrow


Sample = Literal["data", "simulation"]
"""Data are scaled, simulation is smeared."""


@dataclasses.dataclass(frozen=True)
class CorrectedFile:
    """A corrected file.

    Attributes:
        path: The file.
        events: The number of events.
        outside: How many leptons are outside of the edges. They have the correction
            of the nearest category. None if corrections come from a file for
            correctionlib, which does not tell.
        without_number: How many leptons are in a category without a number. Their
            momentum and the mass of their event are NaN.
    """

    path: pathlib.Path
    events: int
    outside: int | None
    without_number: int

    def sentences(self) -> tuple[str, ...]:
        """Return a sentence for each kind of lepton without a correction."""
        counts = (
            (self.outside, "are outside of the edges and have the nearest correction"),
            (self.without_number, "are in categories without a number and became NaN"),
        )
        return tuple(
            f"{self.path}: {number} leptons {what}."
            for number, what in counts
            if number
        )


def corrected_name(file: str | os.PathLike[str], correction_set: str) -> str:
    """Return the name of the corrected copy of a file of events.

    Args:
        file: The file of events.
        correction_set: The name of the set of corrections.

    Example:
        >>> corrected_name("store/data.root", "EtaR9")
        'data.EtaR9Corr.parquet'
    """
    return f"{pathlib.Path(file).stem}.{correction_set}Corr.parquet"


def correct_files(
    source: Source,
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    kind: Sample,
    correction_set: str,
    suffixes: Sequence[str] = ("1", "2"),
    mass: str = "mass",
    pt: str | None = "pt",
    mass_exponent: float = 0.5,
    seed: int = 0,
    identifiers: Sequence[str] = (),
    tree: str = "",
    branches: Mapping[str, str] | None = None,
    chunk: int = CHUNK,
) -> tuple[CorrectedFile, ...]:
    """Write corrected copies of files with events.

    The mass is multiplied by the product of the factors of the leptons to the power of
    `mass_exponent`, the transverse momentum of a lepton by its factor: 1 / response in
    data, a random number around 1 in simulation. All other columns are copied. The mass
    without any correction is kept as ``<mass>_orig``; if that column is there already,
    it stays. Types of columns stay too.

    A copy has the name ``<input>.<correction_set>Corr.parquet``. It replaces an
    existing file when it is complete.

    Leptons outside of the edges have the correction of the nearest category, as with
    a file for correctionlib. In categories without a number the correction is not
    known, and results are NaN. Both are counted.

    Args:
        source: The results, or a file with them or for correctionlib.
        files: A file of parquet, ROOT or NumPy, or several.
        folder: The folder of the copies, which is created.
        kind: ``"data"`` or ``"simulation"``.
        correction_set: A part of the names of the copies.
        suffixes: The suffixes of the leptons with a response.
        mass: The column of the mass.
        pt: The name of the transverse momentum without the suffix; None if there is
            none.
        mass_exponent: The power of the factor of one lepton in that of the mass.
        seed: The seed of the smearing. Results depend neither on `chunk` nor on other
            files.
        identifiers: Columns of integers that identify an event, such as run, luminosity
            block and event: random numbers are then ``standard_normals(seed,
            *identifiers, lepton, source=f"smearing {correction_set}")`` with lepton 0,
            1, ...; by default they depend on the name of the file and the place in it.
        tree: The tree in ROOT files and npz archives.
        branches: Columns of the files, or expressions of them, by the names used here.
            A corrected quantity that is an expression becomes a new column.
        chunk: The number of events that are in memory.

    Returns:
        A record for each file.

    Raises:
        ArgumentValueError: If two copies would have the same name.
        MissingFileError: If there is no such file.
        SpecificationError: If a file is damaged or lacks a column.

    Example:
        >>> import tempfile
        >>> from everwillow.models.scale_smearing import parameters_from_json
        >>> parameters = parameters_from_json(
        ...     '{"categories": {"r9": [0, 1]}, "resp": [0.8], "eresp": [0.008],'
        ...     ' "reso": [0.03], "ereso": [0.001]}'
        ... )
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = pathlib.Path(folder.name, "a.npz")
        >>> np.savez(file, mass=[80.0], r91=[0.5], r92=[0.5], pt1=[40.0], pt2=[20.0])
        >>> made = correct_files(
        ...     parameters, file, folder.name, kind="data", correction_set="R9"
        ... )
        >>> made[0].path.name
        'a.R9Corr.parquet'
        >>> import pyarrow.parquet
        >>> pyarrow.parquet.read_table(made[0].path).to_pydict()
        {'mass': [100.0], 'r91': [0.5], 'r92': [0.5], 'pt1': [50.0], 'pt2': [25.0],
         'mass_orig': [80.0]}
        >>> folder.cleanup()
    """
    if kind not in get_args(Sample):
        raise ArgumentValueError(
            f"kind: it is {kind!r}, not one of {', '.join(get_args(Sample))}."
            f"{nearest(kind, get_args(Sample))}"
        )
    names = [files] if isinstance(files, str | os.PathLike) else list(files)
    paths = [check_file(name, where="the events") for name in names]
    targets = _targets(paths, pathlib.Path(folder), correction_set)
    work = _Work(
        corrections_of(source),
        kind=kind,
        correction_set=correction_set,
        suffixes=tuple(suffixes),
        mass=mass,
        pt=pt,
        mass_exponent=mass_exponent,
        seed=seed,
        identifiers=tuple(identifiers),
        branches=branches or {},
    )
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    made = []
    for path, target in zip(paths, targets, strict=True):
        with EventFiles() as opened:
            copy = _Copy(work, path, opened.table(path, tree))
            made.append(copy.write(target, chunk))
    return tuple(made)


def _targets(
    paths: Sequence[pathlib.Path], folder: pathlib.Path, correction_set: str
) -> list[pathlib.Path]:
    """Return the names of the copies, which must differ from each other and inputs."""
    taken = {path.resolve(): path for path in paths}
    targets = []
    for path in paths:
        target = folder / corrected_name(path, correction_set)
        other = taken.setdefault(target.resolve(), path)
        if other is not path or target.resolve() == path.resolve():
            raise ArgumentValueError(
                f"files: the corrected copy of {path} would be {target}, as is {other} "
                "or its copy. Rename one, or correct them into different folders."
            )
        targets.append(target)
    return targets


@dataclasses.dataclass(frozen=True)
class _Work:
    """What is done to each file; arguments as for `correct_files`."""

    corrections: Corrections
    kind: Sample
    correction_set: str
    suffixes: tuple[str, ...]
    mass: str
    pt: str | None
    mass_exponent: float
    seed: int
    identifiers: tuple[str, ...]
    branches: Mapping[str, str]

    def factors(
        self, columns: Mapping[str, np.ndarray], identifiers: Sequence[Any], source: str
    ) -> np.ndarray:
        """Return the factors of leptons, NaN where there is no number.

        Args:
            columns: The variables of the leptons.
            identifiers: Integers that identify the leptons.
            source: What else random numbers depend on.
        """
        if self.kind == "data":
            return self.corrections.evaluate("scale", "scale", columns)
        normals = standard_normals(self.seed, *identifiers, source=f"smearing{source}")
        uniforms = uniform_numbers(self.seed, *identifiers, source=f"component{source}")
        return smearing_factors(self.corrections, columns, normals, uniforms=uniforms)


class _Copy:
    """A corrected copy of one file."""

    def __init__(self, work: _Work, path: pathlib.Path, table: EventTable) -> None:
        self._work = work
        self._path = path
        self._table = table
        self._outside: int | None = 0
        self._without_number = 0
        self._variables = [self._names_of(suffix) for suffix in work.suffixes]
        momenta = [] if work.pt is None else [f"{work.pt}{s}" for s in work.suffixes]
        self._corrected = (work.mass, *momenta)
        wanted = [*self._corrected, *work.identifiers]
        for variables in self._variables:
            wanted += variables.values()
        names = tuple(dict.fromkeys(wanted))
        for problem in missing_columns(table, names, work.branches).values():
            raise SpecificationError(problem)
        self._sources = expressions(table, names, work.branches)
        self._places = {name: self._place(name) for name in self._corrected}

    def write(self, target: pathlib.Path, chunk: int) -> CorrectedFile:
        """Write the copy, and return its record."""
        pa, pq = import_pyarrow()
        events = 0
        schema, batches = batches_of(self._path, self._table, chunk)
        out = self._schema(schema)
        with replacing(target) as file, pq.ParquetWriter(file, out) as writer:
            for batch in batches:
                arrays = self._arrays(batch, events, out)
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=out))
                events += batch.num_rows
        return CorrectedFile(target, events, self._outside, self._without_number)

    def _names_of(self, suffix: str) -> dict[str, str]:
        """Return the columns of the variables of a lepton, some of which it shares."""
        known = {*self._table.columns, *self._work.branches}
        names = {}
        kind = "scale" if self._work.kind == "data" else "smear"
        for name in self._work.corrections.variables(kind):
            own = f"{name}{suffix}"
            names[name] = name if own not in known and name in known else own
        return names

    def _place(self, name: str) -> str:
        """Return the column that has the corrected values of a quantity."""
        source = self._sources[name]
        if source.plain and source.names[0] in self._table.columns:
            return source.names[0]
        if name in self._table.columns:
            raise SpecificationError(
                f"{self._table.name} has a column {name!r}, and by the table of "
                f"branches {name!r} is {source.text!r}. Correct the column: remove the "
                "entry."
            )
        return name

    def _schema(self, schema: Any) -> Any:
        """Return the schema of the copy."""
        pa, _ = import_pyarrow()
        for place in self._places.values():
            if place not in schema.names:
                schema = schema.append(pa.field(place, pa.float64()))
            elif not pa.types.is_floating(schema.field(place).type):
                raise SpecificationError(
                    f"{self._table.name}: the column {place!r} has the type "
                    f"{schema.field(place).type}, and must be a floating-point number "
                    "to be corrected."
                )
        place = self._places[self._work.mass]
        original = f"{place}_orig"
        if original not in schema.names:
            schema = schema.append(pa.field(original, schema.field(place).type))
        return schema

    def _arrays(self, batch: Any, start: int, schema: Any) -> list[Any]:
        """Return the columns of the copy."""
        pa, _ = import_pyarrow()
        work, size = self._work, batch.num_rows
        values = self._values(batch)
        source = f" {work.correction_set}"
        identifiers = [values[name] for name in work.identifiers]
        if not identifiers:
            identifiers = [np.arange(start, start + size)]
            source += f" of {self._path.name}"
        new = {name: values[name].astype(float) for name in self._corrected}
        product = np.ones(size)
        for number, names in enumerate(self._variables):
            columns = {name: values[column] for name, column in names.items()}
            factors = work.factors(columns, [*identifiers, number], source)
            kind = "scale" if work.kind == "data" else "smear"
            inside = work.corrections.inside(kind, columns)
            if inside is None:
                self._outside = None
            elif self._outside is not None:
                self._outside += int(np.count_nonzero(~inside))
            self._without_number += int(np.count_nonzero(np.isnan(factors)))
            product *= factors
            if work.pt is not None:
                new[f"{work.pt}{work.suffixes[number]}"] *= factors
        with np.errstate(invalid="ignore"):  # a negative factor: NaN
            new[work.mass] *= product**work.mass_exponent
        given = {name: batch.column(name) for name in batch.schema.names}
        mass = self._places[work.mass]
        original = given.get(mass, pa.array(values[work.mass].astype(float)))
        made = {f"{mass}_orig": original, **given}
        for name, place in self._places.items():
            kind = schema.field(place).type
            numbers = new[name].astype(kind.to_pandas_dtype())
            nulls = None
            if place in given:
                nulls = given[place].is_null().to_numpy(zero_copy_only=False)
            made[place] = pa.array(numbers, type=kind, mask=nulls)
        return [made[name] for name in schema.names]

    def _values(self, batch: Any) -> dict[str, np.ndarray]:
        """Return the values of a part by the names used here."""

        def read(names: Sequence[str], size: int) -> Iterator[dict[str, Any]]:
            del size
            yield {
                name: batch.column(name).to_numpy(zero_copy_only=False)
                for name in names
            }

        size = batch.num_rows
        part = EventTable(self._table.name, size, batch.schema.names, read)
        wanted = [name for one in self._sources.values() for name in one.names]
        _, columns = next(part.chunks(tuple(dict.fromkeys(wanted)), max(size, 1)))
        return {
            name: np.broadcast_to(_value(source, columns), size)
            for name, source in self._sources.items()
        }


def _value(source: EventExpression, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return an expression in double precision; integers stay integers."""
    return source(
        {
            name: columns[name].astype(float)
            if columns[name].dtype.kind == "f"
            else columns[name]
            for name in source.names
        }
    )
