"""A probe from its options to probe.json: spectra → sweep → recovery → verdict → figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from ranksearch.calibration import task_moments
from ranksearch.describing import Reporter, describe_task, metric_name, show_estimate
from ranksearch.errors import InputError, expected
from ranksearch.layers import Layer, discover
from ranksearch.moments import Moments
from ranksearch.options import RunOptions
from ranksearch.probing.bench import Bench
from ranksearch.probing.checks import analytic_plans, check_plans
from ranksearch.probing.folder import ProbeFolder
from ranksearch.probing.joint import PARTIAL_NORM, sweep_joint
from ranksearch.probing.options import ProbeOptions
from ranksearch.probing.prior import weights_digest
from ranksearch.probing.record import (
    ProbeRecord,
    RecoveryRecord,
    dense_record,
    epoch_record,
    images_record,
    layer_records,
    read_recovery,
    verdict_record,
    write_record,
)
from ranksearch.probing.recovery import WAYS, is_chain, plan_truncation, recover, telling_norm, usual_cut
from ranksearch.probing.rows import SweepFile
from ranksearch.probing.scores import Images, Judge, pick_images
from ranksearch.probing.spectra import LayerSpectra, Spectrum, moments_spectra, plain_spectra
from ranksearch.probing.spectrafile import write_spectra
from ranksearch.probing.speed import measure_speed
from ranksearch.probing.sweep import Subject, sweep_layers
from ranksearch.probing.verdict import Verdict, judge_model
from ranksearch.problem import judged, prepare
from ranksearch.settings import candidate_config, torch_threads
from ranksearch.sources.tasks import build_task_and_data
from ranksearch.task import Task


@dataclass(frozen=True)
class _Swept:
    """A sweep that is through: its images, what was swept, its file, and by layer whether the prefix was reused."""

    images: Images
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
        task, _ = build_task_and_data(options)
        cost = describe_task(task, reporter)
        layers = discover(task.model, task.example, ignore=options.ignore)
        able = [layer for layer in layers if layer.reason is None]
        if not able:
            raise InputError(expected("model", "at least one layer that can be factorised", "none"))
        kernels = {x.name: task.model.get_parameter(f"{x.name}.weight").detach() for x in able}
        found = _moments(task, able, options, reporter) if wanted.moments else {}
        layers = tuple(judged(layer, found.get(layer.name)) for layer in layers)
        moments = {x.name: found[x.name] for x in layers if x.reason is None and x.name in found}
        spectra = plain_spectra(able, kernels, lambda done, total: reporter.progress("spectra", done, total))
        write_spectra(folder.spectra, _all_spectra(able, kernels, moments, spectra))
        swept = (
            _sweep(task, spectra, kernels, moments, options, wanted, folder, reporter)
            if wanted.sweep
            else None
        )
        recovery = _recovery(task, swept, options, wanted, folder, reporter) if swept else None
        verdict = _verdict(task, swept, options, wanted, reporter) if wanted.moments else None
        entropy = {n: {s.cut.name: s.entropy for s in found.spectra} for n, found in spectra.items()}
        record = ProbeRecord(
            version=1,
            model=task.model_name,
            weights=weights_digest(task.model),
            metric=metric_name(task),
            images=images_record(swept.images) if swept else None,
            dense=dense_record(cost, swept.judge if swept else None),
            layers=layer_records(layers, entropy, verdict, swept.reused if swept else {}),
            verdict=verdict_record(verdict) if verdict else None,
            recovery=recovery,
        )
        write_record(folder.record, record)
        return record


def _moments(task: Task, able: list[Layer], options: RunOptions, reporter: Reporter) -> dict[str, Moments]:
    return task_moments(
        task,
        able,
        ("moments",),
        seed=options.seed,
        on_batch=lambda done, total: reporter.progress("moments of the spectra", done, total),
    )


def _all_spectra(
    able: list[Layer],
    kernels: Mapping[str, Tensor],
    moments: Mapping[str, Moments],
    plain: Mapping[str, LayerSpectra],
) -> list[Spectrum]:
    found: list[Spectrum] = []
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
    bench = Bench(task.model, images.inputs, batch_size=task.batch_size, device=task.device)
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
        progress=lambda done, total: reporter.progress("sweep, layer by layer", done, total),
    )
    sweep_joint(
        subject,
        file,
        progress=lambda done, total: reporter.progress("sweep, many layers", done, total),
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
            progress=lambda done, total, way=way: reporter.progress(f"recovery, {way}", done, total),  # type: ignore[misc]
        )
        record = record.model_copy(update={"epochs": record.epochs + tuple(map(epoch_record, epochs))})
        write_record(folder.recovery, record)
    return record


def _verdict(
    task: Task, swept: _Swept | None, options: RunOptions, wanted: ProbeOptions, reporter: Reporter
) -> Verdict:
    problem = prepare(
        task,
        ignore=options.ignore,
        config=candidate_config(options),
        seed=options.seed,
        progress=lambda stage, done, total: reporter.progress(f"verdict: {stage}", done, total),
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
            progress=lambda done, total: reporter.progress("verdict: plans measured", done, total),
        )
    verdict = judge_model(problem, plans, swept.file.rows if swept else (), wanted.trouble)
    told = {verdict.trouble.budget} | {point.budget for point in verdict.front if point.measured}
    speed = measure_speed(
        problem,
        {budget: plan for budget, plan in plans if budget in told},
        progress=lambda done, total: reporter.progress("verdict: speed", done, total),
    )
    return replace(verdict, speed=speed)
