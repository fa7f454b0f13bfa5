"""Fits, scans and comparisons of models of density ratios."""
