"""Measures bundles: `evaluate` gives a `Report`, `write_report` puts it into a folder."""

from dino_foresight_ros.training.evaluation.config import EvaluationConfig
from dino_foresight_ros.training.evaluation.evaluate import evaluate
from dino_foresight_ros.training.evaluation.protocols import (
    PROTOCOLS,
    check_protocol,
    protocol_config,
    protocol_recordings,
    protocol_report,
)
from dino_foresight_ros.training.evaluation.report import check_output, write_report
from dino_foresight_ros.training.evaluation.results import Report

__all__ = [
    "PROTOCOLS",
    "EvaluationConfig",
    "Report",
    "check_output",
    "check_protocol",
    "evaluate",
    "protocol_config",
    "protocol_recordings",
    "protocol_report",
    "write_report",
]
