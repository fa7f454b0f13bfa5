"""From a pyhf workspace to a model."""

from collections.abc import Iterable, Mapping
from typing import Any

from everwillow.likelihood.binned_spec import Derived
from everwillow.models.binned import BinnedModel
from everwillow.models.binned_batch import BinnedBatch
from everwillow.models.histfactory.batches import patch_batch
from everwillow.models.histfactory.patchset import patched_workspace
from everwillow.models.histfactory.spec import workspace_spec
from everwillow.models.json_source import Source, collection_paused, load_json


@collection_paused()
def from_pyhf(
    workspace: Source,
    *,
    measurement: str | int | None = None,
    patches: Any = None,
    poi: str | None = None,
    interpolation: str | Mapping[str, str] = "default",
    expressions: Mapping[str, Derived] | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
) -> BinnedModel:
    """Make a model of a pyhf workspace.

    Names, start values, bounds, fixed flags and auxiliary data of the parameters are
    those of pyhf 0.7.6; ``2 * model.nll(params)`` is its ``-2 ln L``, constants
    included. Vectors such as ``staterror_SR`` are one array parameter. The main data
    are one vector over all bins, channels in the order of their names.

    Args:
        workspace: A file, JSON text or a dict.
        measurement: Name or index of the measurement; the first if None.
        patches: A `Patch`, the file or text of a JSON patch, a list of its operations,
            or a list of several of these, applied in turn.
        poi: Parameter of interest instead of that of the measurement.
        interpolation: ``"default"`` is code 4 for `normsys` and code 4p for `histosys`;
            ``"pyhf-python"`` is codes 1 and 0. Or a mapping of the two to codes.
        expressions: Name of a normfactor to the function of other parameters that
            replaces it.
        parameters: Name of a parameter to settings that replace the measurement's.

    Raises:
        SpecificationError: If the workspace is not valid; has the JSON pointer.
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
        mu State(mu=1) 3.9494
    """
    loaded = load_json(workspace)
    if patches is not None:
        loaded = patched_workspace(loaded, patches)
    spec = workspace_spec(
        loaded,
        measurement=measurement,
        poi=poi,
        interpolation=interpolation,
        expressions=expressions,
        parameters=parameters,
    )
    return BinnedModel.from_spec(spec)


@collection_paused()
def from_pyhf_patches(
    workspace: Source,
    patches: Iterable[Any],
    *,
    measurement: str | int | None = None,
    poi: str | None = None,
    interpolation: str | Mapping[str, str] = "default",
    expressions: Mapping[str, Derived] | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
) -> BinnedBatch:
    """Make one batch of models, a model for each patch of a workspace.

    A function of a model is then evaluated for all of them in one compiled call.

    Args:
        workspace: A file, JSON text or a dict.
        patches: A `PatchSet`, or several patches as `from_pyhf` takes them.
        measurement: As for `from_pyhf`, like all that follow.
        poi: Parameter of interest.
        interpolation: Codes of interpolation.
        expressions: Functions in place of normfactors.
        parameters: What replaces the settings of the measurement.

    Raises:
        ConflictError: If two patched workspaces have different structures.
        SpecificationError: If a patch or a patched workspace is not valid.
    """
    specs = patch_batch(
        workspace,
        patches,
        measurement=measurement,
        poi=poi,
        interpolation=interpolation,
        expressions=expressions,
        parameters=parameters,
    )
    return BinnedBatch.of([BinnedModel.from_spec(spec) for spec in specs])
