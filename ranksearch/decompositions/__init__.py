"""Decompositions."""
