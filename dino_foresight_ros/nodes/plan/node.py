"""plan_node: ranks arcs to a goal by what the robot would meet on them. It commands nothing.

In: goal_pose, odom, foresight/labels; it asks forecast_node's foresight/imagine.
Out: foresight/candidates, foresight/best_path, foresight/imagined/image_color, /diagnostics.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped, Twist, Vector3
from nav_msgs.msg import Path
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from dino_foresight_ros.errors import ForesightError, InputError, describe
from dino_foresight_ros.msg import Candidate, CandidateScore, Labels
from dino_foresight_ros.nodes.plan.goal import goal_costs, heading_costs, standing_goal
from dino_foresight_ros.nodes.plan.imagined_views import draw_imagined
from dino_foresight_ros.nodes.plan.markers import candidate_markers, describe_plan
from dino_foresight_ros.nodes.plan.parameters import PLAN_PARAMETERS
from dino_foresight_ros.obstacles.arc_search import ArcLimits, Arcs, fan, refine
from dino_foresight_ros.planar_motion import compose, inverse
from dino_foresight_ros.render.colors import ClassPalette
from dino_foresight_ros.ros.camera_feed import read_palette
from dino_foresight_ros.ros.forecast_sources import find_sources
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.ros.live_motion import KEPT_S, LiveMotion
from dino_foresight_ros.ros.messages import build_diagnostics
from dino_foresight_ros.ros.node_main import run_node
from dino_foresight_ros.ros.parameters import Parameters, usage
from dino_foresight_ros.ros.planar import planar_pose
from dino_foresight_ros.ros.qos import (
    advertise,
    check_overrides,
    latched_qos,
    output_qos,
    subscribe,
    warn_of_unused_overrides,
)
from dino_foresight_ros.ros.stream_watch import StampWatch
from dino_foresight_ros.ros.time import ns_to_time, time_to_ns
from dino_foresight_ros.ros.timers import steady_timer
from dino_foresight_ros.ros.transforms import Transforms
from dino_foresight_ros.srv import Imagine
from dino_foresight_ros.stamps import NS_PER_S
from dino_foresight_ros.topic_names import BEST_PATH, CANDIDATES, IMAGINED_DRAWN, frame_name

NODE_NAME = "plan_node"
LOG_PERIOD_S = 5.0
ANSWER_TIMEOUT_S = 30.0
_LIFETIME_PERIODS = 4.0
_STANDS_M, _STANDS_RAD = 0.02, 0.02


class Question(NamedTuple):
    """A round that forecast_node assesses.

    Attributes:
        answer: to come.
        began_s: by the steady clock.
    """

    answer: Future
    began_s: float


class _Round(NamedTuple):
    """One round that was judged.

    Attributes:
        arcs: (K, 2).
        totals: (K,) with the progress to the goal.
        response: forecast_node's.
    """

    arcs: Arcs
    totals: NDArray[np.float64]
    response: Imagine.Response

    @property
    def ranking(self) -> list[int]:
        """Indices, best first."""
        return [int(index) for index in np.argsort(self.totals, kind="stable")]


class PlanNode(Node):
    """Asks for judgements of a fan of arcs, refines it, and shows the best.

    Attributes:
        goal: in a frame that stands still; None without one.
        is_at_goal: whether a goal was reached and none came since: the robot is to stand.
        palette: of the classes; None before it came.
        motion: what odometry says.
        asked: the round that forecast_node is asked to assess; None between plans.
    """

    def __init__(self) -> None:
        super().__init__(NODE_NAME)
        check_overrides(self)
        self.parameters = Parameters(self, PLAN_PARAMETERS, lambda: False)
        self._random = np.random.default_rng(self.parameters["seed"])
        transforms = Transforms(self)
        # An answer is of where the base was when it was asked for.
        self.motion = LiveMotion(
            self,
            self.parameters,
            transforms,
            with_plan=False,
            kept_s=ANSWER_TIMEOUT_S + KEPT_S,
        )
        self.motion.want()
        self.goal: PoseStamped | None = None
        self.is_at_goal = False
        self.palette: ClassPalette | None = None
        self.asked: Question | None = None
        self._views_asked: Future | None = None
        self._stamps = StampWatch()
        self._problem: str | None = None
        self._planned_s: float | None = None
        self._client = self.create_client(Imagine, "foresight/imagine")
        subscribe(self, PoseStamped, "goal_pose", self.take_goal, output_qos(1))
        subscribe(self, Labels, "foresight/labels", self._on_labels, latched_qos())
        self._labels_of: str | None = None

        def publisher(kind: type, name: str) -> Any:
            return advertise(self, kind, f"foresight/{name}", output_qos())

        self._markers = publisher(MarkerArray, CANDIDATES.name)
        self._path = publisher(Path, BEST_PATH.name)
        self._imagined = publisher(Image, IMAGINED_DRAWN.name)
        self.parameters.on_change(self._on_parameters)
        self._diagnostics = advertise(self, DiagnosticArray, "/diagnostics", output_qos())
        steady_timer(self, 1 / self.parameters["rate_hz"], self.plan)
        steady_timer(self, self.parameters["diagnostics_period_s"], self._diagnose)
        warn_of_unused_overrides(self)

    # In

    def take_goal(self, message: PoseStamped) -> None:
        """Plan towards a goal from now on; say why where it cannot be taken."""
        try:
            self.goal = standing_goal(message, self.motion, self.parameters["base_frame"])
        except InputError as error:
            self.get_logger().warning(f"goal not taken: {error}")
            return
        self.is_at_goal = False

    def _on_parameters(self, names: frozenset[str]) -> None:
        if "heading_deg" in names:
            self.is_at_goal = False

    def _on_labels(self, message: Labels) -> None:
        try:
            self.palette = read_palette(message)
        except InputError as error:
            self.get_logger().warning(f"labels not taken: {error}")

    def find_labels(self) -> None:
        """Where forecast_node has several cameras, its labels are those of any of them."""
        if self.palette is not None or self._labels_of is not None:
            return
        folder = self.resolve_topic_name("foresight")
        for source in find_sources(self):
            if source.name and source.shared_folder == folder:
                self._labels_of = source.name
                topic = f"{source.folder}/labels"
                subscribe(self, Labels, topic, self._on_labels, latched_qos())
                return

    # Planning

    def plan(self) -> None:
        """Begin a plan, unless one is under way."""
        if self.is_at_goal:
            self._give_up()
            self._stand()
            return
        is_offered = self._client.service_is_ready()
        if self.asked is not None:
            if is_offered and time.monotonic() - self.asked.began_s < ANSWER_TIMEOUT_S:
                return
            self._give_up()
            if is_offered:
                self._say(f"no answer in {ANSWER_TIMEOUT_S:g} s; asking again")
        if not is_offered:
            topic = self.resolve_service_name("foresight/imagine")
            self._say(f"nobody offers {topic}; start forecast_node")
            return
        try:
            limits = self._limits()
            self._ask(self._fan(limits), limits, 1)
        except ForesightError as error:
            self._say(describe(error))

    def _give_up(self) -> None:
        """Wait for the plan that is under way no longer; an answer that comes late is not heard."""
        asked, self.asked = self.asked, None
        if asked is not None:
            self._client.remove_pending_request(asked.answer)

    def _limits(self) -> ArcLimits:
        names = ("max_speed_mps", "max_yaw_rate_rps", "max_lateral_acceleration_mps2",
                 "min_turning_radius_m")  # fmt: skip
        return ArcLimits(*(self.parameters[name] for name in names))

    def _fan(self, limits: ArcLimits) -> Arcs:
        can_turn_on_spot = limits.min_turning_radius_m == 0
        return fan(self.parameters["candidates"], limits, can_turn_on_spot)

    def _ask(self, arcs: Arcs, limits: ArcLimits, number: int) -> None:
        """Have a round assessed."""

        def assessed(future: Future) -> None:
            if self.asked is None or self.asked.answer is not future:
                return  # given up
            self.asked = None
            try:
                found = self._assessed(arcs, future.result())
                if number < self.parameters["rounds"]:
                    after = refine(arcs, found.totals, limits, self._random)
                    self._ask(after, limits, number + 1)
                else:
                    self._publish(found)
            except ForesightError as error:
                self._say(describe(error))

        answer = self._client.call_async(self._request(arcs))
        self.asked = Question(answer, time.monotonic())
        answer.add_done_callback(assessed)

    def _assessed(self, arcs: Arcs, response: Imagine.Response | None) -> _Round:
        """A round by the answer to it.

        Raises:
            InputError: there is none, of a picture of now.
        """
        if response is None or not response.success:
            text = "no answer" if response is None else response.message
            raise InputError(f"no plan: {text}")
        stamp_ns, now_ns = time_to_ns(response.header.stamp), self.get_clock().now().nanoseconds
        age_s = self._stamps.age_s(stamp_ns, now_ns)
        if age_s > self.parameters["stream_timeout_s"]:
            raise InputError(
                f"no plan: the newest picture has been the same for {age_s:.1f} s; does the camera "
                "still run?"
            )
        return _Round(arcs, self._totals(response), response)

    def _request(self, arcs: Arcs, maps: bool = False) -> Imagine.Request:
        horizons_s = [float(h) for h in self.parameters["horizons_s"]]
        hold_s = max(horizons_s, default=1e3)
        return Imagine.Request(
            candidates=[
                Candidate(
                    twist=Twist(linear=Vector3(x=float(v)), angular=Vector3(z=float(w))),
                    duration=hold_s,
                )
                for v, w in arcs
            ],
            horizons=horizons_s,
            maps=maps,
        )

    def _totals(self, response: Imagine.Response) -> NDArray[np.float64]:
        """What forecast_node says, with the distance to the goal in place of that along the arc."""
        weight = float(response.weights[3])
        own = np.array([score.total - weight * score.cost_progress for score in response.scores])
        found: NDArray[np.float64] = own + self.parameters["progress_weight"] * self._goal_costs(
            response
        )
        return found

    def _goal_costs(self, response: Imagine.Response) -> NDArray[np.float64]:
        """What candidates cost (K,) by where they lead: to the goal, the picture or the heading."""
        goal = self._goal_in_base(response)
        if goal is None and response.goal_picture:
            return np.array([score.cost_progress for score in response.scores])
        ends = [planar_pose(score.horizons[-1].pose) for score in response.scores]
        if goal is None:
            return heading_costs(ends, np.radians(self.parameters["heading_deg"]))
        return goal_costs(ends, goal)

    def _goal_in_base(self, response: Imagine.Response) -> NDArray[np.float64] | None:
        """The goal (3,) in the base frame of the newest frame; None without one."""
        if self.goal is None:
            return None
        frame = frame_name(self.goal.header.frame_id)
        start = self.motion.start_in(frame, time_to_ns(response.header.stamp))
        return np.asarray(compose(inverse(start), planar_pose(self.goal.pose)))

    # Out

    def _publish(self, found: _Round) -> None:
        response, ranking = found.response, found.ranking
        best = ranking[0]
        goal = self._goal_in_base(response)
        if goal is not None and np.hypot(*goal[:2]) <= self.parameters["goal_tolerance_m"]:
            self.goal, self.is_at_goal, self._problem = None, True, None
            self.get_logger().info("the goal is reached; standing until another one comes")
            self._stand()
            return
        self._planned_s = time.monotonic()
        scores = _with_reasons(found)
        lifetime_s = _LIFETIME_PERIODS / self.parameters["rate_hz"]
        self._markers.publish(
            candidate_markers(response.header, found.arcs, scores, ranking, lifetime_s)
        )
        self._path.publish(_path(scores[best], response))
        self.get_logger().info(
            describe_plan(found.arcs[best], scores, ranking), throttle_duration_sec=LOG_PERIOD_S
        )
        if goal is not None and _stands(scores[best]):
            why = f", the next best: {scores[ranking[1]].reason}" if len(ranking) > 1 else ""
            self._say(f"standing is best, {np.hypot(*goal[:2]):.1f} m before the goal{why}")
        else:
            self._problem = None
        if not self._imagined.get_subscription_count():
            return
        self.find_labels()
        if self.palette is not None:
            self._ask_for_views(found)

    def _stand(self) -> None:
        """Tell whoever follows the path to stay where the robot is."""
        header = Header(
            stamp=self.get_clock().now().to_msg(), frame_id=self.parameters["base_frame"]
        )
        path = Path(header=header, poses=[PoseStamped(header=header)])
        path.poses[0].pose.orientation.w = 1.0
        self._path.publish(path)

    def _ask_for_views(self, found: _Round) -> None:
        """Have the views of the best and of the worst candidate imagined, and draw them."""
        shown = [found.ranking[0], found.ranking[-1]]
        words = [_with_reasons(found)[index].reason for index in shown]

        def given(future: Future) -> None:
            response, palette = future.result(), self.palette
            if response is None or not response.success or palette is None:
                return
            try:
                picture = draw_imagined(response, found.arcs[shown], words, palette)
            except ForesightError as error:
                self._say(f"no imagined views: {describe(error)}")
                return
            self._imagined.publish(image_to_msg(picture, "rgb8", response.header))

        if self._views_asked is not None and not self._views_asked.done():
            self._client.remove_pending_request(self._views_asked)
        request = self._request(found.arcs[shown], maps=True)
        self._views_asked = self._client.call_async(request)
        self._views_asked.add_done_callback(given)

    def _diagnose(self) -> None:
        self._diagnostics.publish(self.status())

    def status(self) -> DiagnosticArray:
        """What the node says of itself on /diagnostics."""
        level, text = DiagnosticStatus.OK, "planning"
        if self._problem is not None:
            level, text = DiagnosticStatus.WARN, self._problem
        elif self.is_at_goal:
            text = "standing at the goal that was reached"
        values: dict[str, object] = {"goal": "none"}
        if self.goal is not None:
            x, y, _ = planar_pose(self.goal.pose)
            values["goal"] = f"{x:.2f}, {y:.2f} m in {self.goal.header.frame_id}"
        if self._planned_s is not None:
            values["plan_age_s"] = time.monotonic() - self._planned_s
        header = Header(stamp=self.get_clock().now().to_msg())
        name = self.get_fully_qualified_name().lstrip("/")
        return build_diagnostics(name, "", level, text, values, header)

    def _say(self, problem: str) -> None:
        """Warn of what keeps the node from planning, once, whatever the numbers in it are then."""
        before, self._problem = self._problem, problem
        if before is None or _kind(problem) != _kind(before):
            self.get_logger().warning(problem)


def _kind(problem: str) -> str:
    """A problem without the numbers in it."""
    return "".join(letter for letter in problem if not letter.isdigit())


def _with_reasons(found: _Round) -> list[CandidateScore]:
    """The scores, of which those that lost by the goal alone say so."""
    best = found.response.scores[found.ranking[0]]
    for score in found.response.scores:
        if score.index == best.index:
            score.reason = ""
        elif not score.reason or "progress" in score.reason:
            score.reason = "leads less far to the goal"
        score.total = float(found.totals[score.index])
    return list(found.response.scores)


def _stands(score: CandidateScore) -> bool:
    """Whether the robot stays where it is, but for what the search draws around standing."""
    x, y, yaw = planar_pose(score.horizons[-1].pose)
    return bool(np.hypot(x, y) < _STANDS_M and abs(yaw) < _STANDS_RAD)


def _path(score: CandidateScore, response: Imagine.Response) -> Path:
    """The candidate's poses at its horizons, the present one first."""
    header, stamp_ns = response.header, time_to_ns(response.header.stamp)
    path = Path(header=header, poses=[PoseStamped(header=header)])
    path.poses[0].pose.orientation.w = 1.0
    for horizon in score.horizons:
        pose = PoseStamped(header=header, pose=horizon.pose)
        at_ns = stamp_ns + round(horizon.horizon * NS_PER_S)
        pose.header = type(header)(stamp=ns_to_time(at_ns), frame_id=header.frame_id)
        path.poses.append(pose)
    return path


def main(args: Sequence[str] | None = None) -> int:
    """Run the node; returns the process's exit code."""
    summary = "Ranks arcs to a goal by what the robot would meet on them; it commands nothing."
    return run_node(PlanNode, args, usage(NODE_NAME, summary, PLAN_PARAMETERS))


if __name__ == "__main__":
    sys.exit(main())
