"""Packages that make networks by name: torchvision, timm, segmentation_models_pytorch. None fetches anything."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from ranksearch.errors import InputError, expected
from ranksearch.objects import close_match

Builder = Callable[..., nn.Module]


@dataclass(frozen=True)
class Package:
    """find: what makes the network of a name, without weights. Raises InputError for a name that the package does not
    have, and where it is not installed. classes: the keyword for the number of classes. trained: Python that makes
    the network `{name}` with weights that the package offers; "" where it offers none for whole networks."""

    find: Callable[[str], Builder]
    classes: str = "num_classes"
    trained: str = ""


def _torchvision(name: str) -> Builder:
    from torchvision import models

    known = models.list_models()
    if name not in known:
        way_out = close_match(name, known)
        raise InputError(expected("model", "the name of a torchvision model", repr(name), way_out))
    builder = models.get_model_builder(name)
    if builder.__module__.startswith("torchvision.models.detection"):
        way_out = (
            "Compress its `backbone`, where most of the parameters are, and put it back: a model of your own that is "
            "the backbone, `output=0,1,2,3,pool`, the names of its feature maps, and `loss=squared_error`."
        )
        got = f"{name}, a detector, whose boxes differ in number from image to image"
        raise InputError(expected("model", "one that returns tensors of one shape", got, way_out))
    # Segmentation models would fetch a pretrained backbone by default.
    fixed = {"weights": None}
    if "weights_backbone" in inspect.signature(builder).parameters:
        fixed["weights_backbone"] = None
    return lambda **keywords: builder(**fixed, **keywords)


def _timm(name: str) -> Builder:
    try:
        import timm
    except ImportError as error:
        raise _lacking("timm", "timm", "timm") from error
    if not timm.is_model(name):
        base, _, _ = name.partition(".")
        way_out = close_match(base, timm.list_models())
        raise InputError(expected("model", "the name of a timm model", repr(name), way_out))
    return lambda **keywords: timm.create_model(name, pretrained=False, **keywords)


def _smp(name: str) -> Builder:
    try:
        import segmentation_models_pytorch as smp
    except ImportError as error:
        raise _lacking("segmentation_models_pytorch", "smp", "smp") from error
    known = [each for each in dir(smp) if isinstance(getattr(smp, each), type)]
    if name not in known:
        way_out = close_match(name, known)
        raise InputError(expected("model", f"one of {', '.join(known)}", repr(name), way_out))

    def build(**keywords: Any) -> nn.Module:
        encoder = keywords.get("encoder_name")
        encoders = smp.encoders.encoders
        if str(encoder).startswith("tu-"):
            _timm(str(encoder)[3:])
        elif encoder is not None and encoder not in encoders:
            way_out = close_match(str(encoder), encoders)
            wanted = "an encoder of segmentation_models_pytorch"
            raise InputError(expected("model, encoder_name", wanted, repr(encoder), way_out))
        model: nn.Module = getattr(smp, name)(encoder_weights=None, **keywords)
        return model

    return build


def _lacking(package: str, source: str, extra: str) -> InputError:
    wanted, way_out = f"the {package} package for {source}:NAME", f"pip install 'ranksearch[{extra}]'"
    return InputError(expected("model", wanted, "none", way_out))


PACKAGES: dict[str, Package] = {
    "torchvision": Package(_torchvision, trained="torchvision.models.get_model('{name}', weights='DEFAULT')"),
    "timm": Package(_timm, trained="timm.create_model('{name}', pretrained=True)"),
    "smp": Package(_smp, classes="classes"),
}
"""By the source that a model's name begins with."""
