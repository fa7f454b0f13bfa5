"""Chains of configurations: each step is fitted on the corrected events of the last."""

import collections
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from everwillow._errors import ArgumentValueError, EverwillowError, SpecificationError
from everwillow.models.data_files import locate
from everwillow.models.event_files import EventFiles
from everwillow.models.scale_smearing.branches import expressions
from everwillow.models.scale_smearing.configuration.document import read_configuration
from everwillow.models.scale_smearing.configuration.records import SasConfiguration
from everwillow.models.yaml_source import as_yaml, dump_yaml
from everwillow.workflows.scale_smearing.corrected_files import corrected_name


Content = Mapping[str, Any]
_FILES = ("file_dt", "file_mc")
_CORRECTED = {"file_dt": "correct_data", "file_mc": "correct_mc"}


def write_chain(
    steps: Sequence[Content],
    folder: str | os.PathLike[str],
    *,
    common: Content | None = None,
    smear_simulation: bool = False,
) -> tuple[pathlib.Path, ...]:
    """Write the configurations of a chain of steps, each on the output of the last.

    A step fits events that the steps before it have corrected, so that the product of
    all corrections is that of the original events. The configurations are fitted in the
    order of their names. Results of a step are in a folder of its own, with the name of
    its set of corrections, in `dir_results` (``results`` by default), unless the step
    itself has this key.

    All steps but the last write corrected data. All steps fit the original simulation,
    so that the resolution of the last one is the whole smearing, and the others are not
    used. With `smear_simulation` each step fits simulation that the steps before have
    smeared: then the smearing is that of all steps, in quadrature.

    A mass or momentum that is an expression of columns of the original files is a
    column of corrected ones, so the tables of branches of later steps do not have it.

    Args:
        steps: What each step adds to the common content: at least ``cset_name``, which
            differs, and ``sas`` with ``categories``.
        folder: The folder of the configurations, which is made if it is missing.
        common: What all steps have: the content of a configuration with ``file_dt`` and
            ``file_mc``, which are those of the first step. Paths are relative to
            `folder` or to the working directory.
        smear_simulation: Whether steps after the first fit smeared simulation.

    Returns:
        The paths of the configurations in order.

    Raises:
        ArgumentValueError: If the steps do not make a chain.
        SpecificationError: If a step is no valid configuration, with all of its faults.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "events.npz")
        ...     names = ("mass", "run1", "run2", "r91", "r92")
        ...     np.savez(file, **{name: np.ones(2) for name in names})
        ...     copy = file.with_name("simulation.npz")
        ...     _ = copy.write_bytes(file.read_bytes())
        ...     paths = write_chain(
        ...         [
        ...             {"cset_name": "Run", "sas": {"categories": {"run": [0, 2]}}},
        ...             {"cset_name": "R9", "sas": {"categories": {"r9": [0, 2]}}},
        ...         ],
        ...         folder,
        ...         common={"file_dt": "events.npz", "file_mc": "simulation.npz"},
        ...     )
        ...     step = read_configuration(paths[1], check_files=False).nominal
        >>> [path.name for path in paths], step.data[0].name
        (['step1_Run.yaml', 'step2_R9.yaml'], 'events.RunCorr.parquet')
    """
    if not steps:
        raise ArgumentValueError("steps: there is no step.")
    home = pathlib.Path(folder)
    contents = [_merged(common or {}, step) for step in steps]
    _check_names(contents)
    documents: list[dict[str, Any]] = []
    inputs: dict[str, list[str]] = {}
    new_columns: frozenset[str] = frozenset()
    corrected = _FILES if smear_simulation else _FILES[:1]
    for place, (content, own) in enumerate(zip(contents, steps, strict=True)):
        last = place == len(steps) - 1
        if place == 0:
            inputs = _first_inputs(content, home)
        else:
            _check_own_files(place, content, own)
        document = _document(content, own, inputs, () if last else corrected)
        checked = _checked(place, document, home)
        if place == 0:
            new_columns = _new_columns(checked)
            if new_columns and not smear_simulation and not last:
                raise ArgumentValueError(
                    f"common: {', '.join(sorted(new_columns))} are expressions of "
                    "columns, and a column of corrected data only. Write files with "
                    "these columns first, or give smear_simulation=True."
                )
        elif smear_simulation:
            _leave_out_branches(document, checked, new_columns)
        if not last:
            inputs = inputs | _outputs(place, document, inputs, corrected)
        documents.append(document)
    _check_results(documents)
    return _written(documents, home)


def _merged(common: Content, step: Content) -> dict[str, Any]:
    """Return the content of a step; sections are merged key by key."""
    merged = dict(common)
    for key, value in step.items():
        base = merged.get(key)
        if isinstance(base, Mapping) and isinstance(value, Mapping):
            # The variables of categories belong together.
            merged[key] = {**base, **value}
        else:
            merged[key] = value
    return as_yaml(merged).plain()


def _check_names(contents: Sequence[Content]) -> None:
    names = [content.get("cset_name") for content in contents]
    for place, name in enumerate(names):
        if not name:
            raise ArgumentValueError(
                f"steps[{place}]: the key 'cset_name' is missing. Name the corrections "
                "of each step."
            )
        if name in names[:place]:
            raise ArgumentValueError(
                f"steps[{place}]: cset_name {name!r} is that of steps"
                f"[{names.index(name)}] too. Choose another one."
            )


def _check_results(documents: Sequence[Content]) -> None:
    """Refuse steps that would replace each other's results."""
    places: dict[tuple[Any, Any], int] = {}
    for place, document in enumerate(documents):
        key = (document["dir_results"], document.get("dset_name"))
        if key in places:
            raise ArgumentValueError(
                f"steps[{place}]: its results would replace those of steps"
                f"[{places[key]}] in {key[0]}. Choose another dir_results or dset_name."
            )
        places[key] = place


def _first_inputs(content: Content, home: pathlib.Path) -> dict[str, list[str]]:
    """Return the files of the first step, relative to the folder if they are in it."""
    found: dict[str, list[str]] = {}
    for key in _FILES:
        given = content.get(key) or []
        names = [given] if isinstance(given, str) else given
        found[key] = []
        for name in map(str, names):
            path, elsewhere = locate(name, home)
            found[key].append(str(path) if elsewhere else name)
    return found


def _check_own_files(place: int, content: Content, own: Content) -> None:
    """Refuse files of later steps, which the steps before do not correct."""
    for key in _FILES:
        if key in own:
            raise ArgumentValueError(
                f"steps[{place}]: {key} must be absent, as the step reads corrected "
                "events of the one before."
            )
    systematics = content.get("syst") or {}
    for name, changes in systematics.items():
        if isinstance(changes, Mapping) and not set(_FILES).isdisjoint(changes):
            raise ArgumentValueError(
                f"steps[{place}]: the systematic {name!r} has other files, which the "
                "steps before do not correct. Give it to the first step only."
            )


def _document(
    content: Content,
    own: Content,
    inputs: Mapping[str, list[str]],
    corrected: Sequence[str],
) -> dict[str, Any]:
    """Return the configuration of a step."""
    name = content["cset_name"]
    results = str(content.get("dir_results") or "results")
    if "dir_results" not in own:
        results = f"{results}/{name}"
    files = {
        key: names[0] if len(names) == 1 else names for key, names in inputs.items()
    }
    document = {**files, **content, **files, "dir_results": results}
    if corrected:
        sas = dict(content.get("sas") or {})
        document["sas"] = {**sas, **{_CORRECTED[key]: True for key in corrected}}
    return document


def _checked(place: int, document: Content, home: pathlib.Path) -> SasConfiguration:
    """Return the configuration of a step, if it is valid."""
    try:
        # The files of later steps are not written yet.
        if place == 0:
            placed = {key: _placed(document[key], home) for key in _FILES}
            return read_configuration({**document, **placed})
        return read_configuration(document, check_files=False)
    except EverwillowError as error:
        text = str(error).removeprefix("the configuration: ")
        raise SpecificationError(f"steps[{place}]: {text}") from error


def _placed(names: str | list[str], home: pathlib.Path) -> list[str]:
    listed = [names] if isinstance(names, str) else names
    return [str(locate(name, home)[0]) for name in listed]


def _new_columns(checked: SasConfiguration) -> frozenset[str]:
    """Return the corrected quantities that are no columns of the original files."""
    settings = checked.nominal
    names = (settings.mass, *(settings.pt + one for one in settings.suffixes))
    with EventFiles() as files:
        table = files.table(settings.data[0], settings.tree)
        # Momenta that are not there are not corrected.
        known = {*table.columns, *settings.branches}
        names = tuple(name for name in names if name in known)
        sources = expressions(table, names, settings.branches)
    return frozenset(
        name
        for name, source in sources.items()
        if not source.plain or source.names[0] not in table.columns
    )


def _leave_out_branches(
    document: dict[str, Any], checked: SasConfiguration, names: frozenset[str]
) -> None:
    """Take quantities that corrected files have as columns out of the branches."""
    sas = dict(document["sas"])
    sas.pop("tree", None)  # corrected events are parquet files
    if sas.pop("branches", None):
        sas["branches"] = {
            name: text
            for name, text in checked.nominal.branches.items()
            if name not in names
        }
    document["sas"] = sas


def _outputs(
    place: int,
    document: Content,
    inputs: Mapping[str, list[str]],
    corrected: Sequence[str],
) -> dict[str, list[str]]:
    """Return the corrected files of a step."""
    found = {
        key: [
            f"{document['dir_results']}/{corrected_name(name, document['cset_name'])}"
            for name in inputs[key]
        ]
        for key in corrected
    }
    counts = collections.Counter(name for names in found.values() for name in names)
    for name, number in counts.items():
        if number > 1:
            raise ArgumentValueError(
                f"steps[{place}]: the corrected events of {number} files would be in "
                f"{name}. Rename these files, as their names differ by the folder only."
            )
    return found


def _written(
    documents: Sequence[Content], home: pathlib.Path
) -> tuple[pathlib.Path, ...]:
    home.mkdir(parents=True, exist_ok=True)
    paths = []
    for place, document in enumerate(documents, start=1):
        path = home / f"step{place}_{document['cset_name']}.yaml"
        path.write_text(dump_yaml(document), encoding="utf-8")
        paths.append(path)
    return tuple(paths)
