"""Packages that some tests need, looked for without importing them: collecting all tests would."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

NEEDS_RERUN = pytest.mark.skipif(
    find_spec("rerun") is None, reason="needs the rerun SDK: pip install rerun-sdk"
)
NEEDS_ONNX = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs the extra onnx",
)
