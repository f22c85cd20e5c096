"""The model: torch only, no ROS, no threads, no clock."""

from dino_foresight_ros.model.bundle import Bundle
from dino_foresight_ros.model.dpt import HeadConfig
from dino_foresight_ros.model.encoder import Encoder, EncoderConfig
from dino_foresight_ros.model.forecasters import (
    Forecaster,
    FrameMemory,
    MaskedConfig,
    MaskedForecaster,
    Prediction,
    WorldConfig,
    WorldForecaster,
)
from dino_foresight_ros.model.heads import HeadInput, build_head
from dino_foresight_ros.model.instance_head import InstanceHeadConfig
from dino_foresight_ros.model.pca import PCA, IdentityPCA
from dino_foresight_ros.model.tasks import DepthTask, InstancesTask, NormalsTask, SegmentationTask

__all__ = [
    "PCA",
    "Bundle",
    "DepthTask",
    "Encoder",
    "EncoderConfig",
    "Forecaster",
    "FrameMemory",
    "HeadConfig",
    "HeadInput",
    "IdentityPCA",
    "InstanceHeadConfig",
    "InstancesTask",
    "MaskedConfig",
    "MaskedForecaster",
    "NormalsTask",
    "Prediction",
    "SegmentationTask",
    "WorldConfig",
    "WorldForecaster",
    "build_head",
]
