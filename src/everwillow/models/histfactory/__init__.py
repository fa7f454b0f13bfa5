"""HistFactory workspaces in the format of pyhf."""

from everwillow.models.histfactory.reading import load_json as load_json
from everwillow.models.histfactory.spec import (
    validate as validate,
    workspace_spec as workspace_spec,
)
