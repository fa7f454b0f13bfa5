"""Configurations of density-ratio models: YAML to frozen records."""
