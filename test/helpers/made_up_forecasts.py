"""A peer that plays forecast_node with numbers made by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from forecast_peers import Client, header_at
from sensor_msgs.msg import Image

from dino_foresight_ros.msg import FeatureMap, Forecast, ForecastStep
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.ros.time import ns_to_time
from dino_foresight_ros.scene import Scene

INTERVAL_NS = 200_000_000
GRID = (2, 3)
SIZE = (4, 6)
CHANNELS = 5


def world(index: int) -> Scene:
    """What a model sees in frame `index` of a world that changes."""
    rng = np.random.default_rng(index)
    return Scene(
        index * INTERVAL_NS,
        features=rng.normal(size=(*GRID, CHANNELS)).astype(np.float32),
        segmentation=rng.integers(0, 4, SIZE).astype(np.uint8),
        depth=rng.uniform(2, 40, SIZE).astype(np.float32),
        depth_is_metric=True,
    )


def feature_map(stamp_ns: int, step: int, features: np.ndarray) -> FeatureMap:
    height, width, channels = features.shape
    return FeatureMap(
        header=header_at(stamp_ns),
        target_stamp=ns_to_time(stamp_ns + step * INTERVAL_NS),
        step=step,
        grid_height=height,
        grid_width=width,
        channels=channels,
        dtype="float32",
        data=features.tobytes(),
    )


class MadeUpForecasts:
    """Publishers of everything that forecast_node says about one camera's frames."""

    def __init__(self, client: Client, outputs: str = "foresight", features: bool = True) -> None:
        create = client.node.create_publisher
        self.client = client
        self.forecasts = create(Forecast, f"{outputs}/forecast", 20)
        self.maps = {
            "segmentation": create(Image, f"{outputs}/step_0/segmentation", 20),
            "depth": create(Image, f"{outputs}/step_0/depth", 20),
        }
        self.features = create(FeatureMap, f"{outputs}/features", 50) if features else None
        self._order = random.Random(2)

    def is_heard(self) -> bool:
        every = [self.forecasts, *self.maps.values(), *([self.features] if self.features else [])]
        return all(publisher.get_subscription_count() for publisher in every)

    def close(self) -> None:
        for publisher in (self.forecasts, *self.maps.values(), self.features):
            if publisher is not None:
                self.client.node.destroy_publisher(publisher)

    def publish(
        self, stamp_ns: int, seen: Scene, predicted: Sequence[Scene], **fields: Any
    ) -> None:
        """Publish all messages about a frame, in any order."""
        header = header_at(stamp_ns)
        sent: list[tuple[Any, Any]] = [
            (self.forecasts, forecast(stamp_ns, predicted, **fields)),
            (self.maps["segmentation"], image_to_msg(seen.segmentation, "mono8", header)),
            (self.maps["depth"], image_to_msg(seen.depth, "32FC1", header)),
        ]
        if self.features is not None:
            for step, one in enumerate((seen, *predicted)):
                sent.append((self.features, feature_map(stamp_ns, step, one.features)))
        self._order.shuffle(sent)
        for publisher, message in sent:
            publisher.publish(message)


def forecast(stamp_ns: int, predicted: Sequence[Scene], **fields: Any) -> Forecast:
    header = header_at(stamp_ns)
    steps = [
        ForecastStep(
            target_stamp=ns_to_time(stamp_ns + k * INTERVAL_NS),
            horizon=0.2 * k,
            step=k,
            segmentation=image_to_msg(one.segmentation, "mono8", header),
            depth=image_to_msg(one.depth, "32FC1", header),
            depth_is_metric=True,
        )
        for k, one in enumerate(predicted, start=1)
    ]
    given = {"model_name": "made up", "trained": True, **fields}
    return Forecast(
        header=header,
        target_stamps=[step.target_stamp for step in steps],
        steps=steps,
        frame_interval=INTERVAL_NS / 1e9,
        **given,
    )
