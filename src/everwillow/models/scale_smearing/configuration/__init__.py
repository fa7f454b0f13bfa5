"""Configurations of scale and smearing: YAML to frozen records."""
