"""Text that somebody else wrote, such as a layer's name, in a form that only says what it says."""

from __future__ import annotations

from ranksearch.redaction import redact


def visible(text: str) -> str:
    """The text on one line, with escapes such as `\\x1b` and `\\n` for what cannot be printed, and no passwords.

    That is what a terminal would act on, and what makes a text look like another one: control characters, line and
    paragraph separators, marks that change the direction of writing, bytes of a path that are no text.
    """
    text = redact(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def visible_lines(text: str) -> str:
    """The same for a text of several lines; all but the first are indented, so that none passes for an entry."""
    return "\n  ".join(map(visible, text.split("\n")))
