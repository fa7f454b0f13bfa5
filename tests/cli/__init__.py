"""Tests of the command `everwillow`."""
