"""The bands of expected results: names of fields, and texts of tables."""

BAND_NAMES = ("minus_2sigma", "minus_1sigma", "median", "plus_1sigma", "plus_2sigma")
BAND_TEXTS = ("-2 sigma", "-1 sigma", "median", "+1 sigma", "+2 sigma")
