"""foresight/imagine: what the cameras would see on each of several trajectories. It ranks, only.

A request is answered in the engine's thread, in parts between which frames are forecast.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future as Answer
from dataclasses import replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future
from std_msgs.msg import Header

from dino_foresight_ros.classes import class_name
from dino_foresight_ros.errors import ForesightError, InputError, describe
from dino_foresight_ros.msg import Candidate, CandidateHorizon, CandidateScore
from dino_foresight_ros.planar_motion import Motion
from dino_foresight_ros.recordings.camera_view import camera_view
from dino_foresight_ros.recordings.image_decoding import decode_picture
from dino_foresight_ros.ros.clouds import obstacle_cloud
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.ros.motion_parameters import footprint_of
from dino_foresight_ros.ros.parameters import Parameters
from dino_foresight_ros.ros.planar import planar_twist, pose_message
from dino_foresight_ros.ros.time import ns_to_time
from dino_foresight_ros.srv import Imagine
from dino_foresight_ros.topic_names import is_rectified

if TYPE_CHECKING:
    from torch import Tensor

    from dino_foresight_ros.nodes.forecast.camera_stream import CameraStream
    from dino_foresight_ros.nodes.forecast.pipeline import FreshContexts, Pipeline
    from dino_foresight_ros.ros.live_motion import LiveMotion
    from dino_foresight_ros.runtime.imagined import (
        ImaginedCandidate,
        ImaginedHorizon,
        ImagineOptions,
        Mount,
    )

SERVICE = "foresight/imagine"
LOG_PERIOD_S = 10.0


class _KeptGoal(NamedTuple):
    """Features of the goal picture, of a model that this does not keep in memory."""

    pipeline: weakref.ref[Pipeline]
    path: str
    written_ns: int
    features: Tensor

    def is_of(self, pipeline: Pipeline, path: str, written_ns: int) -> bool:
        """Whether they are those of this file, by this model."""
        return self.pipeline() is pipeline and (self.path, self.written_ns) == (path, written_ns)


class ImagineService:
    """Answers requests while the node is active, and says why it cannot while it is not.

    Attributes:
        last_answer: what became of the last request, in words; empty before the first.
    """

    def __init__(
        self,
        node: LifecycleNode,
        parameters: Parameters,
        active_pipeline: Callable[[], Pipeline | None],
        motion: LiveMotion,
    ) -> None:
        """Offer the service.

        Args:
            node: the node that all of it belongs to.
            parameters: the node's.
            active_pipeline: gives the pipeline that takes frames now, None while there is none.
            motion: where the base is and how it moves.
        """
        self._node, self._parameters = node, parameters
        self._active_pipeline, self._motion = active_pipeline, motion
        self._kept_goal: _KeptGoal | None = None
        self._left_out: list[str] = []
        self.last_answer = ""
        # A group of its own: images come in while an answer is waited for.
        self._service = node.create_service(
            Imagine, SERVICE, self._on_request, callback_group=ReentrantCallbackGroup()
        )

    def release(self) -> None:
        """Give back what is kept on the model's device."""
        self._kept_goal = None

    async def _on_request(
        self, request: Imagine.Request, response: Imagine.Response
    ) -> Imagine.Response:
        began_s = time.monotonic()
        try:
            pipeline = self._active_pipeline()
            if pipeline is None:
                raise InputError("the node is not active: it has no forecast to imagine from")
            from dino_foresight_ros.runtime.imagination import check_count

            check_count(len(request.candidates), request.maps or request.points)
            self._motion.want()
            answer = pipeline.scheduler.ask(self._parts(pipeline, request, response))
            await _in_executor(self._node, answer)
            answer.result()
            response.success = True
            self.last_answer = "; ".join(["answered", *self._left_out])
        except ForesightError as error:
            response = Imagine.Response(message=describe(error))
        except Exception as error:  # noqa: BLE001 - a bad request must not end the node
            response = Imagine.Response(message=f"failed: {describe(error)}")
            self._node.get_logger().error(
                f"{SERVICE} failed: {describe(error)}", throttle_duration_sec=LOG_PERIOD_S
            )
        if not response.success:
            self.last_answer = f"refused: {response.message}"
        response.latency = time.monotonic() - began_s
        return response

    # In the engine's thread

    def _parts(
        self, pipeline: Pipeline, request: Imagine.Request, response: Imagine.Response
    ) -> Generator[None, None, None]:
        """Fill the response."""
        from dino_foresight_ros.runtime.candidate import trajectory_times

        horizons_s, imagination = self._horizons(pipeline, request), pipeline.imagination
        imagination.check_bundle()
        imagination.check_horizons(horizons_s)
        times_s = trajectory_times(horizons_s)
        mounts, stamp_ns = self._mounts(pipeline, pipeline.fresh_contexts())
        motions = np.stack(
            [
                self._motions(index, candidate, stamp_ns, times_s)
                for index, candidate in enumerate(request.candidates)
            ]
        )
        goal = self._goal(pipeline)
        options = replace(
            self._options(imagination.class_names, request.weights),
            goal=goal,
            goal_camera=next(iter(pipeline.cameras)),
        )
        imagined = yield from imagination.imagine(
            motions,
            horizons_s,
            mounts,
            options,
            times_s=times_s,
            assumed=self._motion.until(stamp_ns, horizons_s),
            moved=self._moved,
            maps=request.maps,
            points=request.points,
        )
        header = Header(stamp=ns_to_time(imagined.stamp_ns), frame_id=self._base_frame)
        response.header = header
        response.model_name = pipeline.loaded.model.name
        response.trained = pipeline.loaded.trained
        response.motion_aware = imagined.is_motion_aware
        response.weights = list(imagined.weights)
        response.goal_picture = goal is not None
        response.camera = imagined.cameras[0]
        names, frame_id = imagination.class_names, pipeline.cameras[response.camera].frame_id
        response.scores = [
            _score_message(one, names, header, frame_id) for one in imagined.candidates
        ]
        response.ranking = list(imagined.ranking)

    def _goal(self, pipeline: Pipeline) -> Tensor | None:
        """Features of the goal picture, which are kept while the file and the model stay."""
        path = str(self._parameters["goal_image"])
        if not path:
            return None
        file = FilePath(path).expanduser()
        try:
            written_ns, kept = file.stat().st_mtime_ns, self._kept_goal
            if kept is None or not kept.is_of(pipeline, path, written_ns):
                features = pipeline.loaded.engine.features(decode_picture(file.read_bytes()))
                kept = _KeptGoal(weakref.ref(pipeline), path, written_ns, features)
                self._kept_goal = kept
        except OSError as error:
            raise InputError(f"goal_image {path} cannot be read: {error.strerror}") from error
        except InputError as error:
            raise InputError(f"goal_image {path} is no picture: {error}") from error
        return kept.features

    # What a request says

    @property
    def _base_frame(self) -> str:
        return str(self._parameters["base_frame"])

    def _horizons(self, pipeline: Pipeline, request: Imagine.Request) -> list[float]:
        given = [round(float(horizon), 6) for horizon in request.horizons]  # float32 in the message
        return given or list(pipeline.horizons_s())

    def _options(self, class_names: Sequence[str], weights: Sequence[float]) -> ImagineOptions:
        from dino_foresight_ros.obstacles import ObstacleOptions
        from dino_foresight_ros.runtime.imagined import ImagineOptions, Weights

        given = [float(weight) for weight in weights] or self._parameters["imagine_weights"]
        count = len(Weights._fields)
        if len(given) != count or not all(0 <= weight < float("inf") for weight in given):
            raise InputError(
                f"weights {given} must be {count} numbers from 0 up: " + ", ".join(Weights._fields)
            )
        return ImagineOptions(
            footprint_of(self._parameters["footprint"], self._parameters["robot_radius_m"]),
            ObstacleOptions.of_classes(
                class_names,
                max_height_m=self._parameters["robot_height_m"],
                ground_z_m=self._parameters["ground_height_m"],
                max_scale=self._parameters["max_depth_scale"],
            ),
            Weights(*given),
            self._parameters["safe_distance_m"],
            self._parameters["contact_probability"],
        )

    def _mounts(
        self, pipeline: Pipeline, contexts: FreshContexts
    ) -> tuple[Mapping[str, Mount], int]:
        """Where the cameras are that take part, and the stamp of the newest frame of any."""
        found, problems = {}, dict(contexts.problems)
        for name in contexts.newest_ns:
            try:
                found[name] = self._mount(pipeline.cameras[name])
            except InputError as error:
                problems[name] = f"{error}"
        told = [pipeline.cameras[name].say(problem) for name, problem in problems.items()]
        if not found:
            raise InputError("; ".join(told))
        self._left_out = [f"without a camera: {problem}" for problem in told]
        for problem in told:
            self._node.get_logger().warning(
                f"{SERVICE} goes without a camera: {problem}", throttle_duration_sec=LOG_PERIOD_S
            )
        return found, max(contexts.newest_ns[name] for name in found)

    def _mount(self, camera: CameraStream) -> Mount:
        """Where a camera is on the robot."""
        from dino_foresight_ros.runtime.imagined import Mount

        if camera.camera_info is None:
            topic = self._node.resolve_topic_name(camera.names.camera_info)
            raise InputError(f"no camera_info came on {topic}, which says where its pixels look")
        view = camera_view(camera.camera_info, is_rectified(camera.topic_name), "camera_info")
        return Mount(view, self._motion.camera_pose(camera.index, camera.frame_id))

    def _moved(self, from_ns: int, to_ns: int) -> Motion:
        """How the base moved between two cameras' frames; not at all where nobody knows."""
        try:
            return self._motion.moved(from_ns, to_ns)
        except InputError as error:
            if self._motion.has_come:  # a robot that stands needs no odometry
                self._node.get_logger().warning(
                    f"{SERVICE} goes without odometry between frames of different cameras: {error}",
                    throttle_duration_sec=LOG_PERIOD_S,
                )
            return np.zeros(3)

    def _motions(
        self, index: int, candidate: Candidate, stamp_ns: int, times_s: Sequence[float]
    ) -> Motion:
        from dino_foresight_ros.runtime.candidate import check_turn, twist_motions

        try:
            if candidate.path.poses:
                return self._motion.along(candidate.path, stamp_ns, times_s)
            twist = planar_twist(candidate.twist)
            motions = twist_motions(twist, float(candidate.duration), times_s)
            check_turn(float(twist[2]), times_s)
            return motions
        except InputError as error:
            raise InputError(f"candidate {index}: {error}") from error


async def _in_executor(node: LifecycleNode, answer: Answer[Any]) -> None:
    """Wait for an answer of another thread without holding up the executor's."""
    done = Future(executor=node.executor)

    def tell(_: Answer[Any]) -> None:
        done.set_result(None)
        executor = node.executor
        if executor is not None:
            executor.wake()

    answer.add_done_callback(tell)
    await done


def _score_message(
    one: ImaginedCandidate, names: Sequence[str], header: Header, frame_id: str
) -> CandidateScore:
    return CandidateScore(
        index=one.index,
        total=one.total,
        cost_occupied=one.costs.occupied,
        cost_distance=one.costs.distance,
        cost_unknown=one.costs.unknown,
        cost_progress=one.costs.progress,
        progress=one.progress_m,
        time_to_contact=one.time_to_contact_s,
        reason=one.reason,
        horizons=[_horizon_message(each, names, header, frame_id) for each in one.horizons],
    )


def _horizon_message(
    one: ImaginedHorizon, names: Sequence[str], header: Header, frame_id: str
) -> CandidateHorizon:
    message = CandidateHorizon(
        horizon=one.horizon_s,
        probability_occupied=one.probability_occupied,
        least_distance=one.least_distance_m,
        class_id=one.class_id,
        class_name=class_name(one.class_id, names),
        unknown=one.unknown,
        pose=pose_message(one.motion),
        outside_trained_range=one.is_outside_range,
    )
    for scene in list(one.scenes.values())[:1]:  # of the response's camera
        of_camera = Header(stamp=header.stamp, frame_id=frame_id)
        if scene.segmentation is not None:
            message.segmentation = image_to_msg(scene.segmentation, "mono8", of_camera)
        if scene.depth is not None:
            message.depth = image_to_msg(scene.depth, "32FC1", of_camera)
    if one.points is not None:
        message.points = obstacle_cloud(one.points, one.horizon_s, header)
    return message
