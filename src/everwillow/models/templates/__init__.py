"""Models of template fits, built from histograms."""

from everwillow._lazy_names import listed_names
from everwillow.models.templates.booking.builder import (
    TemplateBuilder as TemplateBuilder,
)
from everwillow.models.templates.likelihood.regularisation import (
    Curvature as Curvature,
    with_strength as with_strength,
)
from everwillow.models.templates.model import TemplateModel as TemplateModel
from everwillow.models.templates.reading import load as load
from everwillow.models.templates.writing import write as write


__dir__ = listed_names(globals())
