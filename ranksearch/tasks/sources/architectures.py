"""What makes the dense model of a delivered folder again: a built-in name, or the config of a transformers model.

With `config.json` beside the weights, transformers would load them and fill what was factorised with random numbers. So
it lies in a folder of its own, with the files of the tokeniser or image processor.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ranksearch.errors import InputError, expected, told
from ranksearch.files import whole_file, write_text
from ranksearch.reading import read_bytes
from ranksearch.tasks.sources.models import is_plain
from ranksearch.tasks.sources.transformers_models import (
    CONFIG_FILE,
    POOLING_FILE,
    SOURCE,
    Folder,
    config_text,
    is_of_transformers,
)

ARCHITECTURE = SOURCE
"""The folder in that of a delivered model."""

_PROCESSOR_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt"),
    *(POOLING_FILE, "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model"),
    *("preprocessor_config.json", "generation_config.json"),
)


def write_architecture(folder: Path, model: nn.Module, name: str | None) -> tuple[str, ...]:
    """Write the config of a transformers model into the folder of its compressed form, and copy the files of the
    tokeniser or image processor where `name` says from which folder it came.

    returns: the files written, relative to `folder`; none for other models.
    """
    if not is_of_transformers(model):
        return ()
    target = folder / ARCHITECTURE
    write_text(target / CONFIG_FILE, config_text(model))
    written = [CONFIG_FILE]
    if name is not None and name.partition(":")[0] == SOURCE:
        source = Folder.of(name).path
        for file in _PROCESSOR_FILES:
            if not (source / file).is_file():
                continue
            try:
                content = read_bytes(source / file)
            except OSError as error:
                raise InputError(
                    expected(str(source / file), "a file that can be read", told(error))
                ) from error
            with whole_file(target / file) as temporary:
                temporary.write_bytes(content)
            written.append(file)
    return tuple(f"{ARCHITECTURE}/{file}" for file in written)


def has_architecture(folder: Path) -> bool:
    """Whether a delivered folder says by itself how its dense model is made."""
    return (folder / ARCHITECTURE / CONFIG_FILE).is_file()


def dense_name(folder: Path, name: str | None, *, trust: bool = False) -> str | None:
    """The name that makes the dense model of a delivered folder; None where nobody vouches for one.

    name: what the folder's plan calls it. A config, and a built-in name with numbers, are data; other names can have
    code imported and files read, and count only with `trust`.
    """
    if has_architecture(folder):
        return f"{SOURCE}:{(folder / ARCHITECTURE).absolute()}"
    return name if name is not None and (trust or is_plain(name)) else None
