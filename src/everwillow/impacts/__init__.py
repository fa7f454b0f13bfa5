"""Impacts of nuisance parameters, of groups of them and of data on a result."""

from everwillow._lazy_names import listed_names
from everwillow.impacts.combined_measurements import Measurements, measurements
from everwillow.impacts.error_breakdown import Breakdown, breakdown
from everwillow.impacts.fluctuations import GlobalImpacts, global_impacts
from everwillow.impacts.groups import (
    GroupImpacts,
    SplitErrors,
    group_impacts,
    split_errors,
)
from everwillow.impacts.measurement_weights import Weights, weights
from everwillow.impacts.nonprofiled import NonprofiledImpacts, nonprofiled_impacts
from everwillow.impacts.ranking import RankingResult, rank
from everwillow.impacts.refits import RefitImpacts
from everwillow.impacts.statistics import StatisticalImpacts, statistical_impacts


__dir__ = listed_names(globals())

__all__ = [
    "Breakdown",
    "GlobalImpacts",
    "GroupImpacts",
    "Measurements",
    "NonprofiledImpacts",
    "RankingResult",
    "RefitImpacts",
    "SplitErrors",
    "StatisticalImpacts",
    "Weights",
    "breakdown",
    "global_impacts",
    "group_impacts",
    "measurements",
    "nonprofiled_impacts",
    "rank",
    "split_errors",
    "statistical_impacts",
    "weights",
]
