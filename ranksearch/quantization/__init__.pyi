from .choice import GROUPS, TOLERANCE, Choice, choose_float
from .file import INT8_FILE, quantize_file
from .graph import Calibrated, calibrated
from .needs import check_quantizer
from .session import OnnxModule

__all__ = [
    "GROUPS",
    "INT8_FILE",
    "TOLERANCE",
    "Calibrated",
    "Choice",
    "OnnxModule",
    "calibrated",
    "check_quantizer",
    "choose_float",
    "quantize_file",
]
