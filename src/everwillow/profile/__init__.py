"""Profile likelihoods: scans, asymmetric intervals and contours."""

from everwillow._lazy_names import listed_names
from everwillow.profile._crossing_search import CROSSING
from everwillow.profile.contours import ContourResult, contour
from everwillow.profile.minos_intervals import MinosResult, minos
from everwillow.profile.scans import Scan2DResult, ScanResult, scan, scan_2d
from everwillow.profile.split_scans import SplitScan, scan_split


__dir__ = listed_names(globals())

__all__ = [
    "CROSSING",
    "ContourResult",
    "MinosResult",
    "Scan2DResult",
    "ScanResult",
    "SplitScan",
    "contour",
    "minos",
    "scan",
    "scan_2d",
    "scan_split",
]
