"""Strings to objects: models and data by name."""
