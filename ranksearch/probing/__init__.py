"""How compressible a model is, cut by cut."""

from __future__ import annotations

from ranksearch.probing.bench import Bench
from ranksearch.probing.checks import analytic_plans, check_plans
from ranksearch.probing.figures import draw_figures
from ranksearch.probing.folder import PROBE_CONFIG, ProbeFolder
from ranksearch.probing.joint import PARTIAL_NORM, sweep_joint
from ranksearch.probing.prior import describe_prior, read_prior, weights_digest
from ranksearch.probing.record import (
    DenseScores,
    Measured,
    PointRecord,
    ProbedLayer,
    ProbeRecord,
    RecoveryRecord,
    dense_record,
    epoch_record,
    images_record,
    layer_records,
    read_probe,
    read_recovery,
    verdict_record,
)
from ranksearch.probing.recovery import WAYS, is_chain, plan_truncation, recover, telling_norm, usual_cut
from ranksearch.probing.rows import SweepFile
from ranksearch.probing.scores import Judge, ProbeImages, pick_images
from ranksearch.probing.spectra import CutSpectrum, LayerSpectra, moments_spectra, plain_spectra
from ranksearch.probing.spectrafile import write_spectra
from ranksearch.probing.speed import measure_speed
from ranksearch.probing.sweep import Subject, sweep_layers
from ranksearch.probing.verdict import Verdict, judge_model

__all__ = [
    "PARTIAL_NORM",
    "PROBE_CONFIG",
    "WAYS",
    "Bench",
    "CutSpectrum",
    "DenseScores",
    "Judge",
    "LayerSpectra",
    "Measured",
    "PointRecord",
    "ProbeFolder",
    "ProbeImages",
    "ProbeRecord",
    "ProbedLayer",
    "RecoveryRecord",
    "Subject",
    "SweepFile",
    "Verdict",
    "analytic_plans",
    "check_plans",
    "dense_record",
    "describe_prior",
    "draw_figures",
    "epoch_record",
    "images_record",
    "is_chain",
    "judge_model",
    "layer_records",
    "measure_speed",
    "moments_spectra",
    "pick_images",
    "plain_spectra",
    "plan_truncation",
    "read_prior",
    "read_probe",
    "read_recovery",
    "recover",
    "sweep_joint",
    "sweep_layers",
    "telling_norm",
    "usual_cut",
    "verdict_record",
    "weights_digest",
    "write_spectra",
]
