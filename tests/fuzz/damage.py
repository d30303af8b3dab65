"""How files are damaged: bytes, words and values changed by chance."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

JSON = ("front.json", "plan.json", "probe.json", "recovery.json", "splits.json", "study.jsonl", "tables.json",
        "chains.json", "ranks.json", "scores.json", "exported.json")  # fmt: skip
TEXT = (*JSON, "config.toml", "probe.toml", "sweep.csv", "spectra.csv", "SHA256SUMS")
BINARY = ("w.safetensors", "entry.safetensors", "w.pt", "a-idx3-ubyte", "a-idx3-ubyte.gz",
          "a.png", "b.png", "a.jpg", "a.tif", "a.bmp", "a.webp")  # fmt: skip

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 10**19, 10**40, -(2**63), 0.0, -0.5, 0.5, 1.5, 1e308, -1e-320, float("inf"),
    float("nan"), "", "x", "0.2", "dense", "cafe", "\ud800", "a\0b", "a\nb\x1b[31m", "[bold]", "x" * 200, "o|ihw",
    [], {}, [0], [[]], {"": None}, [1, "a", None],
)  # fmt: skip

TOKENS = (
    "nan", "inf", "1e400", "-1", "0", "1_0", "9" * 30, "9" * 5000, "0x" + "f" * 5000, '"', "'", '"""', "\\ud800",
    "\n", "\r", "\0", "\ufeff", "null", "true", "[", "]", "{", "}", "[" * 2000, "a." * 3000, ",", "|", "=", "#",
    "1979-05-27", "07:32:00", "[[a]]\n", "ε", "\x1b[2J",
)  # fmt: skip


def damaged_bytes(content: bytes, random: Random) -> bytes:
    """A few bytes changed, cut off, put in, doubled or moved."""
    a, b = sorted(random.randrange(len(content) + 1) for _ in range(2))
    b = min(b, a + random.choice((1, 4, 40, len(content))))
    match random.randrange(8):
        case 0:
            return content[:a]
        case 1 if a < len(content):
            return content[:a] + bytes([content[a] ^ 1 << random.randrange(8)]) + content[a + 1 :]
        case 2:
            return content[:a] + random.randbytes(random.choice((1, 2, 8, 100))) + content[a:]
        case 3:
            return content[:b] + content[a:]
        case 4:
            return content[:a] + content[b:]
        case 5:
            return content[:a] + bytes(b - a) + content[b:]
        case 6:
            return content[:a] + b"\xff" * (b - a) + content[b:]
        case _:
            return content[b:] + content[a:b] + content[:a]


def damaged_text(content: bytes, random: Random) -> bytes:
    """A token replaced by another, a strange one put in, or lines doubled, dropped or swapped."""
    text = content.decode()
    lines = text.splitlines(keepends=True)
    k, other = (random.randrange(len(lines)) for _ in range(2))
    match random.randrange(5):
        case 0:
            lines[k] *= random.choice((0, 2))
            return "".join(lines).encode()
        case 1:
            lines[k], lines[other] = lines[other], lines[k]
            return "".join(lines).encode()
        case 2:
            place, token = random.randrange(len(text) + 1), random.choice(TOKENS)
            return (text[:place] + token + text[place:]).encode()
        case _:
            tokens = list(re.finditer(r"[\w.+-]+", text))
            old, new = random.choice(tokens), random.choice(tokens)
            token = random.choice((new[0], random.choice(TOKENS)))
            return (text[: old.start()] + token + text[old.end() :]).encode()


def damaged_json(content: bytes, random: Random) -> bytes:
    """A value, anywhere, replaced by another, left out, doubled or renamed; of a journal in one of its lines."""
    text = content.decode()
    lines = text.splitlines() if "\n{" in text else [text]
    k = random.randrange(len(lines))
    value = json.loads(lines[k])
    for _ in range(random.choice((1, 1, 3))):
        _change(value, random)
    lines[k] = json.dumps(value, ensure_ascii=random.random() < 0.9)
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")


def _change(root: Any, random: Random) -> None:
    places = [(root, key) for key in root]
    for holder, key in places:
        inner = holder[key]
        if isinstance(inner, dict | list):
            places += [(inner, k) for k in (inner if isinstance(inner, dict) else range(len(inner)))]
    if not places:
        return
    (holder, key), (source, other) = random.choice(places), random.choice(places)
    new = random.choice((random.choice(VALUES), source[other]))
    # As text and back, so that nothing holds itself.
    holder[key] = json.loads(json.dumps(new))
    if isinstance(holder, dict) and random.random() < 0.3:
        holder[random.choice(("", "x", "\ud800", key.upper()))] = holder.pop(key)


def cases(name: str) -> list[Callable[[bytes, Random], bytes]]:
    """The ways in which a file of that name is damaged."""
    if name in JSON:
        return [damaged_bytes, damaged_text, damaged_json, damaged_json]
    return [damaged_bytes, damaged_text] if name in TEXT else [damaged_bytes]


def damaged(name: str, content: bytes, random: Random) -> bytes:
    """A file's content, damaged once or several times."""
    for _ in range(random.choice((1, 1, 2, 4))):
        damage = random.choice(cases(name))
        try:
            content = damage(content, random) or content
        except (ValueError, RecursionError, IndexError):
            continue  # damaged before, so that there is no text, or no JSON, in it any more
    return content
