"""A probe from its options to probe.json: spectra → sweep → recovery → verdict → figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from ranksearch.calibration import Moments, task_moments
from ranksearch.errors import InputError, expected
from ranksearch.networks import Layer, kernel_of, stored_tensors
from ranksearch.planning import Gauge, Network, inspect_network, judged, prepare
from ranksearch.probing import (
    PARTIAL_NORM,
    WAYS,
    Bench,
    CutSpectrum,
    Judge,
    LayerSpectra,
    ProbeFolder,
    ProbeImages,
    ProbeRecord,
    RecoveryRecord,
    Subject,
    SweepFile,
    Verdict,
    analytic_plans,
    check_plans,
    dense_record,
    epoch_record,
    images_record,
    is_chain,
    judge_model,
    layer_records,
    measure_speed,
    moments_spectra,
    pick_images,
    plain_spectra,
    plan_truncation,
    read_recovery,
    recover,
    sweep_joint,
    sweep_layers,
    telling_norm,
    usual_cut,
    verdict_record,
    weights_digest,
    write_spectra,
)
from ranksearch.progress import Reporter, renamed, ticks
from ranksearch.records import write_record
from ranksearch.runs.narrate import describe_task
from ranksearch.runs.options import RunOptions
from ranksearch.runs.probe_options import ProbeOptions
from ranksearch.runs.settings import candidate_config, timing_settings, torch_threads
from ranksearch.runs.tasks import build_task_and_data
from ranksearch.tasks import Task, metric_name, show_estimate


@dataclass(frozen=True)
class _Swept:
    """A sweep that is through: its images, what was swept, its file, and by layer whether the prefix was reused."""

    images: ProbeImages
    subject: Subject
    file: SweepFile
    reused: Mapping[str, bool]

    @property
    def judge(self) -> Judge:
        return self.subject.judge


def probe_pipeline(
    options: RunOptions, wanted: ProbeOptions, folder: ProbeFolder, reporter: Reporter
) -> ProbeRecord:
    """Carry out a probe in its folder; measurements that are there already are not made again."""
    with torch_threads(options):
        task, _ = build_task_and_data(options, reporter.line)
        network = _without_groups(inspect_network(task, ignore=options.ignore))
        describe_task(task, network.cost, reporter)
        layers = network.layers
        able = [layer for layer in layers if layer.reason is None]
        if not able:
            raise InputError(expected("model", "at least one layer that can be factorised", "none"))
        kernels = {x.name: kernel_of(task.model, x.name) for x in able}
        found = _moments(task, able, options, reporter) if wanted.moments else {}
        layers = tuple(judged(layer, found.get(layer.name)) for layer in layers)
        moments = {x.name: found[x.name] for x in layers if x.reason is None and x.name in found}
        spectra = plain_spectra(able, kernels, ticks(reporter.progress, "spectra"))
        write_spectra(folder.spectra, _all_spectra(able, kernels, moments, spectra))
        swept = (
            _sweep(task, spectra, kernels, moments, options, wanted, folder, reporter)
            if wanted.sweep
            else None
        )
        recovery = _recovery(task, swept, options, wanted, folder, reporter) if swept else None
        verdict = _verdict(task, network, swept, options, wanted, reporter) if wanted.moments else None
        entropy = {n: {s.cut.name: s.entropy for s in found.spectra} for n, found in spectra.items()}
        size = stored_tensors(task.model).nbytes
        record = ProbeRecord(
            version=2,
            model=task.model_name,
            weights=weights_digest(task.model),
            task_metric=metric_name(task),
            images=images_record(swept.images) if swept else None,
            dense=dense_record(network.cost, size, swept.judge if swept else None),
            layers=layer_records(layers, entropy, verdict, swept.reused if swept else {}),
            verdict=verdict_record(verdict) if verdict else None,
            recovery=recovery,
        )
        write_record(folder.record, record)
        return record


def _without_groups(network: Network) -> Network:
    """The kernel of a grouped convolution is a stack of kernels, of which no cut is one of the layer."""
    reason = "grouped convolution, which probes leave out"
    layers = (
        replace(layer, reason=reason) if layer.groups > 1 and not layer.reason else layer
        for layer in network.layers
    )
    return replace(network, layers=tuple(layers))


def _moments(task: Task, able: list[Layer], options: RunOptions, reporter: Reporter) -> Mapping[str, Moments]:
    return task_moments(
        task,
        able,
        ("moments",),
        seed=options.seed,
        on_batch=ticks(reporter.progress, "moments of the spectra"),
    )


def _all_spectra(
    able: list[Layer],
    kernels: Mapping[str, Tensor],
    moments: Mapping[str, Moments],
    plain: Mapping[str, LayerSpectra],
) -> list[CutSpectrum]:
    found: list[CutSpectrum] = []
    for layer in able:
        found += plain[layer.name].spectra
        if layer.name in moments:
            found += moments_spectra(layer, kernels[layer.name], moments[layer.name])
    return found


def _sweep(
    task: Task,
    spectra: Mapping[str, LayerSpectra],
    kernels: Mapping[str, Tensor],
    moments: Mapping[str, Moments],
    options: RunOptions,
    wanted: ProbeOptions,
    folder: ProbeFolder,
    reporter: Reporter,
) -> _Swept:
    images = pick_images(task, wanted.images_from, wanted.images, seed=options.seed)
    bench = Bench(
        task.model, images.inputs, batch_size=task.batch_size, device=task.device, output=task.output
    )
    judge = Judge(task, images, bench.dense)
    if judge.dense.accuracy is not None:
        reporter.line(
            f"dense model: {metric_name(task)} {show_estimate(judge.dense.accuracy)} on {len(images.indices):,} "
            f"{images.role} images; a guess scores {judge.chance:.4g}"
        )
    file = SweepFile(folder.sweep)
    subject = Subject(bench, judge, spectra, kernels, moments)
    sweep_layers(
        subject,
        file,
        most=wanted.bonds,
        progress=ticks(reporter.progress, "sweep, layer by layer"),
    )
    sweep_joint(
        subject,
        file,
        progress=ticks(reporter.progress, "sweep, many layers"),
    )
    return _Swept(images, subject, file, {name: bench.reusable(name) for name in spectra})


def _recovery(
    task: Task,
    swept: _Swept,
    options: RunOptions,
    wanted: ProbeOptions,
    folder: ProbeFolder,
    reporter: Reporter,
) -> RecoveryRecord | None:
    """Both ways, each stored when it is through; None where it was not asked for or there are no images for it."""
    if not wanted.recovery_epochs or task.dataset("finetune") is None:
        return None
    spectra = swept.subject.spectra
    cut = wanted.recovery_cut or usual_cut(spectra)
    if folder.recovery.is_file():
        record = read_recovery(folder.recovery)
    else:
        accuracy = swept.judge.dense.accuracy
        dense = accuracy.mean if accuracy else 0.0
        telling = telling_norm(swept.file.rows, cut, dense, swept.judge.chance)
        record = RecoveryRecord(
            cut=cut,
            norm=wanted.recovery_norm or telling or PARTIAL_NORM,
            layers=len(plan_truncation(spectra, 1.0, cut)),
            project_each=wanted.project_each,
            epochs=(),
        )
    truncations = plan_truncation(spectra, record.norm, cut)
    ways = WAYS if all(is_chain(t.cut) for t in truncations) else WAYS[:1]
    for way in ways:
        if any(epoch.way == way for epoch in record.epochs):
            continue
        epochs = recover(
            task,
            swept.images,
            swept.judge,
            truncations,
            way,
            epochs=wanted.recovery_epochs,
            every_step=wanted.project_each == "step",
            lr=options.lr,
            seed=options.seed,
            progress=ticks(reporter.progress, f"recovery, {way}"),
        )
        record = record.model_copy(update={"epochs": record.epochs + tuple(map(epoch_record, epochs))})
        write_record(folder.recovery, record)
    return record


def _verdict(
    task: Task,
    network: Network,
    swept: _Swept | None,
    options: RunOptions,
    wanted: ProbeOptions,
    reporter: Reporter,
) -> Verdict:
    problem = prepare(
        task,
        network=network,
        config=candidate_config(options),
        seed=options.seed,
        progress=renamed(reporter.progress, "verdict: {}"),
    )
    plans = analytic_plans(problem)
    if swept is not None:
        check_plans(
            problem,
            plans,
            swept.images,
            swept.judge,
            swept.file,
            threshold=wanted.trouble,
            progress=ticks(reporter.progress, "verdict: plans measured"),
        )
    verdict = judge_model(problem, plans, swept.file.rows if swept else (), wanted.trouble)
    told = {verdict.trouble.budget} | {point.budget for point in verdict.front if point.measured}
    speed = measure_speed(
        Gauge(task, network, timing_settings(options)),
        {budget: plan for budget, plan in plans if budget in told},
        progress=ticks(reporter.progress, "verdict: speed"),
    )
    return replace(verdict, speed=speed)
