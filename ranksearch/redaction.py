"""What is nobody else's business: passwords in database URLs, hidden in whatever is written or shown, and the folders
of this machine, left out of what is passed on."""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "***"

_SECRET = re.compile("pass|pwd|secret|token|credential|api_?key", re.IGNORECASE)

_SHORTEST = 3
"""Characters of a password that is looked for in other texts; a shorter one would be found in half of all words."""

_FOLDERS = re.compile(
    r"""(?<=')(?:[A-Za-z]:)?[\\/](?:[^\\/:']*[\\/])*|(?<=")(?:[A-Za-z]:)?[\\/](?:[^\\/:"]*[\\/])*"""
    r"""|(?<![\w.'"])(?:[A-Za-z]:)?[\\/](?:[^\\/:]*[\\/])*"""
)
"""What an absolute path, which may be a part of a name, begins with."""

_replacements: dict[str, str] = {}


def conceal(location: str) -> str:
    """A database URL without its passwords: that of the user, and those among its parameters; other texts as they are.

    What it hides is hidden from then on by `redact` too.
    """
    scheme, separator, rest = location.partition("://")
    if not separator:
        return location
    # As SQLAlchemy reads a URL: the password ends at the first @, whatever else is in it.
    user = re.match(r"([^:/@]*):([^@]*)@", rest)
    if user:
        _remember(user[2])
        rest = f"{user[1]}:{HIDDEN}@{rest[user.end() :]}"
    address, mark, query = rest.partition("?")
    concealed = f"{scheme}://{address}{mark}{'&'.join(map(_parameter, query.split('&')))}"
    if concealed != location:
        _replacements[location] = concealed
    return concealed


def _parameter(text: str) -> str:
    name, equals, value = text.partition("=")
    if not (value and _SECRET.search(name)):
        return text
    _remember(value)
    return f"{name}{equals}{HIDDEN}"


def _remember(password: str) -> None:
    for form in (password, unquote(password)):
        if len(form) >= _SHORTEST and form != HIDDEN:
            _replacements[form] = HIDDEN


def redact(text: str) -> str:
    """A text in which every URL and password that `conceal` has met is hidden."""
    for known in sorted(_replacements, key=len, reverse=True):
        text = text.replace(known, _replacements[known])
    return text


def without_folders(text: str) -> str:
    """An absolute path, or a name with such paths in it, with their last parts alone.

    `imagefolder:/data/in1k` → `imagefolder:in1k`.
    """
    return _FOLDERS.sub("", text)
