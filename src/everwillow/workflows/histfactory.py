"""Likelihoods of binned channels from files, whichever format they have."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from everwillow._errors import (
    ArgumentValueError,
    SpecificationError,
    unknown_key,
)
from everwillow.engine.layout import ravel_state
from everwillow.engine.names import meant_elements
from everwillow.model import AbstractModel
from everwillow.models.histfactory.model import from_pyhf
from everwillow.models.histfactory.patchset import (
    Patch,
    PatchSet,
    patched_workspace,
)
from everwillow.models.histfactory.reading import refuse_others
from everwillow.models.json_source import document_kind, load_json


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A document, and which format it has.

    Attributes:
        format: ``"pyhf"`` or ``"hs3"``.
        document: What the file holds.
        name: Of the file, for people.
    """

    format: Literal["pyhf", "hs3"]
    document: Mapping[str, Any]
    name: str


def read_source(source: Any) -> Source:
    """Read a workspace or an HS3 document, and tell by its content which it is.

    Args:
        source: A file, gzipped or not, or the content of one as bytes or a dict.

    Raises:
        MissingFileError: If there is no such file.
        SpecificationError: If it is neither; datacards, XML, ROOT files, archives and
            patches are refused with what to do instead.

    Example:
        >>> read_source({"metadata": {"hs3_version": "0.2"}}).format
        'hs3'
    """
    file = ""
    if isinstance(source, str | os.PathLike):
        source = pathlib.Path(source)
        file = str(source)
    name = file or "the document"
    document = load_json(source)
    kind = document_kind(document)
    if kind == "hs3":
        return Source("hs3", document, name)
    refuse_others(document, file)
    if kind == "workspace":
        return Source("pyhf", document, name)
    what = (
        f"has the keys {', '.join(map(repr, list(document)[:6])) or '(none)'}"
        if isinstance(document, Mapping)
        else f"is a {type(document).__name__}"
    )
    raise SpecificationError(
        f"{name} is neither a pyhf workspace (with 'channels', 'observations' and "
        f"'measurements') nor an HS3 document (with 'distributions' and 'metadata'): "
        f"it {what}."
    )


def find_patch(text: str) -> tuple[Any, PatchSet | None]:
    """Find the patch that a text means: ``FILE``, or ``PATCHSET:NAME``.

    Args:
        text: The name of a JSON patch, or of a patch set and of a patch in it. Values
            may stand for the name of a patch: ``PATCHSET:300,150``.

    Returns:
        The patch, as `from_pyhf` takes it, and the patch set that it is from or None.

    Raises:
        SpecificationError: If a file is a patch set and no name was given.
        UnknownKeyError: If a patch set has no such patch.
        MissingFileError: If there is no such file.
    """
    whole = pathlib.Path(text)
    # The longest part that is a file: names of patches and of files may have colons.
    cuts = [match.start() for match in re.finditer(":", text)]
    for cut in reversed([] if whole.exists() else cuts):
        file = pathlib.Path(text[:cut])
        if file.is_file():
            patches = PatchSet(file)
            return _chosen(patches, text[cut + 1 :]), patches
    content = load_json(whole)
    if isinstance(content, Mapping) and "patches" in content:
        names = [patch.name for patch in PatchSet(whole)]
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise SpecificationError(
            f"{text} is a patch set with {len(names)} patches. Say which one: "
            f"{text}:NAME, with one of the names {shown}."
        )
    return whole, None


def _chosen(patches: PatchSet, name: str) -> Patch:
    if name in {patch.name for patch in patches}:
        return patches[name]
    try:
        return patches[tuple(float(part) for part in name.split(","))]
    except (ValueError, KeyError):
        return patches[name]


def patched_source(
    source: Source, patches: Iterable[str], *, verify: bool = True
) -> Source:
    """Apply patches to a document, one after another.

    Args:
        source: The document; stays as it is.
        patches: As `find_patch` takes them.
        verify: Whether a patch set has to be made for this document: the first one
            that is applied, by its digests.

    Raises:
        ConflictError: If a patch set is made for another document.
        SpecificationError: If a patch is not valid or has no place in the document.
    """
    document: Any = source.document
    for number, text in enumerate(patches):
        patch, patchset = find_patch(text)
        if patchset is not None and verify and number == 0 and source.format == "pyhf":
            patchset.verify(document)
        document = patched_workspace(document, patch)
    return dataclasses.replace(source, document=document)


def load_model(
    source: Any,
    *,
    measurement: str | int | None = None,
    analysis: str | int | None = None,
    patches: Sequence[str] = (),
    poi: str | None = None,
    interpolation: str | Mapping[str, str] = "default",
    verify: bool = True,
) -> AbstractModel:
    """Make a model of a pyhf workspace or an HS3 document.

    Args:
        source: A `Source`, or what `read_source` takes.
        measurement: Of a workspace: name or index; the first if None.
        analysis: Of an HS3 document: name or index; the first if None.
        patches: ``FILE`` or ``PATCHSET:NAME``, applied in turn.
        poi: Parameter of interest instead of that of the document.
        interpolation: Of a workspace, as in `from_pyhf`.
        verify: Whether to check that a patch set is made for this workspace.

    Raises:
        EverwillowError: If something is not valid, with its place; or an argument
            belongs to the other format.

    Example:
        >>> mu = {"name": "mu", "type": "normfactor", "data": None}
        >>> sample = {"name": "signal", "data": [5.0], "modifiers": [mu]}
        >>> model = load_model(
        ...     {
        ...         "channels": [{"name": "SR", "samples": [sample]}],
        ...         "observations": [{"name": "SR", "data": [7]}],
        ...         "measurements": [
        ...             {"name": "m", "config": {"poi": "mu", "parameters": []}}
        ...         ],
        ...         "version": "1.0.0",
        ...     }
        ... )
        >>> model.poi
        'mu'
    """
    loaded = source if isinstance(source, Source) else read_source(source)
    loaded = patched_source(loaded, patches, verify=verify)
    if loaded.format == "pyhf":
        _refuse(analysis is not None, "analysis", "measurement", "a pyhf workspace")
        return from_pyhf(
            dict(loaded.document),
            measurement=measurement,
            poi=poi,
            interpolation=interpolation,
        )
    _refuse(measurement is not None, "measurement", "analysis", "an HS3 document")
    if interpolation != "default":
        raise ArgumentValueError(
            "interpolation: an HS3 document says itself how its systematics are "
            "interpolated. Leave it out."
        )
    # Only here: the expressions of HS3 need a parser of their own.
    from everwillow.models.hs3.reading import load  # noqa: PLC0415

    model: Any = load(dict(loaded.document), analysis=analysis)
    if poi is None:
        return model
    if poi not in model.state:
        raise unknown_key(poi, model.state, where="poi")
    return dataclasses.replace(model, poi=poi)


def _refuse(given: bool, name: str, instead: str, what: str) -> None:  # noqa: FBT001
    if given:
        raise ArgumentValueError(
            f"{name}: this is {what}, which has none. Give its {instead}."
        )


def fixed_parameters(
    model: AbstractModel, settings: Mapping[str, float | None]
) -> dict[Any, Any]:
    """Return which parameters to fix, for the argument `fixed` of a fit.

    Args:
        model: Whose parameters.
        settings: Name of a parameter, of an element such as ``"gamma[3]"``, or a
            pattern such as ``"stat*"``, to its value; None for its start value.

    Returns:
        For each parameter its value, an array with NaN for elements that stay free.

    Raises:
        UnknownKeyError: If a name is that of no parameter.

    Example:
        >>> import everwillow as ew
        >>> model = ew.Model(lambda p, d: p["mu"] ** 2, {"mu": 1.0, "norm": 2.0}, None)
        >>> fixed_parameters(model, {"n*": None, "mu": 3.0})
        {'norm': array(2.), 'mu': array(3.)}
    """
    fixed: dict[Any, Any] = {}
    layout, _, _ = ravel_state(model.state)
    for name, value in settings.items():
        meant, _ = meant_elements(name, layout, where="fixed")
        for place, key in enumerate(layout.keys):
            here = meant[layout.elements(place)]
            if not here.any():
                continue
            start = np.asarray(model.state[key], float)
            chosen = here.reshape(start.shape)
            known = fixed.get(key, model.fixed.get(key))
            whole = np.full(start.shape, np.nan)
            if known is not None:
                whole = np.array(np.broadcast_to(known, start.shape), float)
            whole[chosen] = start[chosen] if value is None else value
            fixed[key] = whole
    return fixed
