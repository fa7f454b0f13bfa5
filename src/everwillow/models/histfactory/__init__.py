"""HistFactory workspaces in the format of pyhf."""

from everwillow._lazy_names import listed_names
from everwillow.models.histfactory.inspection import summary
from everwillow.models.histfactory.model import (
    from_pyhf,
    from_pyhf_patches,
    patch_batch,
)
from everwillow.models.histfactory.operations import (
    combine,
    digest,
    prune,
    rename,
    sorted_workspace,
)
from everwillow.models.histfactory.patchset import Patch, PatchSet, apply_patches
from everwillow.models.histfactory.simplified import (
    SimplifiedWorkspace,
    simplified_workspace,
)
from everwillow.models.histfactory.spec import validate, workspace_spec
from everwillow.models.histfactory.writing import to_pyhf
from everwillow.models.json_source import load_json


__dir__ = listed_names(globals())

__all__ = [
    "Patch",
    "PatchSet",
    "SimplifiedWorkspace",
    "apply_patches",
    "combine",
    "digest",
    "from_pyhf",
    "from_pyhf_patches",
    "load_json",
    "patch_batch",
    "prune",
    "rename",
    "simplified_workspace",
    "sorted_workspace",
    "summary",
    "to_pyhf",
    "validate",
    "workspace_spec",
]
