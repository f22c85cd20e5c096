"""Transforms between frames: tf2's, where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node

from dino_foresight_ros.errors import InputError, describe
from dino_foresight_ros.recordings.poses import pose_matrix
from dino_foresight_ros.ros.time import ns_to_time

Matrix = NDArray[np.float64]


class Transforms:
    """Looks transforms up; from any thread."""

    def __init__(self, node: Node) -> None:
        """Listen to /tf and /tf_static, where tf2_ros is installed."""
        self._buffer: Any = None
        try:
            from tf2_ros import Buffer, TransformListener
        except ImportError:
            return
        self._buffer = Buffer()
        self._listener = TransformListener(self._buffer, node)

    def matrix(self, target: str, source: str, stamp_ns: int | None = None) -> Matrix:
        """(4, 4) that takes points of `source` to `target`.

        Args:
            target, source: names of frames.
            stamp_ns: when, nanoseconds; the newest that is known when None, or where the instant
                is not known yet.

        Raises:
            InputError: TF does not know it, or tf2_ros is not installed.
        """
        if target == source:
            return np.eye(4)
        if self._buffer is None:
            raise InputError(f"frame {source} is unknown in {target}: tf2_ros is not installed")
        from rclpy.time import Time

        wanted = [Time()] if stamp_ns is None else [Time.from_msg(ns_to_time(stamp_ns)), Time()]
        for place, when in enumerate(wanted):
            try:
                found = self._buffer.lookup_transform(target, source, when).transform
                break
            except Exception as error:
                if place == len(wanted) - 1:
                    text = f"TF knows no way from {source} to {target} ({describe(error)})"
                    raise InputError(text) from error
        t, q = found.translation, found.rotation
        return pose_matrix([t.x, t.y, t.z], [q.w, q.x, q.y, q.z])
