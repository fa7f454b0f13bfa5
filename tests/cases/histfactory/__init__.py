"""Workspaces of real searches and measurements, with reference numbers."""
