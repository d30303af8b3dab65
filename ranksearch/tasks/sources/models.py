"""Models by name: `torchvision:NAME`, `timm:NAME`, `smp:NAME`, `transformers:DIR`, `lightning:FILE.py:CLASS`,
`package.module:factory`, `file.py:factory`, `digits`.

Nothing is ever fetched from a network: weights come from a file, or from the factory itself.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ranksearch.errors import InputError, expected, told
from ranksearch.networks import Weights, check_made_of_modules, check_plain, load_weights
from ranksearch.objects import check_source, close_match, load_object
from ranksearch.tasks.sources import digits, lightning_models, transformers_models
from ranksearch.tasks.sources.builders import PACKAGES
from ranksearch.tasks.sources.texts import TextOptions

BUILTIN = (
    "digits",
    "torchvision:NAME",
    "timm:NAME",
    "smp:NAME",
    "transformers:DIR",
    "lightning:FILE.py:CLASS",
)


def is_builtin(spec: str) -> bool:
    """Whether the name alone is enough to make the model, without code of the user's."""
    return spec == "digits" or spec.partition(":")[0] in PACKAGES


# fmt: off
PLAIN_KEYWORDS = frozenset({
    "num_classes", "in_chans", "img_size", "patch_size", "window_size", "embed_dim", "depth", "depths",
    "dims", "num_heads", "mlp_ratio", "qkv_bias", "dropout", "drop_rate", "drop_path_rate",
    "attn_drop_rate", "proj_drop_rate", "attention_dropout", "stochastic_depth_prob", "groups",
    "width_per_group", "width_mult", "replace_stride_with_dilation", "zero_init_residual", "aux_logits",
    "aux_loss", "transform_input", "output_stride", "classes", "in_channels", "encoder_depth",
    "decoder_channels",
})
# fmt: on
"""Arguments of builders that say how large a network is, or whether a part of it is there, and nothing else."""


def is_plain(spec: str) -> bool:
    """Whether a name makes a built-in model by numbers and switches alone, so that it can come from anyone.

    Other arguments of builders may name files to read, or code: timm's `checkpoint_path` is one. The encoder of smp is
    one of a list.
    """
    source, _, rest = spec.partition(":")
    if source not in PACKAGES:
        return spec == "digits"
    try:
        keywords = _parse(spec, rest)[1]
    except InputError:
        return False
    return all(
        (name in PLAIN_KEYWORDS and _is_number(value)) or (source, name) == ("smp", "encoder_name")
        for name, value in keywords.items()
    )


def _is_number(value: object) -> bool:
    """Also a switch, or nothing, or a list of those."""
    if isinstance(value, list | tuple):
        return all(map(_is_number, value))
    return value is None or isinstance(value, bool | int | float)


def load_model(
    spec: str,
    *,
    weights: Weights | Path | None = None,
    num_classes: int | None = None,
    base: Path | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> nn.Module:
    """The model in evaluation mode, with the weights of a file where one is given, or was read already; without one a
    `transformers:` model has those of its folder, a `lightning:` one those of the checkpoint in its name.

    `tell` hears which part of a checkpoint was taken, and how names were changed.

    `torchvision:`, `timm:` and `smp:` names take the builder's own keywords after another colon,
    `torchvision:resnet50:num_classes=10,width_per_group=128`. A factory is called without arguments, or with
    `num_classes` where it has such a parameter. Relative paths start at `base` (default: the working
    directory). Raises InputError.
    """
    if spec == "digits" and weights is None:
        _check_digits(num_classes)
        if not digits.digits_is_trained():
            tell("training the digits network, once: about half a minute")
        return digits.digits_model()
    if spec.partition(":")[0] == transformers_models.SOURCE and weights is None:
        _check_transformers(spec, num_classes)
        model, notes = transformers_models.load(spec, base)
        if notes:
            tell(f"weights: {notes}")
        return model
    if spec.partition(":")[0] == lightning_models.SOURCE and weights is None:
        weights = lightning_models.Named.of(spec, base).checkpoint
    model = make_model(spec, num_classes=num_classes, base=base)
    if weights is not None and (found := str(load_weights(model, weights))):
        tell(f"weights: {found}")
    check_plain(model)
    return model.eval()


def make_model(spec: str, *, num_classes: int | None = None, base: Path | None = None) -> nn.Module:
    """The architecture alone, for weights that come from elsewhere; arguments as for `load_model`."""
    source, _, rest = spec.partition(":")
    if spec == "digits":
        _check_digits(num_classes)
        return digits.DigitsNet().eval()
    if (package := PACKAGES.get(source)) is not None:
        name, keywords = _parse(spec, rest)
        if num_classes is not None:
            keywords[package.classes] = num_classes
        return _build(spec, package.find(name), keywords).eval()
    if source == transformers_models.SOURCE:
        _check_transformers(spec, num_classes)
        return transformers_models.build(spec, base)
    if source == lightning_models.SOURCE:
        if num_classes is not None:
            raise InputError(expected("num_classes", f"none, {spec} says it itself", num_classes))
        model = lightning_models.build(lightning_models.Named.of(spec, base), base)
        check_made_of_modules(model)
        return model.eval()
    check_name(spec)
    factory = load_object(spec, option="model", base=base)
    if isinstance(factory, nn.Module):
        if num_classes is not None:
            raise InputError(expected("num_classes", f"none, {spec} is a model, not a factory", num_classes))
        check_made_of_modules(factory)
        return factory.eval()
    keywords = {} if num_classes is None else {"num_classes": num_classes}
    model = _build(spec, _callable(spec, factory), keywords)
    check_made_of_modules(model)
    return model.eval()


def full_name(spec: str, num_classes: int | None) -> str:
    """The name that makes the same architecture again by itself, `num_classes` included."""
    source, _, rest = spec.partition(":")
    if source not in PACKAGES or num_classes is None:
        return spec
    name, keywords = _parse(spec, rest)
    keywords[PACKAGES[source].classes] = num_classes
    return f"{source}:{name}:{','.join(f'{key}={value!r}' for key, value in keywords.items())}"


def classes_in_weights(spec: str, weights: Weights) -> int | None:
    """The number of classes that a weights file was made for, where it differs from the builder's default.

    That is so where all tensors that do not fit a `torchvision:`, `timm:` or `smp:` model differ in their first
    dimension alone, and agree on it. None otherwise.
    """
    if not is_builtin(spec) or spec == "digits":
        return None
    with torch.device("meta"):
        built = make_model(spec).state_dict()
    stored = weights.fitted(built).tensors
    sizes = set()
    for key, tensor in built.items():
        if key in stored and stored[key].shape != tensor.shape:
            if not tensor.dim() or stored[key].shape[1:] != tensor.shape[1:]:
                return None
            sizes.add(stored[key].shape[0])
    return sizes.pop() if len(sizes) == 1 else None


def wishes(spec: str) -> dict[str, Any]:
    """What a model of timm or transformers wants of its images: input_size, mean, std, interpolation, crop_pct,
    stretch, and labels, the numbers of its classes. Others: {}."""
    if spec.partition(":")[0] == transformers_models.SOURCE:
        folder = transformers_models.Folder.of(spec).path
        labels = transformers_models.labels_of(transformers_models.read_config(folder))
        return transformers_models.image_wishes(folder) | ({"labels": labels} if labels else {})
    if not spec.startswith("timm:"):
        return {}
    with torch.device("meta"):
        model = make_model(spec)
    from timm.data import config as timm_config

    config = cast(Any, timm_config).resolve_model_data_config(model)
    return {key: config[key] for key in ("input_size", "mean", "std", "interpolation", "crop_pct")}


def pooling_of(spec: str) -> str | None:
    """How a sentence encoder in a `transformers:` folder makes one vector of a text; None where nothing says so."""
    if spec.partition(":")[0] != transformers_models.SOURCE:
        return None
    return transformers_models.pooling(transformers_models.Folder.of(spec).path)


def text_options(spec: str, size: tuple[int, ...] | None, *, blocks: bool) -> TextOptions:
    """How texts become inputs of a model: by the tokeniser of a `transformers:` folder. size: (tokens,), or None."""
    if spec.partition(":")[0] != transformers_models.SOURCE:
        return TextOptions(None, size, blocks)
    folder = transformers_models.Folder.of(spec).path
    labels = transformers_models.labels_of(transformers_models.read_config(folder))
    return TextOptions(folder, size, blocks, labels)


def _check_digits(num_classes: int | None) -> None:
    if num_classes not in (None, digits.CLASSES):
        raise InputError(expected("num_classes", f"{digits.CLASSES} for digits", num_classes))


def _check_transformers(spec: str, num_classes: int | None) -> None:
    if num_classes is not None:
        raise InputError(expected("num_classes", f"none, the config of {spec} says it", num_classes))


def _parse(spec: str, rest: str) -> tuple[str, dict[str, Any]]:
    """`NAME:key=value,…`, values as Python literals."""
    name, _, arguments = rest.partition(":")
    if not arguments:
        return name, {}
    try:
        call = ast.parse(f"f({arguments})", mode="eval").body
        keywords = cast(ast.Call, call).keywords
        if cast(ast.Call, call).args or any(k.arg is None for k in keywords):
            raise ValueError("only keywords")
        return name, {cast(str, k.arg): ast.literal_eval(k.value) for k in keywords}
    except (SyntaxError, ValueError) as error:
        raise InputError(expected("model", "NAME:key=value,… with plain values", repr(spec))) from error


def check_name(spec: str) -> None:
    """That a name has the form of a model's, and is known where it is built in. Raises InputError."""
    source, _, rest = spec.partition(":")
    if ":" not in spec and spec != "digits":
        forms = f"{', '.join(BUILTIN)}, package.module:factory or file.py:factory"
        way_out = close_match(spec, ["digits"]) or _own_file(spec) or _guess(spec)
        raise InputError(expected("model", forms, repr(spec), way_out))
    if source in PACKAGES:
        PACKAGES[source].find(_parse(spec, rest)[0])
    check_source("model", spec, (*PACKAGES, transformers_models.SOURCE, lightning_models.SOURCE))


def _callable(spec: str, factory: Any) -> Callable[..., Any]:
    if not callable(factory):
        raise InputError(expected("model", f"{spec} to be a function", type(factory).__name__))
    return cast(Callable[..., Any], factory)


def _build(spec: str, factory: Callable[..., Any], keywords: dict[str, Any]) -> nn.Module:
    if "num_classes" in keywords and not _takes(factory, "num_classes"):
        raise InputError(
            expected(
                "num_classes", f"a factory that has it ({spec})", "one without", "Leave `num_classes` out."
            )
        )
    try:
        model = factory(**keywords)
    except Exception as error:
        raise InputError(expected("model", f"{spec} to return a model", told(error))) from error
    if not isinstance(model, nn.Module):
        raise InputError(expected("model", f"{spec} to return a torch.nn.Module", type(model).__name__))
    return model


def _takes(factory: Callable[..., Any], name: str) -> bool:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)


def _own_file(spec: str) -> str:
    """What a file of one's own is called in full."""
    file = next(
        (name for name in (spec, f"{spec}.py") if name.endswith(".py") and Path(name).is_file()), None
    )
    return "" if file is None else f"Did you mean '{file}:NAME', a function or class in it?"


def _guess(spec: str) -> str:
    """The full form of a bare architecture name."""
    from torchvision import models

    found = close_match(spec, models.list_models())
    return found.replace("'", "'torchvision:", 1) if found else ""
