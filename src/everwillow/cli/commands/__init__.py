"""The commands, one module for each; `everwillow.cli.app` has their options."""
