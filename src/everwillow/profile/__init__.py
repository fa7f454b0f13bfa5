"""Profile likelihoods: scans, asymmetric intervals and contours."""

from everwillow.profile.contours import ContourResult, contour
from everwillow.profile.intervals import MinosResult, minos
from everwillow.profile.scans import Scan2DResult, ScanResult, scan, scan_2d
from everwillow.profile.search import CROSSING


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
