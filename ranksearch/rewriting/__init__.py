"""Modules that compute with hidden or joined weights, written as plain layers that compute the same."""

from __future__ import annotations

from ranksearch.rewriting.attention import Attention
from ranksearch.rewriting.plain import plain_form, restored
from ranksearch.rewriting.recurrent import Recurrent

__all__ = ["Attention", "Recurrent", "plain_form", "restored"]
