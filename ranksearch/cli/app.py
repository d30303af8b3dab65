"""The commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ranksearch.cli.endings import EXIT_CODES
from ranksearch.cli.gathering import Gathering
from ranksearch.cli.guard import guarded
from ranksearch.cli.machine import Json, answering
from ranksearch.cli.signature import help_text, option_of, with_options
from ranksearch.cli.taken import (
    ALL,
    DELIVERY,
    DOCTOR,
    INIT,
    LAYERS,
    MODEL_AND_DATA,
    PLAN,
    PROBE,
    STORAGE_PROXY,
    VERIFY,
    WORKER,
)
from ranksearch.exporting import EXPORTERS
from ranksearch.interchange import PLAN_EXPORTERS
from ranksearch.runs import MAIN_PANEL

app = typer.Typer(
    name="ranksearch",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES,
)

OF_THE_PLAN = {
    "data": "none: the task metric is not measured",
    "model": "the plan's, where it is built in",
    "metric_fn": "the plan's",
    "loss": "the plan's",
    "threads": "the plan's",
}

_FORMATS = (
    f"Formats. Can be repeated. Of a plan: "
    f"{', '.join(f'{name} ({PLAN_EXPORTERS.summary(name)})' for name in PLAN_EXPORTERS)}; or your own. Of a model:"
)

OF_THE_RUN = {
    **dict.fromkeys(MODEL_AND_DATA, "the run's"),
    "storage": "RANKSEARCH_STORAGE, else that of RUN",
    "artifacts": "that of RUN",
    "threads": "the run's",
}

TO_SERVE = {"storage": "RANKSEARCH_STORAGE"}

TO_CHECK = {
    "data": "none: not checked",
    "storage": "RANKSEARCH_STORAGE; without it not checked",
    "model": "digits; it says how images become inputs",
}

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML file with any of these options, without the dashes; its paths are relative to the file. "
        "Options on the command line override the file: --no-… turns off a switch, none unsets an option that "
        "needs no value.",
        rich_help_panel=MAIN_PANEL,
        show_default=False,
    ),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"ranksearch {version('ranksearch')}")
        raise typer.Exit


@app.callback()
def ranksearch(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True, show_default=False
        ),
    ] = False,
) -> None:
    """Low-rank compression of trained PyTorch networks: finds which layer to factorise how, at which ranks.

    Start with:  ranksearch run --budget 0.2
    """


def init(
    file: Annotated[
        Path, typer.Argument(help="The file to write.", metavar="[FILE]", show_default="study.toml")
    ] = Path("study.toml"),
    *,
    given: dict[str, Any],
) -> None:
    """Look at a model and its data, and write a commented file of options for run --config.

    ranksearch init --model torchvision:resnet18 --weights r18.pth --data imagefolder:/data/in1k

    Nothing is compressed. What does not fit together is found in seconds.
    """
    with guarded():
        from ranksearch.cli.init import init_command

        init_command(file, given)


def run(config: Config = None, as_json: Json = False, *, given: dict[str, Any]) -> None:
    """Find a plan for each budget and deliver the compressed models.

    ranksearch run --budget 0.2

    ranksearch run --model torchvision:resnet18 --weights r18.pth --data imagefolder:/data/in1k --budget 0.3

    Without a model it runs on a small CNN for scikit-learn's digits.
    """
    with guarded(), answering("run", as_json) as answer:
        from ranksearch.cli.run import run_command

        run_command(config, given, answer)


def worker(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of the run that leads the search, where it is seen from here.",
            metavar="[RUN]",
            show_default=False,
        ),
    ] = None,
    *,
    given: dict[str, Any],
) -> None:
    """Join the search of a run that was started with --workers, and score plans for it until it has ended.

    ranksearch worker runs/digits

    ranksearch worker --storage postgresql+psycopg://user@host/db --artifacts /shared/artifacts \
    --model torchvision:resnet18 --weights r18.pth --data imagefolder:/data/in1k

    Any number of workers may join and leave, on any machine. Options that are not given are those of the run.
    """
    with guarded():
        from ranksearch.cli.worker import worker_command

        worker_command(run, given)


def storage_proxy(
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="HOST",
            help=help_text(
                "Address to listen on; 0.0.0.0 stands for all of this machine's.",
                default="127.0.0.1: this machine alone",
            ),
            show_default=False,
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port",
            metavar="PORT",
            min=0,
            max=65535,
            help=help_text("Port to listen on; 0 takes a free one.", default="13000"),
            show_default=False,
        ),
    ] = 13000,
    *,
    given: dict[str, Any],
) -> None:
    """Stand in front of a storage, so that many workers share a few connections to a database.

    ranksearch storage-proxy --storage postgresql+psycopg://user@host/db

    ranksearch worker --storage grpc://127.0.0.1:13000 --artifacts /shared/artifacts

    There is no authentication and no encryption: whoever reaches the address can read and change all studies in the
    storage. Workers and runs need none of its passwords. Ctrl-C ends it; those who use it wait until it is back.
    """
    with guarded():
        from ranksearch.cli.storage_proxy import storage_proxy_command

        storage_proxy_command(host, port, given)


def compress(
    plan: Annotated[
        Path | None, typer.Argument(help="Plan file; or use --ranks.", metavar="PLAN", show_default=False)
    ] = None,
    ranks: Annotated[
        Path | None,
        typer.Option(
            "--ranks",
            metavar="FILE",
            help="In place of a plan: JSON with ranks from elsewhere, {module: rank}, or a file of chains; or "
            "AIMET's greedy scores, {layer: {ratio: score}}, with --budget.",
            rich_help_panel=MAIN_PANEL,
            show_default=False,
        ),
    ] = None,
    decomposition: Annotated[
        str | None,
        typer.Option(
            "--decomposition",
            metavar="NAME",
            help=help_text("With --ranks: what a rank alone stands for, where it applies.", default="svd"),
            rich_help_panel=MAIN_PANEL,
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    as_json: Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Carry out a plan in full: factorise, re-estimate statistics, fine-tune, evaluate, save.

    ranksearch compress runs/digits/plan-0.2.json --epochs 10

    ranksearch compress --ranks ranks.json --model torchvision:resnet18 --weights r18.pth --data imagefolder:/data/in1k

    Options default to those of the run that made the plan.
    """
    with guarded(), answering("compress", as_json) as answer:
        from ranksearch.cli.compress import compress_command

        compress_command(plan, config, given, answer, ranks, decomposition)


def plan(
    run: Annotated[
        Path, typer.Argument(help="Run folder, or its tables.json.", metavar="RUN", show_default=False)
    ],
    front: Annotated[
        bool,
        typer.Option(
            "--front",
            help="Write the front over all budgets, a table and a picture; so does leaving out the budget.",
            rich_help_panel=MAIN_PANEL,
            show_default=False,
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help=help_text(
                "Plan file, or table of the front.", default="plan-BUDGET.json or front.csv in RUN"
            ),
            rich_help_panel=MAIN_PANEL,
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Make plans for further budgets of a run, in seconds: without model, data and calibration.

    ranksearch plan runs/digits --budget 0.4,0.15

    ranksearch plan runs/digits --front

    Carry one out with ranksearch compress.
    """
    with guarded(), answering("plan", as_json) as answer:
        from ranksearch.cli.plan import plan_command

        plan_command(run, given, answer, front=front, out=out)


@app.command()
def show(
    path: Annotated[
        Path,
        typer.Argument(
            help="Plan file, run folder, probe folder, or folder of a compressed model.", metavar="PATH"
        ),
    ],
    every: Annotated[
        bool, typer.Option("--all", help="For a run: show all plans, not only the front.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print a plan layer by layer, the front of a run, or the verdict of a probe."""
    with guarded(), answering("show", as_json) as answer:
        from ranksearch.cli.show import show_command

        show_command(path, answer, every=every)


def verify(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Folders of compressed models, or run folders.", metavar="PATH..."),
    ],
    as_json: Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Measure delivered models again: their files, costs and outputs, and with data their accuracy.

    ranksearch verify runs/digits --data digits

    What differs from the plan, beyond what machines differ by, ends in exit code 2. Other options are those of the run.
    """
    with guarded(), answering("verify", as_json) as answer:
        from ranksearch.cli.verify import verify_command

        verify_command(paths, given, answer)


@app.command(name="export")
def export_(
    path: Annotated[
        Path,
        typer.Argument(help="Folder of a compressed model, run folder, or plan file.", metavar="PATH"),
    ],
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="NAME[,NAME...]",
            help=help_text(_FORMATS, EXPORTERS, "onnx for a model"),
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="SPEC",
            help=help_text(
                "The dense model, as for run; its weights do not matter.",
                default="the plan's, where it is built in",
            ),
            show_default=False,
        ),
    ] = None,
    quantize: Annotated[str | None, option_of("quantize")] = None,
    quantize_tolerance: Annotated[str | None, option_of("quantize_tolerance")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SPEC",
            help=help_text(
                "With --quantize: the data, as for run; images are split as they were in the run.",
                default="the plan's",
            ),
            show_default=False,
        ),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Let the plan name code to import as its model, and its data.",
            show_default=False,
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only results.", show_default=False)] = False,
    as_json: Json = False,
) -> None:
    """Export delivered models to files that run without ranksearch, or a plan to what other compressors read.

    ranksearch export runs/digits --to onnx,pt2

    ranksearch export runs/digits --to onnx --quantize int8

    ranksearch export runs/digits/plan-0.2.json --to chains

    Each file is compared with the compressed model on random inputs. The int8 file needs images: it is calibrated and
    evaluated on them.
    """
    with guarded(), answering("export", as_json) as answer:
        from ranksearch.cli.export import export_command

        export_command(
            path,
            to or [],
            model,
            trust=trust,
            quiet=quiet,
            quantize=quantize,
            tolerance=quantize_tolerance,
            data=data,
            answer=answer,
        )


@app.command()
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run folders, or a probe folder.", metavar="RUN...", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help=help_text(
                "Where the page is written; required for several runs.", default="report.html in RUN"
            ),
            show_default=False,
        ),
    ] = None,
    lang: Annotated[
        str, typer.Option("--lang", metavar="LANG", help="Language: en or ja.", show_default="en")
    ] = "en",
    as_json: Json = False,
) -> None:
    """Write the page of a run: one HTML file with its figures, that opens anywhere without a network.

    ranksearch report runs/digits

    ranksearch report runs/digits runs/other --out comparison.html

    Every run and probe writes one. Only the files of the folders are read.
    """
    with guarded(), answering("report", as_json) as answer:
        from ranksearch.cli.report import report_command

        report_command(runs, out, lang, answer)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", metavar="RUN...", show_default=False)],
    as_json: Json = False,
) -> None:
    """Compare the delivered models of several runs in one table.

    ranksearch compare runs/digits runs/other

    Charts of the same runs: ranksearch report RUN RUN --out FILE.
    """
    with guarded(), answering("compare", as_json) as answer:
        from ranksearch.cli.compare import compare_command

        compare_command(runs, answer)


def probe(config: Config = None, as_json: Json = False, *, given: dict[str, Any]) -> None:
    """Measure how compressible a model is: layer by layer, cut by cut.

    ranksearch probe --out runs/probe-digits

    ranksearch probe --model torchvision:resnet18 --weights r18.pth --data imagefolder:/data/in1k

    Nothing is compressed: kernels are truncated and put back, and the outputs are compared.
    """
    with guarded(), answering("probe", as_json) as answer:
        from ranksearch.cli.probe import probe_command

        probe_command(config, given, answer)


def layers(config: Config = None, as_json: Json = False, *, given: dict[str, Any]) -> None:
    """List the layers of a model: which decompositions apply to each, or why it stays dense."""
    with guarded(), answering("layers", as_json) as answer:
        from ranksearch.cli.layers import layers_command

        layers_command(config, given, answer)


def doctor(as_json: Json = False, *, given: dict[str, Any]) -> None:
    """Check the installation, the cache, a storage and data before a long run: one line each.

    ranksearch doctor

    ranksearch doctor --data imagefolder:/data/in1k --storage postgresql+psycopg://user@host/db

    In the storage a trial is written, read back and removed. What has failed ends in exit code 2.
    """
    with guarded(), answering("doctor", as_json) as answer:
        from ranksearch.cli.doctor import doctor_command

        doctor_command(given, answer)


app.command(cls=Gathering)(with_options(init, INIT, shown={"budget": "0.5,0.3"}))
app.command(cls=Gathering, epilog=EXIT_CODES)(with_options(run, ALL))
app.command()(with_options(worker, WORKER, shown=OF_THE_RUN))
app.command("storage-proxy")(with_options(storage_proxy, STORAGE_PROXY, shown=TO_SERVE))
app.command(cls=Gathering, epilog=EXIT_CODES)(
    with_options(
        compress,
        (*DELIVERY, "budget", "metric"),
        shown={
            "out": "PLAN-compressed, beside the plan",
            "budget": "none: only for scores, which leave the choice of ranks open",
            "metric": "params; only for scores",
        },
    )
)
app.command(cls=Gathering)(
    with_options(
        plan,
        PLAN,
        shown={
            "budget": "none: the front over all budgets",
            "metric": "the run's",
            "limit": "the run's, unless there is a metric",
            "decompositions": "the run's",
        },
    )
)
app.command(epilog=EXIT_CODES)(with_options(verify, VERIFY, shown=OF_THE_PLAN))
app.command()(with_options(probe, PROBE, shown={"out": "runs/probe-MODEL-DATE-TIME"}))
app.command()(
    with_options(layers, LAYERS, shown={"input_size": "the data's; without data, the model's usual one"})
)
app.command()(with_options(doctor, DOCTOR, shown=TO_CHECK))
