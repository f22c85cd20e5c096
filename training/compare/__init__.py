"""Comparisons: several variants of a model trained, measured on the same scenes, and set apart."""

from .comparison import Comparison, Variant, preset_names, read_comparison
from .differences import Row, compare
from .report import write_comparison
from .runs import run_comparison

__all__ = [
    "Comparison",
    "Row",
    "Variant",
    "compare",
    "preset_names",
    "read_comparison",
    "run_comparison",
    "write_comparison",
]
