"""Template fits: built from histograms, with masked channels and mappings."""

from everwillow.models.templates.builder import TemplateBuilder as TemplateBuilder
from everwillow.models.templates.model import TemplateModel as TemplateModel
from everwillow.models.templates.storage import load as load, write as write
