"""Every option of a run in one model: its meaning, default and bounds, for the command line and for TOML.

Kept free of torch, so that `ranksearch -h` is instant.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ranksearch.costs import COSTS, INT8_BYTES
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError, expected
from ranksearch.exporting import EXPORTERS
from ranksearch.objectives import OBJECTIVES
from ranksearch.quantization import TOLERANCE
from ranksearch.registry import Registry
from ranksearch.runs.option_values import (
    Budgets,
    Criteria,
    Formats,
    Fraction,
    LimitList,
    Location,
    Multiples,
    Names,
    PerChannel,
    Protection,
    Size,
    as_recipe,
    check_names,
    option,
)
from ranksearch.search_spaces import SEARCH_SPACES
from ranksearch.searching.baselines import ALLOCATORS
from ranksearch.searching.studies import SAMPLERS
from ranksearch.tasks import LOSSES, METRICS
from ranksearch.timing import RUNTIMES
from ranksearch.tracking import TRACKERS

PANELS = ("Model", "Data", "Budget", "Search", "Delivery", "Run")

MAIN = (
    "budget",
    "model",
    "weights",
    "data",
    "metric",
    "max_drop",
    "epochs",
    "n_trials",
    "out",
    "resume",
    "seed",
    "threads",
)
"""Options that the help shows first, together: what most people need."""

MAIN_PANEL = "Main options"


class RunOptions(BaseModel):
    """The options of `ranksearch run`; a TOML file has the same names, with underscores."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    model: str = option("Model", "digits", "SPEC")
    """The trained model: digits (built in), torchvision:NAME, timm:NAME, smp:NAME (segmentation_models_pytorch),
    transformers:DIR[:CLASS] (a local folder with config.json and weights), lightning:FILE.py:CLASS[:CHECKPOINT],
    package.module:factory or path/file.py:factory. Names of torchvision, timm and smp take keyword arguments of their
    builder: torchvision:vgg11:dropout=0.1, smp:Unet:encoder_name='resnet18',classes=3."""

    weights: Path | None = option("Model", None, "FILE", "the factory's own")
    """State dict: safetensors, or a checkpoint of torch.save with any suffix (read with weights_only=True); the
    .index.json of shards, or a folder that holds it. none keeps random weights."""

    weights_entry: str | None = option("Model", None, "NAME", "the one that fits the model")
    """Which weights of a checkpoint to take, such as model_ema: an entry, or a prefix of names."""

    num_classes: int | None = option("Model", None, "N", "from the weights, else from the data", ge=1)
    """Number of classes of the model."""

    ignore: Names = option("Model", (), "PATTERN")
    """Layers to keep dense, by name or pattern, such as 'layer4.*' or fc. Can be repeated."""

    data: str | None = option("Data", None, "SPEC", "digits, for the digits model")
    """digits, imagefolder:DIR (with train/ and test/ or val/, or class folders), torchvision:FashionMNIST:DIR,
    text:PATH or jsonl:PATH (a text a line; a file, or a folder with train, val and test; for transformers:DIR),
    package.module:factory or path/file.py:factory (returns {'train': ..., 'validation': ..., 'test': ...})."""

    input_size: Size | None = option(
        "Data",
        None,
        "SIZE",
        "the model's (timm, transformers), else the images' own",
        min_length=1,
        max_length=3,
    )
    """Input size: 224, or 224,320 (height, width), or 1,28,28 (channels first). Of texts the most tokens, 128 if not
    given; with --loss causal_lm they are cut into blocks of that length."""

    mean: PerChannel | None = option(
        "Data",
        None,
        "M,M,M",
        "the model's (timm, transformers), else the data's (folders: ImageNet's)",
        min_length=1,
    )
    """Mean to subtract, per channel, for inputs in [0, 1]."""

    std: PerChannel | None = option("Data", None, "S,S,S", "as for --mean", min_length=1)
    """Standard deviation to divide by, per channel."""

    crop_pct: Fraction | None = option("Data", None, "F", "the model's, else 0.875")
    """Fraction of the shorter side that the central crop keeps, if images are resized."""

    interpolation: Literal["bilinear", "bicubic", "nearest"] | None = option(
        "Data", None, "MODE", "the model's, else bilinear"
    )
    """How images are resized: bilinear, bicubic or nearest."""

    val_split: float = option("Data", 0.1, "F", ge=0, lt=1)
    """Fraction of the training images to validate on, if the data has no validation set. A model that was trained on
    them scores higher there than on new images."""

    test_split: float = option("Data", 0.1, "F", ge=0, lt=1)
    """Fraction of the training images for the final evaluation, if the data has no test set."""

    split_seed: int | None = option("Data", None, "N", "--seed", ge=0)
    """Seed for splitting the images (see splits.json)."""

    calibration_size: int = option("Data", 1536, "N", ge=3)
    """Number of training images to calibrate on, without labels: two thirds for moments, one third for scores.
    At most half of the images."""

    metric_fn: str | None = option(
        "Data", None, "NAME", "the loss's: top-1 accuracy of cross_entropy", choices=METRICS
    )
    """Task metric, by name, or your own: package.module:fn or path/file.py:fn. fn(outputs, targets) returns one
    score per example; higher is better."""

    output: str | None = option("Model", None, "PATH", "the tensor returned, or its logits or out")
    """Which tensor counts of what the model returns: a path of keys, attributes and positions (logits, 0,
    decoder.logits), several that count together (0,1; for losses of numbers), several of which each has a loss and a
    weight (logits:1,boxes:0.4), or your own function, file.py:fn."""

    mask: str | None = option("Data", None, "PATH", "attention_mask, where the inputs have it")
    """Which positions of the inputs are not padding: the path of a tensor among the inputs, or your own function of
    them, file.py:fn. The others count neither in moments nor in divergences nor in metrics."""

    pool: Literal["mean", "first", "none"] | None = option(
        "Data", None, "HOW", "what the folder of a sentence encoder says with --loss cosine, else none"
    )
    """What makes the one embedding that counts of those of all positions: mean (without padding), first, or none, where
    every position counts."""

    collate: str | None = option("Data", None, "SPEC", "examples of one shape are stacked")
    """Your own function that makes a batch of a list of examples, such as one that pads, file.py:fn."""

    ignore_index: int | None = option("Data", None, "N", "-100; 255 in segmentation")
    """Label of what counts for nothing."""

    loss: str = option("Data", "cross_entropy", "NAME", choices=LOSSES)
    """Loss that the model was trained with; of several outputs one each, in their order:
    cross_entropy,squared_error."""

    batch_size: int = option("Data", 128, "N", ge=1)
    """Examples per batch."""

    loader_workers: int = option("Data", 0, "N", ge=0)
    """Number of processes that load data."""

    budget: Budgets = option("Budget", (), "F[,F...]", "required, unless there is --max-drop")
    """How much of the whole model to KEEP: a fraction (0.2 keeps a fifth), a percentage (20%) or an amount
    (54k; 1MB of bytes, 6ms of latency). Several (0.5,0.3 or 0.5 0.3) give one plan each. Can be repeated."""

    budget_of: str | None = option("Budget", None, "PART", "the whole model", min_length=1)
    """What the budget counts of the model: factorisable (the layers that can be factorised), blocks (the layers in the
    repeated blocks of a transformer, without embeddings and head) or patterns over names of layers
    ('encoder.*,decoder.*'). Layers outside stay dense. --limit counts the same."""

    metric: str = option("Budget", "params", "METRIC", choices=COSTS)
    """The cost metric: what the budget counts."""

    max_drop: float | None = option(
        "Budget", None, "F", "none, if there is a budget", gt=0, allow_inf_nan=False
    )
    """Instead of a budget: the most that the delivered model may lose of the task metric, in points of accuracy
    or units of a metric of your own. The smallest budget is looked for that keeps to it, with at most six models; the
    upper end of a confidence interval on the validation data counts, which had best be data that the model was not
    trained on."""

    limit: LimitList = option("Budget", (), "METRIC=F")
    """A further limit in another cost metric, in addition to the budget: flops=0.5. Can be repeated."""

    runtime: str = option("Budget", "torch", "NAME", choices=RUNTIMES)
    """What runs the model when it is timed."""

    latency_batch: int = option("Budget", 1, "N", ge=1)
    """Examples in the batch that is timed, and whose activations are counted."""

    decompositions: Names = option(
        "Budget",
        DECOMPOSITIONS.usable,
        "NAME[,NAME...]",
        "all of these but grouped_svd",
        choices=DECOMPOSITIONS,
        min_length=1,
    )
    """Decompositions to choose from. Can be repeated."""

    min_rank: int = option("Budget", 1, "N", ge=1)
    """Smallest rank."""

    rank_multiple: Multiples = option(
        "Budget", (), "[PATTERN=]N", "8 or 4 where that costs next to nothing; 8 if latency counts"
    )
    """Ranks are multiples of N, in all layers or in those whose name matches (8, 'layer1.*=4'); 1 leaves them
    free. Can be repeated; the last match wins. auto has it measured on the runtime."""

    allocator: str = option("Search", "knapsack", "NAME", choices=ALLOCATORS)
    """How ranks are chosen: knapsack, or a method from the literature for comparison, whose plan is delivered
    without a search."""

    protect_early: Protection | None = option("Search", None, "N[=W]", "none")
    """Favour the first N layers that can be factorised, in the order of the forward pass: their errors count W
    times in the allocation; without W they stay dense."""

    probe: Path | None = option("Search", None, "DIR", "none")
    """Folder of a finished probe of the same model: layers that it found more sensitive than estimated get more
    weight."""

    n_trials: int | None = option("Search", None, "N", "0; 40 for allocators that evaluate plans", ge=0)
    """Number of plans per budget to score in a search around the analytic plan; 0 takes the analytic plan. A
    search rarely improves the final model."""

    objective: str = option("Search", "divergence", "NAME", choices=OBJECTIVES)
    """How those plans are scored."""

    space: str = option("Search", "sensitivities", "SPACE", choices=SEARCH_SPACES)
    """Search space: how a trial becomes a plan."""

    sampler: str = option("Search", "tpe", "SAMPLER", choices=SAMPLERS)
    """Optuna sampler."""

    timeout: float | None = option("Search", None, "SECONDS", "none", gt=0, allow_inf_nan=False)
    """Start no new trial of a budget after this time."""

    refit_trials: int = option("Search", 2, "N", ge=0)
    """With --n-trials and --finetune-trials 0: number of best plans to compare again, fitted as they would be
    delivered. Without trials, but with --probe: compare its plan with the one without the probe in that way. 0
    skips both."""

    finetune_trials: int = option("Search", 4, "N", ge=0)
    """With --n-trials: number of best plans to compare again, fitted as they would be delivered and fine-tuned
    briefly; 0 skips this."""

    finetune_steps: int = option("Search", 60, "N", ge=1)
    """Steps of that brief fine-tuning."""

    storage: Location | None = option(
        "Search", None, "URL", "RANKSEARCH_STORAGE, else study.jsonl in the run folder"
    )
    """Optuna storage: a database URL (sqlite:///study.db), a journal file, or grpc://HOST:PORT, the address of a
    ranksearch storage-proxy. Passwords are written nowhere."""

    study_name: str = option("Search", "ranksearch", "NAME", min_length=1)
    """Prefix of the names of studies in the storage."""

    storage_timeout: float = option("Search", 120.0, "SECONDS", ge=0, allow_inf_nan=False)
    """How long to wait for a database or a proxy that does not answer, before the run ends; --resume then continues
    it."""

    workers: int | None = option("Search", None, "N", "none: this process alone", ge=1)
    """With --n-trials: number of processes on this machine that score plans, this one included. Others may join with
    ranksearch worker, on this machine and on others, while the search goes on."""

    artifacts: Location | None = option("Search", None, "DIR|URL", "artifacts in the run folder")
    """Where workers find the moments and tables of the search: a folder that all of them see, or s3://BUCKET/PREFIX."""

    match_epochs: int = option("Delivery", 0, "N", ge=0)
    """Epochs of feature matching before fine-tuning, on the calibration images for moments only, without
    labels. If you have no other images, try 60 with --epochs 0."""

    recipe: Literal["short", "thorough"] = option("Delivery", "short", "NAME")
    """How delivered models are fine-tuned where the options below do not say otherwise: short, or thorough, which
    stands for --epochs 30 --lr 1e-3 --augment and takes 15 times as long. It is kept after each epoch, and goes on from
    there after an interruption."""

    epochs: int | None = option("Delivery", None, "N", "2; 20 for digits", ge=0)
    """Epochs of fine-tuning the delivered model, by distillation from the dense one; 0 = none."""

    rounds: int = option("Delivery", 1, "N", ge=1)
    """Factorise the layers in N groups, from the last stage to the first, each followed by an equal share of
    those epochs. At most the number of layers that the plan factorises."""

    lr: float = option("Delivery", 5e-4, "F", gt=0, allow_inf_nan=False)
    """Learning rate of fine-tuning, for the delivered model and for plans that are compared."""

    augment: bool = option("Delivery", False)
    """Flip and shift the images in that fine-tuning. Useful for several epochs, with --lr 1e-3; within a few
    hundred steps it makes little difference."""

    label_weight: float = option("Delivery", 0.0, "F", ge=0, le=1)
    """Weight of the labels in that fine-tuning; 0 needs no labels."""

    export: Formats | None = option(
        "Delivery", None, "NAME[,NAME...]", "pt2, where the model can be exported", choices=EXPORTERS
    )
    """Formats that delivered models are exported to, for programs without ranksearch; none exports nothing. The exit
    code is 1 if a format asked for fails. Can be repeated."""
    accept: Criteria = option("Delivery", (), "NAME<=F[,...]")
    """Key figures that the delivered model has to reach, or the exit code is 3: 'top1>=0.86,flips<=3%,params<=54k'.
    The task metric by its name, drop (below the dense model), flips (share of predictions that changed), ece
    (calibration error), or a cost metric. Can be repeated."""

    quantize: Literal["int8"] | None = option("Delivery", None, "int8", "none")
    """Also deliver model.int8.onnx, quantised by onnxruntime on the calibration images, beside model.onnx. Layers that
    lose too much stay float. With --metric bytes the budget is that of this file, and ranks and bit widths are chosen
    together."""

    quantize_tolerance: float = option("Delivery", TOLERANCE, "F", gt=0, allow_inf_nan=False)
    """With --quantize: the divergence from the float model that is accepted, as a fraction of that of a model that
    always returns the mean output. More layers stay float if it is lower."""

    out: Path | None = option("Run", None, "DIR", "runs/MODEL-DATE-TIME")
    """Output folder."""

    cache: Path | None = option("Run", None, "DIR", "~/.cache/ranksearch/calibration")
    """Folder that keeps moments and candidates for later runs and other budgets, at most 10 GB; none turns the
    cache off."""

    resume: bool = option("Run", False)
    """Continue the interrupted run in --out; its options need not be repeated, but see --trust."""

    trust: bool = option("Run", False)
    """Let a plan, or the run to continue, name code to import and files to read or write. Without it, such options
    count only if you give them yourself."""

    seed: int = option("Run", 0, "N", ge=0)
    """Random seed."""

    device: str = option("Run", "auto", "DEVICE")
    """cpu, cuda, cuda:1 or mps; auto uses cuda if available."""

    threads: int | None = option("Run", None, "N", "1 for digits, else torch's own choice", ge=1)
    """Number of CPU threads of PyTorch."""

    track: Names = option("Run", (), "NAME[,NAME...]", choices=TRACKERS)
    """Tools that the run is recorded in: its options, the plans that were evaluated, losses, and the delivered models
    beside the dense one. Can be repeated."""

    quiet: bool = option("Run", False)
    """Print only results."""

    verbose: bool = option("Run", False)
    """Print everything that is written to log.txt."""

    @model_validator(mode="before")
    @classmethod
    def _bytes_of_the_int8_file(cls, values: Any) -> Any:
        """A budget in bytes counts the file that is to be delivered."""
        if (
            isinstance(values, Mapping)
            and values.get("metric") == "bytes"
            and values.get("quantize") == "int8"
        ):
            return {**values, "metric": INT8_BYTES}
        return values

    @model_validator(mode="before")
    @classmethod
    def _by_the_recipe(cls, values: Any) -> Any:
        return as_recipe(values) if isinstance(values, Mapping) else values

    @field_validator("*", mode="after")
    @classmethod
    def _names_that_are_known(cls, value: Any, info: ValidationInfo) -> Any:
        """A mistyped name is told with all other mistakes, before anything is loaded."""
        assert info.field_name is not None
        extra = cls.model_fields[info.field_name].json_schema_extra
        if isinstance(extra, dict) and isinstance(choices := extra.get("choices"), Registry):
            check_names(value, choices)
        return value

    @property
    def splitting_seed(self) -> int:
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def data_spec(self) -> str:
        """The data; may be left out for the digits model."""
        if self.data is None and self.model != "digits":
            raise InputError(expected("--data", f"the data that {self.model} was trained for", "none"))
        return self.data or "digits"


def in_panels(*panels: str) -> tuple[str, ...]:
    """The names of the options in some panels of the help."""
    fields = RunOptions.model_fields.items()
    return tuple(name for name, field in fields if cast(Any, field.json_schema_extra)["panel"] in panels)
