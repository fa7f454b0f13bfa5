"""Profile likelihoods: scans, asymmetric intervals and contours."""

from everwillow.profile._crossing_search import CROSSING
from everwillow.profile.contours import ContourResult, contour
from everwillow.profile.minos_intervals import MinosResult, minos
from everwillow.profile.scans import Scan2DResult, ScanResult, scan, scan_2d


__all__ = [
    "CROSSING",
    "ContourResult",
    "MinosResult",
    "Scan2DResult",
    "ScanResult",
    "contour",
    "minos",
    "scan",
    "scan_2d",
]
