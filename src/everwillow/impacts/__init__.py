"""What moves a result: impacts of nuisance parameters, of their groups and of data."""

from everwillow.impacts.fluctuations import GlobalImpacts, global_impacts
from everwillow.impacts.groups import (
    GroupImpacts,
    SplitErrors,
    group_impacts,
    split_errors,
)
from everwillow.impacts.ranking import RankingResult, rank
from everwillow.impacts.refits import RefitImpacts


__all__ = [
    "GlobalImpacts",
    "GroupImpacts",
    "RankingResult",
    "RefitImpacts",
    "SplitErrors",
    "global_impacts",
    "group_impacts",
    "rank",
    "split_errors",
]
