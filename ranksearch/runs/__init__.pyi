from .compress import compress_pipeline
from .config import load_options, parse, write_toml
from .deliver import RunReport
from .export import Exports, export_delivered, usages
from .options import MAIN, MAIN_PANEL, RunOptions
from .probe import probe_pipeline
from .probe_folder import open_probe, stored_probe_options
from .probe_options import ProbeOptions, parse_probe
from .run import run_pipeline
from .run_folder import RunFolder, open_run
from .settings import candidate_config
from .tasks import image_options
from .trust import needs_trust
from .verify import delivered_in, verify_delivered

__all__ = [
    "MAIN",
    "MAIN_PANEL",
    "Exports",
    "ProbeOptions",
    "RunFolder",
    "RunOptions",
    "RunReport",
    "candidate_config",
    "compress_pipeline",
    "delivered_in",
    "export_delivered",
    "image_options",
    "load_options",
    "needs_trust",
    "open_probe",
    "open_run",
    "parse",
    "parse_probe",
    "probe_pipeline",
    "run_pipeline",
    "stored_probe_options",
    "usages",
    "verify_delivered",
    "write_toml",
]
