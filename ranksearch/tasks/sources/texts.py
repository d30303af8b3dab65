"""Texts as token numbers: lines of a text file, or entries of JSON Lines, by the tokeniser of a model's folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ranksearch.errors import InputError, blaming, expected
from ranksearch.objects import close_match
from ranksearch.reading import parse_json, read_text

SUFFIXES = {"text": ".txt", "jsonl": ".jsonl"}
"""By the source, the suffix of its files in a folder."""

LENGTH = 128
"""Tokens, where nobody says how many."""

_BYTES = 2**30
"""The most that a file of texts may hold."""

_TEXT = ("text", "sentence", "content")
_SECOND = ("text_pair", "sentence2")
_LABEL = ("label", "labels")


@dataclass(frozen=True)
class TextOptions:
    """How texts become inputs.

    folder: has the tokeniser; None where the model brings none. size: (tokens,), the most of an example; None for
    `LENGTH`, or what the tokeniser allows. blocks: whether texts are joined and cut into blocks of that length, as for
    language models. labels: classes by name.
    """

    folder: Path | None = None
    size: tuple[int, ...] | None = None
    blocks: bool = False
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A text, or two, and its label; None where it has none."""

    text: str
    second: str | None = None
    label: int | float | None = None


class Texts(Dataset[dict[str, Any]]):
    """Examples are dicts of token numbers, cut to a length, with `labels` where there are some."""

    def __init__(self, entries: Sequence[Entry], tokenizer: Any, length: int) -> None:
        self._entries, self._tokenizer, self._length = entries, tokenizer, length

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> dict[str, Any]:
        entry = self._entries[index]
        found = dict(self._tokenizer(entry.text, entry.second, truncation=True, max_length=self._length))
        return found if entry.label is None else {**found, "labels": entry.label}


class Blocks(Dataset[dict[str, Tensor]]):
    """Examples are blocks (T,) of the tokens of all texts, one after another, without what is left at the end."""

    def __init__(self, tokens: Tensor, length: int) -> None:
        self._tokens = tokens[: len(tokens) // length * length].view(-1, length)  # (N, T)

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self._tokens[index]}


@dataclass(frozen=True)
class Padded:
    """Makes a batch of examples, padded by their tokeniser to the longest one."""

    tokenizer: Any

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, Tensor]:
        return dict(self.tokenizer.pad(items, return_tensors="pt"))


Collate = Callable[[list[Any]], Any]


def read_texts(
    source: str, path: Path, options: TextOptions
) -> tuple[dict[str, Dataset[Any]], Collate | None]:
    """The data sets of a file, or of a folder with train, val and test files, by role, and what makes batches of them.

    source: `text` or `jsonl`. Raises InputError.
    """
    if options.folder is None:
        way_out = "Name the model's folder: transformers:DIR. For a model of your own write a factory."
        raise InputError(
            expected("data", "a model whose folder has a tokeniser, for texts", "another", way_out)
        )
    tokenizer = load_tokenizer(options.folder)
    length = _length(tokenizer, options)
    files = _files(path, SUFFIXES[source])
    read = _lines if source == "text" else _entries
    entries = {role: read(file, options.labels) for role, file in files.items()}
    if options.blocks:
        return {role: _blocks(found, tokenizer, length, files[role]) for role, found in entries.items()}, None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # the mask leaves it out
    return {role: Texts(found, tokenizer, length) for role, found in entries.items()}, Padded(tokenizer)


def load_tokenizer(folder: Path) -> Any:
    """The tokeniser of a folder. Raises InputError where it has none."""
    from transformers import AutoTokenizer

    way_out = "Save it there: tokenizer.save_pretrained(DIR)."
    try:
        with blaming(f"tokeniser {folder}", "files of a tokeniser in the folder", way_out):
            return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            expected(f"tokeniser {folder}", "files of a tokeniser in the folder", reason, way_out)
        ) from error


def _length(tokenizer: Any, options: TextOptions) -> int:
    most = int(tokenizer.model_max_length)
    if options.size is None:
        return min(LENGTH, most)
    if len(options.size) > 1 or options.size[0] > most:
        wanted = f"one number of tokens{f', at most {most}' * (most < 2**31)}, for texts"
        raise InputError(expected("input_size", wanted, "x".join(map(str, options.size))))
    return options.size[0]


def _files(path: Path, suffix: str) -> dict[str, Path]:
    """By role: a file alone is all training data."""
    if not path.is_dir():
        if not path.is_file():
            siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            way_out = close_match(path.name, siblings)
            raise InputError(expected("data", "an existing file or folder", str(path), way_out))
        return {"train": path}
    names = {"train": ("train",), "validation": ("val", "valid", "validation", "dev"), "test": ("test",)}
    found = {
        role: file
        for role, stems in names.items()
        if (file := next((path / f"{s}{suffix}" for s in stems if (path / f"{s}{suffix}").is_file()), None))
    }
    if "train" not in found:
        got = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "nothing"
        raise InputError(expected("data", f"train{suffix} in {path}", got))
    return found


def _read(path: Path) -> list[str]:
    with blaming(str(path), "a text file in UTF-8"):
        try:
            lines = read_text(path, _BYTES).split("\n")
        except OSError as error:
            raise InputError(expected(str(path), "a file that can be read", error.strerror)) from error
    return [line.strip() for line in lines]


def _lines(path: Path, labels: Mapping[str, int]) -> list[Entry]:
    found = [Entry(line) for line in _read(path) if line]
    if not found:
        raise InputError(expected(str(path), "lines of text", "none"))
    return found


def _entries(path: Path, labels: Mapping[str, int]) -> list[Entry]:
    found = []
    for number, line in enumerate(_read(path), 1):
        if line:
            with blaming(f"{path}, line {number}", "an object in JSON"):
                found.append(_entry(parse_json(line), labels, f"{path}, line {number}"))
    if not found:
        raise InputError(expected(str(path), "objects in JSON, one a line", "none"))
    if len({entry.label is None for entry in found}) > 1:
        number = next(k for k, entry in enumerate(found, 1) if entry.label is None)
        raise InputError(expected(str(path), "a label in every entry, or in none", f"none in entry {number}"))
    return found


def _entry(content: Any, labels: Mapping[str, int], where: str) -> Entry:
    content = content if isinstance(content, Mapping) else {}
    text, second, label = (
        next((content[key] for key in keys if content.get(key) is not None), None)
        for keys in (_TEXT, _SECOND, _LABEL)
    )
    if not isinstance(text, str) or not isinstance(second, str | None):
        got = ", ".join(map(str, content)) or "none"
        raise InputError(expected(where, f"an object with a text under {' or '.join(_TEXT)}", got))
    if isinstance(label, str):
        if label not in labels:
            wanted = f"one of the model's labels ({', '.join(labels) or 'which has none'})"
            raise InputError(expected(where, wanted, repr(label), close_match(label, labels)))
        label = labels[label]
    if label is not None and not isinstance(label, int | float):
        raise InputError(expected(where, "a number or a name as label", type(label).__name__))
    return Entry(text, second, label)


def _blocks(entries: Sequence[Entry], tokenizer: Any, length: int, path: Path) -> Blocks:
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    tokens: list[int] = []
    for entry in entries:
        tokens += tokenizer(entry.text, add_special_tokens=False)["input_ids"] + end
    if len(tokens) < length:
        wanted = f"texts of at least {length} tokens together"
        raise InputError(expected(str(path), wanted, len(tokens), "See `input_size`."))
    return Blocks(torch.tensor(tokens), length)
