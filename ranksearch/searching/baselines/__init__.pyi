from .base import Allocator, Context, Evaluations
from .published import prepare_published
from .registry import ALLOCATORS, check_weights

__all__ = ["ALLOCATORS", "Allocator", "Context", "Evaluations", "check_weights", "prepare_published"]
