"""Node parameters, each declared once: type, default, description, limits, when it may change."""

from __future__ import annotations

import difflib
import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.ros.node_main import arguments_of_run
from dino_foresight_ros.ros.parameter_files import unused_files
from dino_foresight_ros.topic_names import CAMERA_FIELD

# Declared by rclpy itself, or read by it before the node does.
_RCLPY_PARAMETERS = ("use_sim_time", "start_type_description_service", "qos_overrides.")
# Linux' limits, in bytes.
_MAX_PATH = 4096
_MAX_NAME = 255


_TYPE_NAMES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}
_LISTS = {
    str: ("a list of texts", Parameter.Type.STRING_ARRAY),
    float: ("a list of numbers", Parameter.Type.DOUBLE_ARRAY),
}


class Change(Enum):
    """When a parameter may change after the start."""

    ANY_TIME = "at any time"
    UNCONFIGURED = "only while the node is unconfigured (clean it up first)"
    NEVER = "only at start"


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter.

    Attributes:
        name: as on the command line.
        default: its type is the parameter's type.
        description: one sentence, with the unit.
        change: when it may change.
        limits: lowest and highest valid number.
        choices: the only valid strings, also for each string of an array.
        check: returns why a value is not valid, or None.
        element: type of the elements of a list.
        formerly: a name that it had; refused where it is given.
    """

    name: str
    default: bool | int | float | str | list[str] | list[float]
    description: str
    change: Change = Change.UNCONFIGURED
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] | None = None
    check: Callable[[Any], str | None] | None = None
    element: type = str
    formerly: str = ""

    def problem(self, value: Any) -> str | None:
        """Why a value is not valid, naming the valid ones; None for a valid one."""
        if type(value) is type(self.default) and (
            not isinstance(value, list) or all(type(item) is self.element for item in value)
        ):
            return self._value_problem(value)
        kind = type(self.default)
        name = _LISTS[self.element][0] if kind is list else _TYPE_NAMES[kind]
        return f"parameter {self.name}: {value!r} is not {name}"

    def _value_problem(self, value: Any) -> str | None:
        if self.choices is not None:
            values = [value] if isinstance(value, str) else list(value)
            unknown = [repr(v) for v in values if v not in self.choices]
            if unknown:
                return (
                    f"parameter {self.name}: {', '.join(unknown)} is unknown; "
                    f"valid: {', '.join(self.choices)}"
                )
        if self.limits is not None and not self.limits[0] <= value <= self.limits[1]:
            low, high = self.limits
            return f"parameter {self.name}: {value} is out of range; valid: {low:g} to {high:g}"
        reason = self.check(value) if self.check is not None else None
        return None if reason is None else f"parameter {self.name}: {reason}"

    @property
    def type(self) -> Parameter.Type:
        """ROS's type of the parameter; it takes every empty list for one of bytes."""
        if isinstance(self.default, list):
            return _LISTS[self.element][1]
        return Parameter.Type.from_parameter_value(self.default)

    def of_type(self, value: Any) -> Parameter:
        """A value as rclpy takes it: whole numbers for any number, and lists without elements."""
        if isinstance(self.default, float) and type(value) is int:
            return Parameter(self.name, value=float(value))
        is_empty = value is None or (isinstance(value, Sequence | array) and len(value) == 0)
        if isinstance(self.default, list) and is_empty and value != "":
            return Parameter(self.name, self.type, [])
        if isinstance(self.default, list) and isinstance(value, list | array):
            is_numbers = all(type(item) in (int, float) for item in value)
            if self.element is float and is_numbers:
                return Parameter(self.name, self.type, [float(item) for item in value])
        return Parameter(self.name, value=value)

    def descriptor(self) -> ParameterDescriptor:
        """What `ros2 param describe` shows."""
        constraints = [f"May change {self.change.value}."]
        if self.choices is not None:
            constraints.append(f"Valid: {', '.join(self.choices)}.")
        descriptor = ParameterDescriptor(
            name=self.name,
            type=self.type.value,
            description=self.description,
            additional_constraints=" ".join(constraints),
            read_only=self.change is Change.NEVER,
        )
        if self.limits is not None and isinstance(self.default, int):
            low, high = (int(limit) for limit in self.limits)
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        elif self.limits is not None:
            low_f, high_f = self.limits
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=low_f, to_value=high_f, step=0.0)
            ]
        return descriptor


def camera_names_problem(names: list[str]) -> str | None:
    """Why these cannot be the names of cameras, which topics begin with."""
    for name in names:
        if re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) is None or "__" in name:
            return (
                f"{name!r} cannot be part of a topic's name; valid: letters, digits and single "
                "underscores, a letter first, such as cam_front"
            )
    repeated = sorted({name for name in names if names.count(name) > 1})
    return f"{', '.join(repeated)} is named more than once" if repeated else None


def camera_topic_problem(template: str) -> str | None:
    """Why this cannot be the image topic of each of several cameras."""
    if CAMERA_FIELD not in template:
        return f"{template!r} lacks {CAMERA_FIELD}; valid: such as {CAMERA_FIELD}/image"
    topic = template.replace(CAMERA_FIELD, "camera")
    if re.fullmatch(r"(~/|/)?[A-Za-z]\w*(/[A-Za-z]\w*)*", topic, re.ASCII) and "__" not in topic:
        return None
    return f"{template!r} is no topic's name; valid: such as /cameras/{CAMERA_FIELD}/image"


DIAGNOSTICS_PERIOD = ParameterSpec(
    "diagnostics_period_s",
    1.0,
    "Seconds from one message on /diagnostics to the next; streams are looked after as often.",
    Change.NEVER,
    limits=(0.05, 60.0),
)
IMAGE_TRANSPORT = ParameterSpec(
    "image_transport",
    "raw",
    "What arrives on the image topic: raw (Image) or compressed (CompressedImage).",
    choices=("raw", "compressed"),
)
IMAGE_RELIABILITY = ParameterSpec(
    "image_reliability",
    "auto",
    "How images are subscribed to: auto (reliable while all publishers are), best_effort "
    "or reliable.",
    choices=("auto", "best_effort", "reliable"),
)


CAMERAS = ParameterSpec(
    "cameras",
    [],
    "Names of several cameras, forecast in one batch; the topics of each begin with its name, "
    "such as NAME/foresight/forecast. Empty: one camera, whose topics begin with none.",
    check=camera_names_problem,
)
CAMERA_TOPIC = ParameterSpec(
    "camera_topic",
    f"{CAMERA_FIELD}/image",
    f"Image topic of each of the cameras, with {CAMERA_FIELD} for its name; camera_info is beside "
    "it.",
    check=camera_topic_problem,
)


class Parameters:
    """The declared parameters of a node, checked whenever they are set."""

    def __init__(
        self,
        node: Node,
        specs: Sequence[ParameterSpec],
        may_reconfigure: Callable[[], bool],
        problem_together: Callable[[Mapping[str, Any]], str | None] = lambda values: None,
    ) -> None:
        """Declare all of them.

        Args:
            node: the node that has them.
            specs: what to declare.
            may_reconfigure: whether `Change.UNCONFIGURED` parameters may change now.
            problem_together: why values, each valid by itself, are not so together; None: they are.

        Raises:
            UsageError: a value from the command line or a file is not valid.
        """
        self._node = node
        self._specs = {spec.name: spec for spec in specs}
        self._may_reconfigure = may_reconfigure
        self._problem_together = problem_together
        for spec in specs:
            self._declare(spec)
        problem = problem_together(self.as_dict())
        if problem is not None:
            raise UsageError(problem)
        self._warn_of_unknown_names()
        for sentence in unused_files(arguments_of_run(), node.get_fully_qualified_name()):
            node.get_logger().warning(sentence)
        node.add_on_set_parameters_callback(self._on_set)
        self._refuse_before_rclpy()

    def on_change(self, callback: Callable[[frozenset[str]], None]) -> None:
        """Call back with the names, after one or more parameters were set together."""

        def changed(parameters: list[Parameter]) -> None:
            names = frozenset(p.name for p in parameters) & self._specs.keys()
            if names:
                callback(names)

        self._node.add_post_set_parameters_callback(changed)

    def __getitem__(self, name: str) -> Any:
        """The parameter's value now; a list where it has several elements."""
        value = self._node.get_parameter(name).value
        return list(value) if isinstance(value, array) else value

    def as_dict(self) -> Mapping[str, Any]:
        """Every parameter's value now."""
        return {name: self[name] for name in self._specs}

    def _declare(self, spec: ParameterSpec) -> None:
        # Free of type and limits at first: rclpy's own refusal does not say what is valid.
        self._node.declare_parameter(
            spec.name, spec.default, ParameterDescriptor(dynamic_typing=True)
        )
        # A list without elements has no type on the command line or in a file: rclpy gives None.
        self._node.set_parameters([spec.of_type(self[spec.name])])
        problem = spec.problem(self[spec.name])
        if problem is not None:
            raise UsageError(problem)
        self._node.set_descriptor(spec.name, spec.descriptor())

    def _warn_of_unknown_names(self) -> None:
        # Only warned of: a parameter file for "/**" may hold those of other nodes.
        given = getattr(self._node, "_parameter_overrides", {})
        for spec in self._specs.values():
            if spec.formerly in given:
                raise UsageError(f"parameter {spec.formerly} is now {spec.name}")
        for name in given:
            if name in self._specs or name.startswith(_RCLPY_PARAMETERS):
                continue
            self._node.get_logger().warning(
                f"parameter {name} is unknown and ignored; {self._hint(name)}"
            )

    def _refuse_before_rclpy(self) -> None:
        """Have clients' wishes checked here first: rclpy's refusals do not say what is valid."""
        node, set_by_rclpy = self._node, self._node.set_parameters_atomically

        def set_atomically(parameters: list[Parameter]) -> SetParametersResult:
            parameters = [self._of_type(parameter) for parameter in parameters]
            reason = self._refusal(parameters)
            if reason is not None:
                return SetParametersResult(successful=False, reason=reason)
            return set_by_rclpy(parameters)

        # Services call this method of the node; there is no callback that comes early enough.
        setattr(node, "set_parameters_atomically", set_atomically)  # noqa: B010

    def _of_type(self, parameter: Parameter) -> Parameter:
        spec = self._specs.get(parameter.name)
        return parameter if spec is None else spec.of_type(parameter.value)

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        # Those that are being declared, rclpy's own among them, come here as well.
        reason = self._refusal([p for p in parameters if p.name in self._specs])
        return SetParametersResult(successful=reason is None, reason=reason or "")

    def _refusal(self, parameters: list[Parameter]) -> str | None:
        """Why these may not be set together, None where they may."""
        for parameter in parameters:
            spec = self._specs.get(parameter.name)
            if spec is None:
                if self._node.has_parameter(parameter.name):  # rclpy's own
                    continue
                return f"parameter {parameter.name} is unknown; {self._hint(parameter.name)}"
            reason = spec.problem(parameter.value)
            if reason is None and parameter.value != self[spec.name]:
                reason = self._too_late(spec)
            if reason is not None:
                return reason
        new = {one.name: one.value for one in parameters if one.name in self._specs}
        return self._problem_together({**self.as_dict(), **new})

    def _too_late(self, spec: ParameterSpec) -> str | None:
        if spec.change is Change.NEVER:
            return f"parameter {spec.name} may change {spec.change.value}: it needs a restart"
        if spec.change is Change.UNCONFIGURED and not self._may_reconfigure():
            return f"parameter {spec.name} may change {spec.change.value}"
        return None

    def _hint(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._specs, n=1)
        return f"did you mean {near[0]}?" if near else f"valid: {', '.join(self._specs)}"


def usage(program: str, summary: str, specs: Sequence[ParameterSpec]) -> str:
    """What --help prints: every parameter with its default and meaning."""
    lines = [
        f"usage: {program} --ros-args [-p NAME:=VALUE] [--params-file FILE] [-r FROM:=TO] ...",
        "",
        summary,
        "",
        "parameters:",
    ]
    for spec in specs:
        lines.append(f"  {spec.name} (default {spec.default})")
        lines.append(f"      {spec.description}")
    return "\n".join(lines)


def path_problem(path: str) -> str | None:
    """Why no file can have a path that somebody set; None where one can, if it exists or not."""
    shown = repr(path if len(path) <= 80 else f"{path[:80]}...")
    if not path.strip():
        return "is empty; give a path"
    if not path.isprintable():
        return f"{shown} holds a control character; give a path"
    names = path.encode(errors="replace").split(b"/")
    if sum(len(name) + 1 for name in names) > _MAX_PATH or max(map(len, names)) > _MAX_NAME:
        return f"{shown} is longer than a path can be"
    try:
        Path(path).expanduser()
    except RuntimeError:
        return f"{shown}: there is no such home folder; write the whole path"
    return None
