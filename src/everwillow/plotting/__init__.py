"""The plots of a statistical analysis; needs the extra ``plot``."""

# Imported first, as it raises the error for a missing extra.
from everwillow._lazy_names import listed_names
from everwillow.plotting import style as style
from everwillow.plotting.combinations import measurements as measurements
from everwillow.plotting.cross_sections import (
    cross_section as cross_section,
    uncertainty_breakdown as uncertainty_breakdown,
)
from everwillow.plotting.density_ratios import (
    calibration_curve as calibration_curve,
    reweighting_closure as reweighting_closure,
)
from everwillow.plotting.history import convergence as convergence
from everwillow.plotting.hypotheses import brazil_band as brazil_band
from everwillow.plotting.impacts import ranking as ranking
from everwillow.plotting.likelihood import contour as contour, scan as scan
from everwillow.plotting.limits import limit_summary as limit_summary
from everwillow.plotting.mass_regions import sas_regions as sas_regions
from everwillow.plotting.matrices import correlation as correlation
from everwillow.plotting.nuisance import pulls as pulls
from everwillow.plotting.processes import template_processes as template_processes
from everwillow.plotting.regularisation import l_curve as l_curve
from everwillow.plotting.scale_smearing import (
    CategoryOptions as CategoryOptions,
    sas_comparison as sas_comparison,
    sas_errors as sas_errors,
    sas_parameters as sas_parameters,
    sas_ratios as sas_ratios,
)
from everwillow.plotting.sensitivities import sensitivity as sensitivity
from everwillow.plotting.style import (
    FigureOptions as FigureOptions,
    PlotOptions as PlotOptions,
)
from everwillow.plotting.templates import (
    template_distribution as template_distribution,
    template_variations as template_variations,
)
from everwillow.plotting.yields import distribution as distribution


__dir__ = listed_names(globals())
