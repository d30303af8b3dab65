"""`transformers:DIR[:CLASS]`: models of the transformers package from local folders with config.json and weights.

A config is data: it chooses among the classes of the installed package. No code of a folder is run, and neither code
nor weights are fetched. A name on the hub stands for the folder of it that is in the local cache.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ranksearch.errors import InputError, RankSearchError, blaming, expected, told
from ranksearch.networks import check_finite
from ranksearch.objects import close_match
from ranksearch.reading import RECORD_BYTES, parse_json, read_text

SOURCE = "transformers"
CONFIG_FILE = "config.json"
POOLING_FILE = "1_Pooling/config.json"
"""Where sentence-transformers says how one vector is made of those of all positions."""

_NEVER = (
    "auto_map",
    "attn_implementation",
    "_attn_implementation",
    "experts_implementation",
    "_name_or_path",
)
"""Entries of configs that name code, or kernels to fetch, or places."""

_DTYPES = ("dtype", "torch_dtype")


@dataclass(frozen=True)
class Folder:
    """A folder of a model, and the class that is to be made of it; None leaves that to the config."""

    path: Path
    kind: str | None = None

    @classmethod
    def of(cls, spec: str, base: Path | None = None) -> Folder:
        """What `transformers:DIR[:CLASS]` names. Raises InputError where there is no such folder."""
        base, name, kind = base or Path(), spec.partition(":")[2], None
        head, _, tail = name.rpartition(":")
        if head and tail.isidentifier() and tail[:1].isupper() and not (base / name).exists():
            name, kind = head, tail
        path = base / Path(name).expanduser()
        return cls(path if (path / CONFIG_FILE).is_file() else _cached(name, path), kind)


def _cached(name: str, path: Path) -> Path:
    """The folder of a name on the hub that was downloaded before."""
    wanted = f"a local folder with {CONFIG_FILE} and weights"
    if path.is_dir():
        raise InputError(expected("model", wanted, f"{path}, without {CONFIG_FILE}"))
    _package()
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(name, local_files_only=True))
    except Exception as error:
        way_out = (
            "Nothing is downloaded. Save the model with save_pretrained(DIR), its tokeniser or image processor too, "
            "and name DIR."
        )
        raise InputError(expected("model", wanted, repr(name), way_out)) from error


def _package() -> Any:
    try:
        import transformers
    except ImportError as error:
        way_out = "pip install 'ranksearch[hf]'"
        raise InputError(expected("model", "the transformers package", "none", way_out)) from error
    return transformers


# --- configs


def read_config(folder: Path) -> dict[str, Any]:
    """What `config.json` of a folder holds. Raises InputError."""
    path = folder / CONFIG_FILE
    try:
        content = parse_json(read_text(path, RECORD_BYTES))
    except (OSError, ValueError) as error:
        raise InputError(expected(str(path), "the config of a model", told(error))) from error
    if not isinstance(content, dict) or not isinstance(content.get("model_type"), str):
        raise InputError(expected(str(path), "the config of a model, with its model_type", "none"))
    return content


def _config(content: Mapping[str, Any], where: str) -> Any:
    """A config of the installed package. Raises InputError."""
    transformers = _package()
    known = transformers.CONFIG_MAPPING
    kind = content["model_type"]
    if kind not in known:
        wanted = f"a model_type that transformers {transformers.__version__} knows"
        way_out = close_match(kind, known.keys()) or "Code that comes with a model is not run."
        raise InputError(expected(where, wanted, repr(kind), way_out))
    if content.get("quantization_config"):
        way_out = "Take the weights that it was quantised from."
        raise InputError(expected(where, "weights of floating-point numbers", "quantised ones", way_out))
    with blaming(where, f"the config of a {kind} model"):
        return known[kind].from_dict(_harmless(content))


def _harmless(content: Any) -> Any:
    """A config, and those inside, without what names code, and without weights of its own for a part."""
    if isinstance(content, list):
        return [_harmless(part) for part in content]
    if not isinstance(content, Mapping):
        return content
    left = {key: _harmless(value) for key, value in content.items() if key not in (*_NEVER, *_DTYPES)}
    return left | {key: False for key in ("use_pretrained_backbone",) if key in left}


# --- models


def build(spec: str, base: Path | None = None) -> nn.Module:
    """The architecture alone, with random weights."""
    folder = Folder.of(spec, base)
    content = read_config(folder.path)
    return _from_config(content, str(folder.path / CONFIG_FILE), folder.kind)


def load(spec: str, base: Path | None = None) -> tuple[nn.Module, str]:
    """The model with the weights of its folder, in single precision, and what there is to say about them.

    Raises InputError, also where weights are missing: a part that is random is no trained model.
    """
    folder = Folder.of(spec, base)
    where = str(folder.path)
    content = read_config(folder.path)
    config = _config(content, str(folder.path / CONFIG_FILE))
    kind = _class(config, folder.kind or _architecture(content), where)
    with _quiet(), blaming(f"model {where}", "a folder that transformers can load"):
        try:
            model, info = kind.from_pretrained(
                where, config=config, local_files_only=True, output_loading_info=True
            )
        except OSError as error:  # transformers raises it for whatever is not there
            raise InputError(expected(f"model {where}", "weights in the folder", told(error))) from error
    missing = sorted(info["missing_keys"])
    notes = []
    if missing:
        if not all(_is_pooler(name) for name in missing):
            got = f"none for {len(missing)} ({', '.join(missing[:3])}{', …' * (len(missing) > 3)})"
            own = _architecture(content)
            way_out = f"The weights are those of {own}: name that class, or fine-tune first." if own else ""
            raise InputError(expected(f"model {where}", f"weights of {type(model).__name__}", got, way_out))
        notes.append(f"no weights for {missing[0].rpartition('.')[0]}, which are random")
    dtypes = {str(p.dtype).removeprefix("torch.") for p in model.parameters()} - {"float32"}
    if dtypes:
        notes.append(f"{', '.join(sorted(dtypes))} as float32")
    model = _settled(model.float())
    check_finite(model, f"model {where}")
    return model, "; ".join(notes)


def _is_pooler(name: str) -> bool:
    """Poolers are left out of many files, and the hidden states do not depend on them."""
    return "pooler" in name.split(".")


def _from_config(content: Mapping[str, Any], where: str, kind: str | None) -> nn.Module:
    config = _config(content, where)
    found = _class(config, kind or _architecture(content), where)
    with _quiet(), blaming(where, "a config that a model can be made from"):
        made = found.from_config(config) if hasattr(found, "from_config") else found(config)
    return _settled(made)


def _architecture(content: Mapping[str, Any]) -> str:
    named = content.get("architectures")
    return named[0] if isinstance(named, list) and named and isinstance(named[0], str) else "AutoModel"


def _class(config: Any, name: str, where: str) -> Any:
    """An Auto class, or a class of the package for the config's kind of model."""
    transformers = _package()
    found = getattr(transformers, name, None)
    if name.startswith("Auto") and hasattr(found, "from_config"):
        return found
    if found is None:  # parts of models, such as WhisperEncoder
        with blaming(where, "a model of the transformers package"):
            module = sys.modules[transformers.MODEL_MAPPING[type(config)].__module__]
            found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        close = close_match(name, [n for n in dir(transformers) if n.startswith("Auto") or "For" in n])
        raise InputError(expected("model", f"a class of transformers for {where}", repr(name), close))
    return found


def _settled(model: nn.Module) -> nn.Module:
    """Without a cache of keys and values, which one pass has no use for."""
    config: Any = model.config
    if getattr(config, "use_cache", False):
        config.use_cache = False
    return model.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the package's progress bars and advice."""
    logging = _package().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


# --- what folders say of inputs


def blank_inputs(model: nn.Module) -> dict[str, Tensor] | None:
    """Zeros in the form of a model's inputs, one example; None where it is not a model of transformers."""
    if not is_of_transformers(model):
        return None
    known: Any = model
    name, config = known.main_input_name, known.config
    vision = getattr(config, "vision_config", config)
    if name == "pixel_values":
        size = getattr(vision, "image_size", 224)
        height, width = size if isinstance(size, list | tuple) else (size, size)
        return {name: torch.zeros(1, getattr(vision, "num_channels", 3), height, width)}
    if name == "input_features":
        frames = 2 * getattr(config, "max_source_positions", 1500)
        inputs: dict[str, Tensor] = {name: torch.zeros(1, getattr(config, "num_mel_bins", 80), frames)}
    elif name == "input_values":
        return {name: torch.zeros(1, 16000)}
    else:
        inputs = {name: torch.zeros(1, 8, dtype=torch.int64)}
    if getattr(config, "is_encoder_decoder", False) and hasattr(known, "decoder"):
        inputs["decoder_input_ids"] = torch.zeros(1, 8, dtype=torch.int64)
    return inputs


def image_wishes(folder: Path) -> dict[str, Any]:
    """What the image processor of a folder wants, by the names of `ImageOptions`; {} where there is none."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return {}
    try:
        content = parse_json(read_text(path, RECORD_BYTES))
        if not isinstance(content, dict):
            raise ValueError("no table")
        return _wishes(content)
    except RankSearchError:
        raise
    except Exception as error:
        raise InputError(expected(str(path), "the settings of an image processor", told(error))) from error


def labels_of(content: Mapping[str, Any]) -> dict[str, int]:
    """The numbers of a config's classes by their names."""
    by_name, by_number = (content.get(key) or {} for key in ("label2id", "id2label"))
    if not isinstance(by_name, dict) or not isinstance(by_number, dict):
        return {}
    found = {
        name: int(number)
        for number, name in by_number.items()
        if isinstance(name, str) and number.isdecimal()
    }
    return found | {name: number for name, number in by_name.items() if isinstance(number, int)}


_RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}


def _wishes(content: Mapping[str, Any]) -> dict[str, Any]:
    if "image_mean" not in content and "size" not in content:
        return {}
    size = content.get("size", 224)
    resized = _sides(size)
    crops = bool(content.get("do_center_crop")) and content.get("crop_size") is not None
    sides = _sides(content["crop_size"]) if crops else resized
    mean, std = content.get("image_mean") or [0.5] * 3, content.get("image_std") or [0.5] * 3
    if content.get("do_normalize") is False:
        mean, std = [0.0] * 3, [1.0] * 3
    found: dict[str, Any] = {"input_size": (len(mean), *sides), "mean": tuple(mean), "std": tuple(std)}
    found["crop_pct"] = min(1.0, sides[0] / resized[0]) if crops else 1.0
    found["stretch"] = not crops and not (isinstance(size, Mapping) and "shortest_edge" in size)
    if (mode := _RESAMPLING.get(cast(int, content.get("resample")))) is not None:
        found["interpolation"] = mode
    return found


def _sides(size: Any) -> tuple[int, int]:
    if isinstance(size, Mapping):
        if "height" in size:
            return int(size["height"]), int(size["width"])
        size = size["shortest_edge"]
    if isinstance(size, list | tuple):
        return int(size[0]), int(size[-1])
    return int(size), int(size)


def pooling(folder: Path) -> str | None:
    """How a sentence-transformers folder makes one vector of a sentence, `mean` or `first`; None where it does not
    say, or in another way."""
    path = folder / POOLING_FILE
    try:
        content = parse_json(read_text(path, RECORD_BYTES))
    except (OSError, ValueError):
        return None
    modes = {key for key, on in content.items() if on is True} if isinstance(content, dict) else set()
    return {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first"}.get(
        next((m for m in sorted(modes) if m.startswith("pooling_mode_")), "")
    )


def is_of_transformers(model: nn.Module) -> bool:
    """Whether the model's class is one of the package itself, so that its config alone makes it again."""
    if (package := sys.modules.get(SOURCE)) is None or not type(model).__module__.startswith(f"{SOURCE}."):
        return False
    return isinstance(model, package.PreTrainedModel)


def config_text(model: nn.Module) -> str:
    """The config.json that makes the architecture of a model of transformers again."""
    content = _harmless(json.loads(cast(Any, model).config.to_json_string(use_diff=True)))
    content["architectures"] = [type(model).__name__]
    return json.dumps(content, indent=2) + "\n"
