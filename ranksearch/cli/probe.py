"""`ranksearch probe`."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ranksearch.cli.console import ConsoleReporter, logging_to
from ranksearch.cli.guard import guarded, resumable
from ranksearch.cli.paths import shown
from ranksearch.runs import load_options

log = logging.getLogger("ranksearch")

PANEL = "Probe"


def _option(flag: str, metavar: str, text: str) -> Any:
    return typer.Option(flag, metavar=metavar, help=text, rich_help_panel=PANEL, show_default=False)


def probe(
    images: Annotated[
        int | None, _option("--images", "N", "Images to evaluate on. [dim]\\[1000][/dim]")
    ] = None,
    images_from: Annotated[
        str | None, _option("--images-from", "ROLE", "validation or test. [dim]\\[validation][/dim]")
    ] = None,
    bonds: Annotated[
        int | None, _option("--bonds", "N", "Bond dimensions per layer and cut, at most. [dim]\\[8][/dim]")
    ] = None,
    sweep: Annotated[
        bool | None, _option("--sweep/--no-sweep", "", "Measure truncations, or only the spectra.")
    ] = None,
    moments: Annotated[
        bool | None,
        _option("--moments/--no-moments", "", "Spectra in the moments' metric, and the verdict, or neither."),
    ] = None,
    recovery_epochs: Annotated[
        int | None,
        _option("--recovery-epochs", "N", "Epochs of retraining, each way; 0 = none. [dim]\\[2][/dim]"),
    ] = None,
    recovery_norm: Annotated[
        str | None,
        _option(
            "--recovery-norm",
            "F",
            "Norm that all layers keep before it. [dim]\\[the mildest that costs half the accuracy][/dim]",
        ),
    ] = None,
    recovery_cut: Annotated[
        str | None,
        _option(
            "--recovery-cut", "CUT", "Cut that they are truncated across, such as 'ow|ih'. [dim]\\[o|…][/dim]"
        ),
    ] = None,
    project_each: Annotated[
        str | None,
        _option("--project-each", "WHEN", "Project back after each epoch or step. [dim]\\[epoch][/dim]"),
    ] = None,
    trouble: Annotated[
        float | None,
        _option("--trouble", "F", "Divergence in nats at which trouble starts. [dim]\\[0.1][/dim]"),
    ] = None,
    plots: Annotated[
        bool | None,
        _option("--plots/--no-plots", "", "Figures, with pip install 'ranksearch\\[plots]', or none."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="TOML file with options of model, data and run; what is given here goes before it, --no-… and "
            "none take back what it says.",
            rich_help_panel="Run",
            show_default=False,
        ),
    ] = None,
    *,
    given: dict[str, Any],
) -> None:
    """Measure how compressible a model is: layer by layer, cut by cut.

    ranksearch probe --out runs/probe-digits

    ranksearch probe --model torchvision:resnet18 --weights r18.pth --data imagefolder:/data/in1k

    Nothing is compressed: kernels are truncated and put back, and the model is looked at.
    """
    own = {
        "images": images,
        "images_from": images_from,
        "bonds": bonds,
        "sweep": sweep,
        "moments": moments,
        "recovery_epochs": recovery_epochs,
        "recovery_norm": recovery_norm,
        "recovery_cut": recovery_cut,
        "project_each": project_each,
        "trouble": trouble,
        "plots": plots,
    }
    with guarded():
        probe_command(config, given, own)


def probe_command(config: Path | None, given: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Carry out a probe, from options to one screen of what it found."""
    from ranksearch.runs import open_probe, parse_probe, stored_probe_options

    options = load_options(given, config)
    wanted = parse_probe(own, stored_probe_options(options.out) if options.resume else None)
    reporter = ConsoleReporter(quiet=options.quiet)
    with open_probe(options, wanted) as folder, logging_to(folder.log, reporter, verbose=options.verbose):
        reporter.line(f"probe folder: {shown(folder.path)}")
        started = time.monotonic()
        with resumable(reporter, "probe", folder.path):
            from ranksearch.cli.verdict import verdict_view
            from ranksearch.runs import probe_pipeline

            record = probe_pipeline(options, wanted, folder, reporter)
        if wanted.plots:
            from ranksearch.probing import draw_figures

            drawn = draw_figures(folder)
            reporter.line(f"figures: {shown(folder.figures)}" if drawn else NO_PLOTS)
        reporter.result(verdict_view(record))
        for what, path in (("record", folder.record), ("sweep", folder.sweep), ("spectra", folder.spectra)):
            if path.is_file():
                reporter.result(f"{what:<8}  {shown(path)}")
        reporter.line(f"done in {time.monotonic() - started:.0f} s")


NO_PLOTS = "figures: none, matplotlib is missing; pip install 'ranksearch[plots]', then --resume draws them"
