"""Energy scale and smearing: from files of events to corrections.

The names below are imported when they are first used, so that the command line reads
its options without importing JAX.
"""

from typing import TYPE_CHECKING

from everwillow._lazy_names import lazy_names


if TYPE_CHECKING:
    from everwillow.workflows.scale_smearing.analysis import (
        SasResult,
        compute_sas,
    )
    from everwillow.workflows.scale_smearing.chains import (
        write_chain,
    )
    from everwillow.workflows.scale_smearing.corrected_files import (
        CorrectedFile,
        correct_files,
    )
    from everwillow.workflows.scale_smearing.figures import (
        plot_correlations,
        plot_region_fits,
        plot_results,
        plot_systematics,
    )
    from everwillow.workflows.scale_smearing.fitter import (
        RegionalFitter,
    )
    from everwillow.workflows.scale_smearing.outputs import (
        Written,
        write_results,
    )
    from everwillow.workflows.scale_smearing.regional_fit import (
        RegionalFit,
        RegionFit,
    )
    from everwillow.workflows.scale_smearing.smoothed_corrections import (
        write_smoothed,
    )
    from everwillow.workflows.scale_smearing.smoothing import (
        Curves,
        SmoothedParameters,
        smooth,
    )


_MODULES = {
    "CorrectedFile": "corrected_files",
    "Curves": "smoothing",
    "RegionFit": "regional_fit",
    "RegionalFit": "regional_fit",
    "RegionalFitter": "fitter",
    "SasResult": "analysis",
    "SmoothedParameters": "smoothing",
    "Written": "outputs",
    "compute_sas": "analysis",
    "correct_files": "corrected_files",
    "plot_correlations": "figures",
    "plot_region_fits": "figures",
    "plot_results": "figures",
    "plot_systematics": "figures",
    "smooth": "smoothing",
    "write_chain": "chains",
    "write_results": "outputs",
    "write_smoothed": "smoothed_corrections",
}


__getattr__, __dir__ = lazy_names(__name__, _MODULES)


__all__ = [
    "CorrectedFile",
    "Curves",
    "RegionFit",
    "RegionalFit",
    "RegionalFitter",
    "SasResult",
    "SmoothedParameters",
    "Written",
    "compute_sas",
    "correct_files",
    "plot_correlations",
    "plot_region_fits",
    "plot_results",
    "plot_systematics",
    "smooth",
    "write_chain",
    "write_results",
    "write_smoothed",
]
