"""Values that parameters and options of several rooms may have; imports nothing."""

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
"""Number formats of a model; auto is for the machine to say."""
ACCELERATIONS = ("none", "trace", "compile", "cudagraphs", "onnxruntime")
"""What runs a model: torch as it is, traced graphs, torch.compile, CUDA graphs, ONNX Runtime."""
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""Name of an execution provider -> onnxruntime's."""
FROM_FRAME, FROM_NOW = "frame", "now"
HORIZON_FROM = (FROM_FRAME, FROM_NOW)
"""What horizons count from: a frame's stamp, or the moment of publication."""
