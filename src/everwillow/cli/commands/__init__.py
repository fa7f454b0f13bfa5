"""The commands, a module each; `everwillow.cli.app` has their options."""
