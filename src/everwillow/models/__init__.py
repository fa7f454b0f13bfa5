"""Families of models, one package for each."""
