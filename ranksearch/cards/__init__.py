"""Model cards: what a delivered model is, costs and is worth, for people who have nothing but its folder."""

from __future__ import annotations

from ranksearch.cards.card import CARD_FILE, card_text, write_card
from ranksearch.cards.content import Content
from ranksearch.cards.snippets import file_snippet, load_snippet

__all__ = ["CARD_FILE", "Content", "card_text", "file_snippet", "load_snippet", "write_card"]
