"""Values that show themselves in a few lines: at the prompt, and as a small table in a notebook."""

from __future__ import annotations

from abc import abstractmethod
from html import escape

from ranksearch.visible import visible


class AtAGlance:
    """Shows its name and `glance` instead of everything that it holds."""

    @abstractmethod
    def glance(self) -> dict[str, str]:
        """What matters of it, one line of text by its name."""

    def __repr__(self) -> str:
        rows = {name: visible(text) for name, text in self.glance().items()}
        width = max(map(len, rows), default=0)
        lines = [f"{name:<{width}}  {text}" for name, text in rows.items()]
        return "\n  ".join([type(self).__name__, *lines])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align: left'>{escape(name)}</th>"
            f"<td style='text-align: left'>{escape(visible(text))}</td></tr>"
            for name, text in self.glance().items()
        )
        return f"<table><caption>{escape(type(self).__name__)}</caption>{rows}</table>"
