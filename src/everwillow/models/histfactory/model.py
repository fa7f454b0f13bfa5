"""Models from a pyhf workspace, and from each of several patches of it."""

import dataclasses
from collections.abc import Iterable
from typing import Any, Unpack

from everwillow._errors import ArgumentValueError, ConflictError
from everwillow.likelihood.binned.spec import BinnedSpec
from everwillow.models._document import shortened
from everwillow.models.binned import BinnedModel
from everwillow.models.binned_batch import BinnedBatch
from everwillow.models.histfactory._comparison import structure_difference
from everwillow.models.histfactory.patchset import Patch, PatchSet, patched_workspace
from everwillow.models.histfactory.spec import (
    WorkspaceOptions,
    takes_workspace_options,
    workspace_spec,
)
from everwillow.models.json_source import Source, collection_paused, load_json


@collection_paused()
@takes_workspace_options
def from_pyhf(
    workspace: Source, *, patches: Any = None, **options: Unpack[WorkspaceOptions]
) -> BinnedModel:
    """Make a model of a pyhf workspace.

    Names, start values, bounds, fixed flags and auxiliary data of the parameters are
    those of pyhf 0.7.6; ``2 * model.nll(params)`` equals its ``-2 ln L``, constants
    included. A vector such as ``staterror_SR`` is one array parameter. The main data
    are one vector over all bins, with channels in the order of their names.

    Args:
        workspace: A file, JSON text or a dict.
        patches: A `Patch`, the file or text of a JSON patch, a list of its operations,
            or a list of several of these, applied in turn.
        **options: `WorkspaceOptions`:

            - `measurement`: name or index of the measurement; the first if None.
            - `poi`: parameter of interest instead of that of the measurement, or an
              element of an array such as ``"gamma[3]"``.
            - `interpolation`: ``"default"`` is code 4 for `normsys` and code 4p for
              `histosys`; ``"pyhf-python"`` is codes 1 and 0. Or a mapping of the two
              to codes.
            - `expressions`: functions of other parameters that replace normfactors, by
              the name of the normfactor.
            - `parameters`: settings that replace those of the measurement, by the name
              of the parameter.

    Raises:
        SpecificationError: If the workspace is not valid, with the JSON pointer.
        MissingFileError: If there is no such file.
        UnknownKeyError: If there is no such measurement or parameter.

    Example:
        >>> sample = {
        ...     "name": "signal",
        ...     "data": [5.0, 9.0],
        ...     "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
        ... }
        >>> model = from_pyhf(
        ...     {
        ...         "channels": [{"name": "SR", "samples": [sample]}],
        ...         "observations": [{"name": "SR", "data": [6, 8]}],
        ...         "measurements": [
        ...             {"name": "search", "config": {"poi": "mu", "parameters": []}}
        ...         ],
        ...         "version": "1.0.0",
        ...     }
        ... )
        >>> print(model.poi, model.state, f"{model.nll(model.state):.4f}")
        mu State(mu=1.0) 3.9494
    """
    loaded = load_json(workspace)
    if patches is not None:
        loaded = patched_workspace(loaded, patches)
    return BinnedModel.from_spec(workspace_spec(loaded, **options))


@collection_paused()
@takes_workspace_options
def from_pyhf_patches(
    workspace: Source, patches: Iterable[Any], **options: Unpack[WorkspaceOptions]
) -> BinnedBatch:
    """Make a batch of models, one for each patch of a workspace.

    A function of a model can be evaluated for the batch in one compiled call.

    Args:
        workspace: A file, JSON text or a dict.
        patches: A `PatchSet`, or several patches of the forms in `from_pyhf`.
        **options: `WorkspaceOptions`, as for `from_pyhf`: `measurement`, `poi`,
            `interpolation`, `expressions`, `parameters`.

    Raises:
        ConflictError: If two patched workspaces have different structures.
        SpecificationError: If a patch or a patched workspace is not valid.
    """
    specs = patch_batch(workspace, patches, **options)
    return BinnedBatch.of([BinnedModel.from_spec(spec) for spec in specs])


@takes_workspace_options
def patch_batch(
    workspace: Source, patches: Iterable[Any], **options: Unpack[WorkspaceOptions]
) -> tuple[BinnedSpec, ...]:
    """Read a workspace with each of several patches, for models of one structure.

    All descriptions have the same channels, bins, effects and parameters, in the same
    order, and differ in numbers only, so that they can be stacked. The names of samples
    may differ, such as those of signals.

    Args:
        workspace: A file, JSON text or a dict.
        patches: A `PatchSet`, or patches as `apply_patches` takes them.
        **options: `WorkspaceOptions`, as for `workspace_spec`: `measurement`, `poi`,
            `interpolation`, `expressions`, `parameters`.

    Returns:
        One description for each patch.

    Raises:
        ConflictError: If two have different structures, with the first difference; or
            if the digests of a `PatchSet` are not those of this workspace.
        ArgumentValueError: If there is no patch.
        SpecificationError: If a patch or a patched workspace is not valid.
    """
    loaded = load_json(workspace)
    if isinstance(patches, PatchSet):
        patches.verify(loaded)
    specs: list[BinnedSpec] = []
    names: list[str] = []
    for index, patch in enumerate(patches):
        made = workspace_spec(patched_workspace(loaded, patch), **options)
        names.append(shortened(patch.name) if isinstance(patch, Patch) else str(index))
        if specs:
            made = _in_order(made, specs[0])
            difference = structure_difference(specs[0], made)
            if difference:
                raise ConflictError(
                    f"patches {names[0]} and {names[-1]} make models of different "
                    f"structure: {difference}. Evaluate them one by one, or only those "
                    "of one structure together."
                )
        specs.append(made)
    if not specs:
        raise ArgumentValueError("patches: expected at least one patch, got none.")
    return tuple(specs)


def _in_order(spec: BinnedSpec, first: BinnedSpec) -> BinnedSpec:
    """Return a description with parameters in the order of another, if possible."""
    named = {parameter.name: parameter for parameter in spec.parameters}
    order = [parameter.name for parameter in first.parameters]
    if named.keys() != set(order):
        return spec
    return dataclasses.replace(spec, parameters=tuple(named[name] for name in order))
