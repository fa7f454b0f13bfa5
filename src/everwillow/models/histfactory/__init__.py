"""HistFactory workspaces in the format of pyhf."""

from everwillow.models.histfactory.batches import patch_batch as patch_batch
from everwillow.models.histfactory.inspection import summary as summary
from everwillow.models.histfactory.joining import combine as combine
from everwillow.models.histfactory.model import (
    from_pyhf as from_pyhf,
    from_pyhf_patches as from_pyhf_patches,
)
from everwillow.models.histfactory.patchset import (
    Patch as Patch,
    PatchSet as PatchSet,
    apply_patches as apply_patches,
)
from everwillow.models.histfactory.reading import load_json as load_json
from everwillow.models.histfactory.simplified import (
    SimplifiedWorkspace as SimplifiedWorkspace,
    simplified_workspace as simplified_workspace,
)
from everwillow.models.histfactory.spec import (
    validate as validate,
    workspace_spec as workspace_spec,
)
from everwillow.models.histfactory.workspace import (
    digest as digest,
    prune as prune,
    rename as rename,
    sorted_workspace as sorted_workspace,
)
from everwillow.models.histfactory.writing import to_pyhf as to_pyhf
