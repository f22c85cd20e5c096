"""Parameters: declared as the table says, and checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_bench import Bench

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.nodes.forecast.parameters import FORECAST_PARAMETERS, parse_output_size
from dino_foresight_ros.ros.parameters import Change, Parameters, ParameterSpec, usage


class Maker(Bench):
    def __init__(self) -> None:
        super().__init__()
        self.configured = False

    def __call__(self, *overrides: tuple[str, Any]) -> tuple[Node, Parameters]:
        values = [Parameter(name, value=value) for name, value in overrides]
        node = self.make("node", parameter_overrides=values)
        return node, Parameters(node, FORECAST_PARAMETERS, lambda: not self.configured)


@pytest.fixture
def make(ros_domain: dict[str, str]) -> Iterator[Maker]:
    maker = Maker()
    yield maker
    maker.close()


def test_every_parameter_is_described_with_type_and_limits(make: Maker) -> None:
    node, parameters = make()
    for spec in FORECAST_PARAMETERS:
        descriptor = node.describe_parameter(spec.name)
        assert descriptor.description.endswith(".")
        # ROS sees no type in a list without elements.
        example = [spec.element("1")] if isinstance(spec.default, list) else spec.default
        assert descriptor.type == Parameter.Type.from_parameter_value(example).value
        assert parameters[spec.name] == spec.default
    assert node.describe_parameter("steps").integer_range[0].to_value == 16
    assert node.describe_parameter("stream_timeout_s").floating_point_range[0].from_value > 0
    assert node.describe_parameter("autostart").read_only
    assert "bfloat16" in node.describe_parameter("dtype").additional_constraints


def test_a_list_of_numbers_takes_whole_ones_and_none(make: Maker) -> None:
    node, parameters = make(("horizons_s", [1, 2]))
    assert parameters["horizons_s"] == [1.0, 2.0]
    node.set_parameters_atomically([Parameter("horizons_s", value=[])])
    assert parameters["horizons_s"] == []
    node.set_parameters_atomically([Parameter("horizons_s", value=[0.25])])
    assert parameters["horizons_s"] == [0.25]
    result = node.set_parameters_atomically([Parameter("horizons_s", value=["soon"])])
    assert "['soon'] is not a list of numbers" in result.reason


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("steps", 0, "0 is out of range; valid: 1 to 16"),
        ("horizons_s", [0.2, 0.2], "horizons 0.2, 0.2 s must rise, without repetition"),
        ("horizons_s", [-0.1], "horizons -0.1 s are not all from 0 to 10 s"),
        ("horizons_s", [10.5], "horizons 10.5 s are not all from 0 to 10 s"),
        ("horizon_from", "then", "'then' is unknown; valid: frame, now"),
        ("samples", 65, "65 is out of range; valid: 1 to 64"),
        ("context_frames", 1, "1 frame shows no motion; valid: 0, 2 to 16"),
        ("steps", 3.0, "3.0 is not a whole number"),
        ("steps", True, "True is not a whole number"),
        ("bundle", 7, "7 is not a text"),
        ("autostart", "yes", "'yes' is not true or false"),
        ("outputs", ["depth", "flow"], "'flow' is unknown; valid: segmentation"),
        ("dtype", "int8", "'int8' is unknown; valid: auto, float32"),
        ("device", "cuda:x", "'cuda:x' is unknown; valid: auto, cpu, cuda, cuda:N"),
        ("output_size", "640", "valid: grid, input, WIDTHxHEIGHT"),
        ("stream_timeout_s", -1.0, "out of range; valid: 0.2 to 3600"),
        ("cameras", "left", "'left' is not a list of texts"),
        ("cameras", [""], "'' cannot be part of a topic's name; valid: letters, digits"),
        ("cameras", ["left", "2nd"], "'2nd' cannot be part of a topic's name"),
        ("cameras", ["cam front"], "'cam front' cannot be part"),
        ("cameras", ["cam/front"], "'cam/front' cannot be part"),
        ("cameras", ["a__b"], "'a__b' cannot be part"),
        ("cameras", ["caméra"], "'caméra' cannot be part"),
        ("cameras", ["a", "b", "a"], "a is named more than once"),
        ("camera_topic", "/camera/image", "'/camera/image' lacks {camera}; valid: such as"),
        ("camera_topic", "", "'' lacks {camera}"),
        ("camera_topic", "{camera}//image", "'{camera}//image' is no topic's name"),
        ("camera_topic", "{camera}/{image}", "'{camera}/{image}' is no topic's name"),
        ("camera_topic", "{camera}/image rect", "is no topic's name"),
        ("sync_tolerance_s", -0.1, "out of range; valid: 0 to 1"),
    ],
)
def test_wrong_value_is_refused_at_start_and_later(
    make: Maker, name: str, value: Any, reason: str
) -> None:
    with pytest.raises(UsageError) as caught:
        make((name, value))
    assert f"parameter {name}: " in str(caught.value)
    assert reason in str(caught.value)
    node, parameters = make()
    before = parameters[name]
    result = node.set_parameters([Parameter(name, value=value)])[0]
    assert not result.successful
    assert parameters[name] == before


@pytest.mark.parametrize("name", ["cameras", "outputs"])
def test_list_without_elements_is_a_list(make: Maker, tmp_path: Path, name: str) -> None:
    """ROS gives it no type: neither on the command line, nor in a file, nor from a client."""
    file = tmp_path / "p.yaml"
    file.write_text(f"/**:\n  ros__parameters:\n    {name}: []\n")
    for arguments in (["-p", f"{name}:=[]"], ["--params-file", str(file)]):
        node = make.make("listless", cli_args=["--ros-args", *arguments])
        parameters = Parameters(node, FORECAST_PARAMETERS, lambda: True)
        assert parameters[name] == []
    node, parameters = make((name, ["depth"]))
    assert parameters[name] == ["depth"]
    for kind in (Parameter.Type.STRING_ARRAY, Parameter.Type.BYTE_ARRAY, Parameter.Type.BOOL_ARRAY):
        assert node.set_parameters_atomically([Parameter(name, value=["normals"])]).successful
        assert node.set_parameters_atomically([Parameter(name, kind, [])]).successful
        assert parameters[name] == []


@pytest.mark.parametrize(
    "template", ["{camera}/image_rect/compressed", "/{camera}/i", "~/{camera}"]
)
def test_camera_topics_of_recordings_are_valid(make: Maker, template: str) -> None:
    _, parameters = make(("camera_topic", template), ("cameras", ["cam_front", "CAM_BACK2"]))
    assert parameters["camera_topic"] == template


def test_whole_number_serves_where_a_number_is_asked(make: Maker) -> None:
    _, parameters = make(("stream_timeout_s", 3))
    assert parameters["stream_timeout_s"] == 3.0


def test_change_is_possible_only_when_its_time_has_come(make: Maker) -> None:
    node, parameters = make()

    def change(name: str, value: Any) -> Any:
        return node.set_parameters([Parameter(name, value=value)])[0]

    assert change("bundle", "elsewhere").successful
    assert not change("autostart", False).successful
    make.configured = True
    refused = change("bundle", "third")
    assert not refused.successful
    assert "while the node is unconfigured" in refused.reason
    assert change("bundle", "elsewhere").successful  # the value that it has
    assert change("stream_timeout_s", 9.0).successful
    assert parameters["bundle"] == "elsewhere"
    assert parameters["stream_timeout_s"] == 9.0


def test_unknown_name_is_warned_of_with_the_nearest(make: Maker, capfd: Any) -> None:
    make(("bundel", "x"))
    assert "parameter bundel is unknown and ignored; did you mean bundle?" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "size"),
    [("grid", None), ("input", "input"), ("640x360", (360, 640)), ("8192x1", (1, 8192))],
)
def test_output_size_is_read_as_width_by_height(text: str, size: Any) -> None:
    assert parse_output_size(text) == size


@pytest.mark.parametrize("text", ["WxH", "0x5", "640x", "640x360x3", "9000x10", "-1x5", "6 x 5"])
def test_other_output_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        parse_output_size(text)


def test_usage_lists_every_parameter() -> None:
    text = usage("forecast_node", "Summary.", [*FORECAST_PARAMETERS, ParameterSpec("x", 1, "X.")])
    for spec in FORECAST_PARAMETERS:
        assert f"  {spec.name} (default {spec.default})" in text
        assert spec.description in text


def test_others_may_be_declared_later(make: Maker) -> None:
    node, _ = make()
    node.declare_parameter("qos_overrides./image.subscription.depth", 3)
    assert node.get_parameter("qos_overrides./image.subscription.depth").value == 3


def set_by_client(node: Node, **values: Any) -> Any:
    """As the parameter services do it."""
    return node.set_parameters_atomically([Parameter(n, value=v) for n, v in values.items()])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"step": 3}, "parameter step is unknown; did you mean steps?"),
        ({"zzz": 3}, "parameter zzz is unknown; valid: bundle, "),
        ({"steps": 17}, "17 is out of range; valid: 1 to 16"),
        ({"steps": None}, "None is not a whole number"),
        ({"autostart": False}, "may change only at start: it needs a restart"),
    ],
)
def test_client_is_told_what_is_valid(make: Maker, values: dict[str, Any], reason: str) -> None:
    node, _ = make()
    result = set_by_client(node, **values)
    assert not result.successful
    assert reason in result.reason


def test_values_set_together_are_all_taken_or_none(make: Maker) -> None:
    node, parameters = make()
    changes: list[set[str]] = []
    parameters.on_change(lambda names: changes.append(set(names)))
    assert not set_by_client(node, steps=5, max_rate_hz=-1.0).successful
    assert parameters["steps"] == 3
    assert changes == []
    assert set_by_client(node, steps=5, max_rate_hz=4).successful  # a whole number serves
    assert (parameters["steps"], parameters["max_rate_hz"]) == (5, 4.0)
    assert changes == [{"steps", "max_rate_hz"}]
    assert set_by_client(node, use_sim_time=False).successful
    assert len(changes) == 1


def test_values_that_do_not_go_together_are_refused_at_start_and_later(make: Maker) -> None:
    specs = [
        ParameterSpec(n, v, "A number.", Change.ANY_TIME) for n, v in (("low", 1), ("high", 2))
    ]

    def problem(values: Mapping[str, Any]) -> str | None:
        return None if values["high"] > values["low"] else "parameter high: must be above low"

    node = make.make("other", parameter_overrides=[Parameter("low", value=3)])
    with pytest.raises(UsageError, match="high: must be above low"):
        Parameters(node, specs, lambda: False, problem)
    node = make.make("another")
    parameters = Parameters(node, specs, lambda: False, problem)
    result = node.set_parameters_atomically([Parameter("low", value=2)])
    assert (result.successful, result.reason) == (False, "parameter high: must be above low")
    both = [Parameter("low", value=4), Parameter("high", value=5)]
    assert node.set_parameters_atomically(both).successful
    assert (parameters["low"], parameters["high"]) == (4, 5)
