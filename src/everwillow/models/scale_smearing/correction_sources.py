"""Corrections to apply: of results in memory, or of a file for correctionlib."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, final

import numpy as np
from jaxtyping import Bool, Float

from everwillow._errors import SpecificationError, unknown_key
from everwillow.models.json_source import load_json
from everwillow.models.scale_smearing.correction_files import import_correctionlib
from everwillow.models.scale_smearing.correction_values import Kind, values_of
from everwillow.models.scale_smearing.parameters import SasParameters
from everwillow.models.scale_smearing.parameters_file import parameters_from_json


Columns: TypeAlias = Mapping[str, Any]
"""The variables of objects by name, with one number for each object."""

_PREFIXES: Mapping[Kind, str] = {"scale": "EGMScale_", "smear": "EGMSmearAndSyst_"}


class Corrections(Protocol):
    """What can be applied to energies."""

    def variables(self, kind: Kind) -> tuple[str, ...]:
        """Return the names of the variables that a correction depends on."""
        ...

    def keys(self, kind: Kind) -> tuple[str, ...]:
        """Return the names of its values and variations."""
        ...

    def evaluate(
        self, kind: Kind, key: str, columns: Columns
    ) -> Float[np.ndarray, " objects"]:
        """Return a value for each object, NaN where there is none."""
        ...

    def inside(
        self, kind: Kind, columns: Columns
    ) -> Bool[np.ndarray, " objects"] | None:
        """Return whether objects are inside of all edges; None if it is not known."""
        ...


Source: TypeAlias = SasParameters | Corrections | str | os.PathLike[str]
"""Results, corrections, or a file: of results, or for correctionlib."""


@final
class ParameterCorrections:
    """The corrections of results.

    Objects outside of the edges have the values of the nearest category, as they have
    with a file for correctionlib. If a variable is NaN, there is no value.

    Args:
        parameters: The results.
    """

    def __init__(self, parameters: SasParameters) -> None:
        self.parameters = parameters

    def variables(self, kind: Kind) -> tuple[str, ...]:
        """Return the names of the variables."""
        del kind
        return self.parameters.categories.names

    def keys(self, kind: Kind) -> tuple[str, ...]:
        """Return the names of values and variations."""
        return tuple(values_of(self.parameters, kind))

    def evaluate(
        self, kind: Kind, key: str, columns: Columns
    ) -> Float[np.ndarray, " objects"]:
        """Return a value for each object, NaN where there is none."""
        values = values_of(self.parameters, kind)
        if key not in values:
            raise unknown_key(key, values, where=kind, kind="key")
        place = self.parameters.categories.nearest(self._chosen(columns))
        return np.where(place >= 0, values[key][place], np.nan)

    def inside(self, kind: Kind, columns: Columns) -> Bool[np.ndarray, " objects"]:
        """Return whether objects are in a category."""
        del kind
        return self.parameters.categories.index(self._chosen(columns)) >= 0

    def _chosen(self, columns: Columns) -> dict[str, np.ndarray]:
        names = self.parameters.categories.names
        return dict(zip(names, chosen(columns, names), strict=True))


@final
class FileCorrections:
    """The corrections in a file for correctionlib.

    Objects outside of all edges have the values that the file gives them, mostly those
    of the nearest bin. If a variable is NaN, there is no value.

    Args:
        path: The file.
        scale: The name of the correction of data, or of a compound. By default the only
            compound, or else the only one whose name begins with ``EGMScale_``.
        smear: The name of the correction of simulation. By default the only one whose
            name begins with ``EGMSmearAndSyst_``, or that of the last step of the
            compound.

    Raises:
        MissingFileError: If there is no such file.
        SpecificationError: If it is another file.
        UnknownKeyError: If it has no such correction.
        MissingPackageError: If correctionlib is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        scale: str | None = None,
        smear: str | None = None,
    ) -> None:
        document = load_json(path)
        if not isinstance(document, Mapping) or "schema_version" not in document:
            raise SpecificationError(
                f"{path}: it is not a file for correctionlib, which has a "
                "'schema_version'."
            )
        self._path = path
        self._set = import_correctionlib().CorrectionSet.from_file(os.fspath(path))
        self._listed = {one["name"]: one for one in document["corrections"]}
        self._compounds = {
            one["name"]: one for one in document.get("compound_corrections") or ()
        }
        self._given: Mapping[Kind, str | None] = {"scale": scale, "smear": smear}
        for kind, name in self._given.items():
            known = [*self._listed, *self._compounds]
            if name is not None and name not in known:
                raise unknown_key(name, known, where=kind, kind="correction")

    def variables(self, kind: Kind) -> tuple[str, ...]:
        """Return the names of the variables."""
        found = self._found(kind)
        return tuple(one.name for one in found.inputs if one.type != "string")

    def keys(self, kind: Kind) -> tuple[str, ...]:
        """Return the names of values and variations."""
        name = self._name(kind)
        if name in self._compounds:
            name = self._compounds[name]["stack"][0]
        content = self._listed[name]["data"].get("content", ())
        return tuple(one["key"] for one in content if isinstance(one, dict))

    def evaluate(
        self, kind: Kind, key: str, columns: Columns
    ) -> Float[np.ndarray, " objects"]:
        """Return a value for each object, NaN where there is none."""
        values = dict(
            zip(self.variables(kind), self._arrays(kind, columns), strict=True)
        )
        # NaN has no place among edges: correctionlib puts it into the last bin.
        inside = self._numbers(values.values())
        arguments = [
            key if one.type == "string" else _typed(values[one.name][inside], one.type)
            for one in self._found(kind).inputs
        ]
        out = np.full(inside.shape, np.nan)
        try:
            out[inside] = self._found(kind).evaluate(*arguments)
        except IndexError as error:
            raise unknown_key(key, self.keys(kind), where=kind, kind="key") from error
        return out

    def inside(self, kind: Kind, columns: Columns) -> None:
        """Return None: a file does not tell what is outside of its edges."""
        del kind, columns

    def _arrays(self, kind: Kind, columns: Columns) -> list[np.ndarray]:
        return list(np.broadcast_arrays(*chosen(columns, self.variables(kind))))

    def _numbers(self, arrays: Any) -> np.ndarray:
        return np.logical_and.reduce([~np.isnan(one) for one in arrays])

    def _found(self, kind: Kind) -> Any:
        name = self._name(kind)
        return self._set.compound[name] if name in self._compounds else self._set[name]

    def _name(self, kind: Kind) -> str:
        given = self._given[kind]
        if given is not None:
            return given
        prefix = _PREFIXES[kind]
        alone = [one for one in self._listed if one.startswith(prefix)]
        stacked = [one for one in self._compounds if one.startswith(prefix)]
        found = (stacked or alone) if kind == "scale" else alone
        if kind == "smear" and len(alone) > 1:
            found = [one for one in self._last_steps() if one in alone] or alone
        if len(found) != 1:
            number = "no correction" if not found else f"{len(found)} corrections"
            names = ", ".join(found or [*self._listed, *self._compounds])
            raise SpecificationError(
                f"{self._path}: there are {number} with names that begin with "
                f"{prefix!r}. Give one as `{kind}`: {names}."
            )
        return found[0]

    def _last_steps(self) -> Iterator[str]:
        """Yield the smearing that belongs to the last step of each compound."""
        for one in self._compounds.values():
            step = re.fullmatch(r"EGMScale(?:Factor)?_(.*)", one["stack"][-1])
            if step:
                yield f"EGMSmearAndSyst_{step[1]}"


def corrections_of(
    source: Source, *, scale: str | None = None, smear: str | None = None
) -> Corrections:
    """Return the corrections of results or of a file.

    Args:
        source: Results, or a file: JSON with results, or for correctionlib; corrections
            are returned as they are.
        scale: As for `FileCorrections`.
        smear: As for `FileCorrections`.
    """
    if isinstance(source, SasParameters):
        return ParameterCorrections(source)
    if not isinstance(source, str | os.PathLike):
        return source
    document = load_json(source)
    if isinstance(document, Mapping) and "schema_version" in document:
        return FileCorrections(source, scale=scale, smear=smear)
    return ParameterCorrections(parameters_from_json(source))


def chosen(columns: Columns, names: Sequence[str]) -> list[np.ndarray]:
    """Return the columns of variables.

    Raises:
        UnknownKeyError: If one is missing.
    """
    for name in names:
        if name not in columns:
            raise unknown_key(name, columns, where="variables", kind="variable")
    return [np.asarray(columns[name]) for name in names]


def _typed(values: np.ndarray, kind: str) -> np.ndarray:
    return np.asarray(values, np.int64 if kind == "int" else np.float64)
