from .command import command_here
from .compress import compress_pipeline
from .config import load_options, parse, read_toml, write_toml
from .deliver import RunReport
from .doctor import Check, checks
from .export import Exports, export_delivered, snippets
from .further import FurtherPlan, differs, further_front, further_plans, tables_in
from .initial import initial_study
from .options import MAIN, MAIN_PANEL, RunOptions, in_panels
from .probe import probe_pipeline
from .probe_folder import open_probe, stored_probe_options
from .probe_options import ProbeOptions, parse_probe
from .proxy import storage_proxy
from .quantize import quantize_delivered, wanted_formats
from .run import run_pipeline
from .run_folder import RunFolder, open_run
from .settings import NOT_RECORDED, candidate_config, delivery_epochs
from .summary import ROLES, dense_score, exports_summary, model_summary, models_summary, task_metric_of
from .tasks import image_options, load_collate
from .trust import needs_trust
from .verify import delivered_in, verify_delivered
from .worker import find_search, worker_pipeline

__all__ = [
    "MAIN",
    "MAIN_PANEL",
    "NOT_RECORDED",
    "ROLES",
    "Check",
    "Exports",
    "FurtherPlan",
    "ProbeOptions",
    "RunFolder",
    "RunOptions",
    "RunReport",
    "candidate_config",
    "checks",
    "command_here",
    "compress_pipeline",
    "delivered_in",
    "delivery_epochs",
    "dense_score",
    "differs",
    "export_delivered",
    "exports_summary",
    "find_search",
    "further_front",
    "further_plans",
    "image_options",
    "in_panels",
    "initial_study",
    "load_collate",
    "load_options",
    "model_summary",
    "models_summary",
    "needs_trust",
    "open_probe",
    "open_run",
    "parse",
    "parse_probe",
    "probe_pipeline",
    "quantize_delivered",
    "read_toml",
    "run_pipeline",
    "snippets",
    "storage_proxy",
    "stored_probe_options",
    "tables_in",
    "task_metric_of",
    "verify_delivered",
    "wanted_formats",
    "worker_pipeline",
    "write_toml",
]
