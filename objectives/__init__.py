"""Objectives: what scores a plan."""
