"""Every option of a run in one model: its meaning, default and bounds, for the command line and for TOML.

Kept free of torch, so that `ranksearch -h` is instant.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from ranksearch.costs import COSTS, Kept
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError, expected
from ranksearch.objectives import OBJECTIVES
from ranksearch.registry import Registry
from ranksearch.search_spaces import SEARCH_SPACES
from ranksearch.searching.baselines import ALLOCATORS
from ranksearch.searching.studies import SAMPLERS
from ranksearch.tasks import LOSSES

PANELS = ("Model", "Data", "Budget", "Search", "Delivery", "Run")

MAIN = (
    "model",
    "weights",
    "data",
    "budget",
    "metric",
    "epochs",
    "n_trials",
    "out",
    "resume",
    "seed",
    "threads",
)
"""Options that the help shows first, together: what most people need."""

MAIN_PANEL = "Main options"


def listed(value: Any) -> list[Any]:
    """`"a,b"` → ["a", "b"]; a single value → [value]; ["a,b", "c"], an option given twice → ["a", "b", "c"]."""
    if isinstance(value, list | tuple):
        return [part for item in value for part in listed(item)]
    return [part for p in value.split(",") if (part := p.strip())] if isinstance(value, str) else [value]


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))


def _numbers(value: Any) -> Any:
    """`224` → [224], `3x224x224` or `3,224,224` → [3, 224, 224]."""
    if isinstance(value, str):
        return [part for part in re.split(r"[,x×\s]+", value.strip()) if part]
    return value if isinstance(value, list | tuple) else [value]


def _patterns(value: Any) -> Any:
    """`8` or `["8", "layer1.*=4"]` → [("*", 8), ("layer1.*", 4)]."""
    pairs = []
    for item in value if isinstance(value, list | tuple) else [value]:
        if isinstance(item, list | tuple):
            pairs.append(item)
        else:
            pattern, _, number = str(item).rpartition("=")
            pairs.append((pattern or "*", number))
    return pairs


def _protection(value: Any) -> Any:
    """`4` → (4, None), `"4=3"` → (4, 3)."""
    if isinstance(value, list | tuple):
        return value
    count, weighed, weight = str(value).partition("=")
    return count, weight if weighed else None


def _kept(value: Any) -> Kept:
    try:
        return Kept.parse(value)
    except InputError as error:
        # pydantic collects what is wrong with every option, and asks for what was wanted alone.
        wanted, _, got = str(error).removeprefix("budget: expected ").partition(", got ")
        way_out = got.partition(". ")[2].rstrip("?")
        raise ValueError(f"{wanted} ({way_out[0].lower()}{way_out[1:]}?)" if way_out else wanted) from error


def _limits(value: Any) -> Any:
    """`["flops=0.5", "params=54k"]` → [("flops", "0.5"), ("params", "54k")]."""
    pairs = []
    for item in value if isinstance(value, list | tuple) else [value]:
        pairs.append(item if isinstance(item, list | tuple) else str(item).rpartition("=")[::2])
    return pairs


Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Names = Annotated[tuple[str, ...], BeforeValidator(listed), AfterValidator(_distinct)]
Size = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_numbers)]
PerChannel = Annotated[tuple[Number, ...], BeforeValidator(_numbers)]
Asked = Annotated[Kept, BeforeValidator(_kept), PlainSerializer(lambda kept: kept.fraction or kept.name)]
Budgets = Annotated[tuple[Asked, ...], BeforeValidator(listed), AfterValidator(_distinct)]
LimitList = Annotated[
    tuple[tuple[str, Asked], ...],
    BeforeValidator(_limits),
    PlainSerializer(lambda pairs: [f"{metric}={kept.name}" for metric, kept in pairs]),
]
Multiples = Annotated[
    tuple[tuple[str, Annotated[int, Field(ge=1)]], ...],
    BeforeValidator(_patterns),
    PlainSerializer(lambda pairs: [f"{pattern}={number}" for pattern, number in pairs]),
]

Protection = Annotated[
    tuple[Annotated[int, Field(ge=1)], Annotated[float, Field(gt=0, allow_inf_nan=False)] | None],
    BeforeValidator(_protection),
    PlainSerializer(lambda pair: f"{pair[0]}" if pair[1] is None else f"{pair[0]}={pair[1]!r}"),
]


def option(
    panel: str,
    default: Any,
    metavar: str = "",
    shown: str = "",
    choices: Registry[Any] | None = None,
    **bounds: Any,
) -> Any:
    """A field of a panel of the help.

    shown: what its default comes to, where the value does not say so. choices: what it is chosen from by name.
    """
    extra: Any = {"panel": panel, "metavar": metavar, "shown": shown, "choices": choices}
    return Field(default=default, json_schema_extra=extra, **bounds)


class RunOptions(BaseModel):
    """The options of `ranksearch run`; a TOML file has the same names, with underscores."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    model: str = option("Model", "digits", "SPEC")
    """The trained model: digits (embedded), torchvision:NAME, timm:NAME, package.module:factory or
    path/file.py:factory. Built-in names take keywords of their builder:
    torchvision:resnet50:width_per_group=128."""

    weights: Path | None = option("Model", None, "FILE", "the factory's own")
    """State dict, .safetensors, or .pt or .pth (read with weights_only=True); none goes on with random
    weights."""

    num_classes: int | None = option("Model", None, "N", "from the weights, else from the data", ge=1)
    """Classes of the model."""

    ignore: Names = option("Model", (), "PATTERN")
    """Keep layers whose name matches dense, such as 'layer4.*' or fc. Can be repeated."""

    data: str | None = option("Data", None, "SPEC", "digits, for the digits model")
    """digits, imagefolder:DIR (with train/ and test/ or val/, or class folders),
    torchvision:FashionMNIST:DIR, package.module:factory or path/file.py:factory (returns {'train':
    ..., 'validation': ..., 'test': ...})."""

    input_size: Size | None = option(
        "Data", None, "SIZE", "the timm model's, else the images' own", min_length=1, max_length=3
    )
    """Size of an input: 224, or 224,320 (height, width), or 1,28,28 (channels first)."""

    mean: PerChannel | None = option(
        "Data", None, "M,M,M", "the timm model's, else the data's (folders: ImageNet's)", min_length=1
    )
    """What is subtracted from inputs in [0, 1], per channel."""

    std: PerChannel | None = option("Data", None, "S,S,S", "as for --mean", min_length=1)
    """What inputs are divided by, per channel."""

    crop_pct: Fraction | None = option("Data", None, "F", "the timm model's, else 0.875")
    """Part of the shorter side that the central crop keeps, where images have to be resized."""

    interpolation: Literal["bilinear", "bicubic", "nearest"] | None = option(
        "Data", None, "MODE", "the timm model's, else bilinear"
    )
    """How images are resized: bilinear, bicubic or nearest."""

    val_split: float = option("Data", 0.1, "F", ge=0, lt=1)
    """Part of the training images for validation, where the data has no validation set."""

    test_split: float = option("Data", 0.1, "F", ge=0, lt=1)
    """Part of the training images for the final evaluation, where the data has no test set."""

    split_seed: int | None = option("Data", None, "N", "--seed", ge=0)
    """Decides which images serve what (see splits.json)."""

    calibration_size: int = option("Data", 1536, "N", ge=3)
    """Training images, without labels, to calibrate on: two thirds for moments, one third for scores. At most
    half of what there is."""

    metric_fn: str | None = option("Data", None, "SPEC", "the loss's: top-1 accuracy of cross_entropy")
    """Metric of your own, package.module:fn or path/file.py:fn: fn(outputs, targets) gives one score per
    example, higher is better."""

    loss: str = option("Data", "cross_entropy", "NAME", choices=LOSSES)
    """What the model was trained with."""

    batch_size: int = option("Data", 128, "N", ge=1)
    """Examples per batch."""

    workers: int = option("Data", 0, "N", ge=0)
    """Processes that load data."""

    budget: Budgets = option("Budget", (), "F[,F...]", "required")
    """How much to KEEP of the whole model: a fraction, 0.2 is a fifth, 20%, or an amount, 54k; several (0.5,0.3,0.2)
    give one plan each. Can be repeated."""

    metric: str = option("Budget", "params", "METRIC", choices=COSTS)
    """The cost metric: what the budget counts."""

    limit: LimitList = option("Budget", (), "METRIC=F")
    """A further limit that holds beside the budget, in another cost metric: flops=0.5. Can be repeated."""

    decompositions: Names = option(
        "Budget", DECOMPOSITIONS.names(), "NAME[,NAME...]", choices=DECOMPOSITIONS, min_length=1
    )
    """Decompositions to choose from. Can be repeated."""

    min_rank: int = option("Budget", 1, "N", ge=1)
    """Smallest rank."""

    rank_multiple: Multiples = option("Budget", (("*", 1),), "[PATTERN=]N")
    """Ranks are multiples of N, in all layers or those whose name matches (8, 'layer1.*=4'). Can be repeated,
    the last match counts."""

    allocator: str = option("Search", "knapsack", "NAME", choices=ALLOCATORS)
    """How a plan is chosen: knapsack, or, to compare with, a method of the literature, whose plan is delivered as it
    is."""

    protect_early: Protection | None = option("Search", None, "N[=W]", "none")
    """Favour the first N layers that can be factorised, in the order of the forward pass: their errors count W times
    in the allocation; without W they stay dense."""

    probe: Path | None = option("Search", None, "DIR", "none")
    """Folder of a finished probe of the same model: layers that it found more sensitive than they seemed weigh more."""

    n_trials: int | None = option("Search", None, "N", "0; 40 for allocators that evaluate plans", ge=0)
    """Plans per budget to score, in search of a better one than the analytic plan, which 0 takes; they seldom find
    one."""

    objective: str = option("Search", "divergence", "NAME", choices=OBJECTIVES)
    """What those plans are scored by."""

    space: str = option("Search", "sensitivities", "SPACE", choices=SEARCH_SPACES)
    """Search space: how a trial becomes a plan."""

    sampler: str = option("Search", "tpe", "SAMPLER", choices=SAMPLERS)
    """Optuna sampler."""

    timeout: float | None = option("Search", None, "SECONDS", "none", gt=0, allow_inf_nan=False)
    """Start no further trial of a budget after this time."""

    refit_trials: int = option("Search", 2, "N", ge=0)
    """With --n-trials and --finetune-trials 0: the best plans to compare once more, fitted as they would be
    delivered. Without trials, but with --probe, its plan is so compared with the plain one. 0 leaves both out."""

    finetune_trials: int = option("Search", 4, "N", ge=0)
    """With --n-trials: the best plans to compare once more, fitted as they would be delivered and then fine-tuned for
    a short while; 0 leaves that out."""

    finetune_steps: int = option("Search", 60, "N", ge=1)
    """Steps of that fine-tuning."""

    storage: str | None = option("Search", None, "URL", "study.jsonl in the run folder")
    """Optuna storage: a database URL (sqlite:///study.db) or a journal file."""

    study_name: str = option("Search", "ranksearch", "NAME", min_length=1)
    """What names of studies in the storage begin with."""

    match_epochs: int = option("Delivery", 0, "N", ge=0)
    """Epochs of feature matching before any fine-tuning, on the calibration images for moments alone, without labels;
    try 60, with --epochs 0, where you have no other images."""

    epochs: int | None = option("Delivery", None, "N", "2; 20 for digits", ge=0)
    """Epochs of fine-tuning of the delivered model, distilled from the dense one; 0 = none."""

    rounds: int = option("Delivery", 1, "N", ge=1)
    """Groups of layers to factorise one after the other, from the last stage to the first, each followed by its share
    of those epochs; at most as many as the plan factorises layers."""

    lr: float = option("Delivery", 5e-4, "F", gt=0, allow_inf_nan=False)
    """Learning rate of fine-tuning, of the delivered model and of the plans that are compared."""

    augment: bool = option("Delivery", False)
    """Mirror and move the images of that fine-tuning, anew each time: for several epochs, with --lr 1e-3; within a few
    hundred steps it changes little."""

    label_weight: float = option("Delivery", 0.0, "F", ge=0, le=1)
    """Weight of the labels in that fine-tuning; 0 needs no labels."""

    out: Path | None = option("Run", None, "DIR", "runs/MODEL-DATE-TIME")
    """Folder of the run."""

    cache: Path | None = option("Run", None, "DIR", "~/.cache/ranksearch/calibration")
    """Folder that keeps moments and candidates for later runs and other budgets, at most 10 GB; none keeps
    nothing."""

    resume: bool = option("Run", False)
    """Continue the killed run in --out; its options need not be given again."""

    seed: int = option("Run", 0, "N", ge=0)
    """Seed of everything random."""

    device: str = option("Run", "auto", "DEVICE")
    """cpu, cuda, cuda:1, mps; auto takes cuda where there is one."""

    threads: int | None = option("Run", None, "N", "1 for digits, else torch's own choice", ge=1)
    """Threads of torch on the CPU."""

    quiet: bool = option("Run", False)
    """Print results only."""

    verbose: bool = option("Run", False)
    """Print everything that goes to log.txt."""

    @property
    def splitting_seed(self) -> int:
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def data_spec(self) -> str:
        """The data; may be left out for the digits model."""
        if self.data is None and self.model != "digits":
            raise InputError(expected("--data", f"the data that {self.model} was trained for", "none"))
        return self.data or "digits"
