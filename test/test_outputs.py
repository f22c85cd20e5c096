"""The table of outputs: it fits the messages, and answers who has which outputs and topics."""

from __future__ import annotations

import pickle
from dataclasses import fields

import pytest

from dino_foresight_ros.outputs import (
    HEAD_OF,
    HEADS,
    IMAGES,
    OUTPUTS,
    SPREAD,
    DropReason,
    outputs_of_heads,
    outputs_of_step_0,
    step_topics,
)
from dino_foresight_ros.scene import Scene


def test_every_topic_names_the_output_it_stands_with() -> None:
    topics = [topic for output in OUTPUTS for topic in output.topics]
    assert all(t.output == output.name for output in OUTPUTS for t in output.topics)
    assert len({topic.name for topic in topics}) == len(topics)


def test_images_are_what_heads_give_and_the_spread_of_futures() -> None:
    assert {*HEAD_OF, SPREAD} == {output.name for output in IMAGES}
    assert {*HEADS, None} == {output.head for output in IMAGES}


def test_a_head_gives_all_of_its_outputs() -> None:
    assert outputs_of_heads(["segmentation", "depth"]) == {"segmentation", "confidence", "depth"}
    assert outputs_of_heads([]) == set()


def test_step_0_lacks_what_reads_the_forecasters_layers() -> None:
    names = {"segmentation", "confidence", "depth", "features"}
    assert outputs_of_step_0({*names, SPREAD}, []) == names
    assert outputs_of_step_0(names, ["segmentation"]) == {"depth", "features"}


@pytest.mark.parametrize(("is_metric", "depth"), [(True, "depth"), (False, "depth_relative")])
def test_depth_goes_to_the_topic_of_its_kind(is_metric: bool, depth: str) -> None:
    names = [topic.name for topic in step_topics(["depth", "segmentation"], is_metric)]
    assert names == ["segmentation", "segmentation_color", depth]


def test_message_fields_are_images_of_a_forecast_step() -> None:
    messages = pytest.importorskip("dino_foresight_ros.msg")
    kinds = messages.ForecastStep.get_fields_and_field_types()
    named = [output.message_field for output in OUTPUTS if output.message_field]
    assert {kinds[name] for name in named} == {"sensor_msgs/Image"}


def test_a_scene_has_a_field_for_every_output() -> None:
    assert {output.name for output in OUTPUTS} < {field.name for field in fields(Scene)}


def test_every_head_has_a_task() -> None:
    tasks = pytest.importorskip("dino_foresight_ros.model.tasks")
    assert [tasks.task_class(head).name for head in HEADS] == list(HEADS)


def test_encodings_hold_the_values() -> None:
    np = pytest.importorskip("numpy")
    header = pytest.importorskip("std_msgs.msg").Header()
    from dino_foresight_ros.ros.images import image_to_msg

    for output in IMAGES:
        shape = (2, 3) if output.channels == 1 else (2, 3, output.channels)
        values = np.arange(np.prod(shape)).reshape(shape).astype(output.dtype)
        message = image_to_msg(values, output.encoding, header)
        assert bytes(message.data) == values.tobytes(), output.name
        assert message.step == values.strides[0], output.name


def test_a_drop_reason_is_its_text() -> None:
    assert f"dropped.{DropReason.BAD_IMAGE}" == "dropped.bad_image"
    assert str(DropReason("reset")) == "reset"
    assert {"reset": 1}[DropReason.RESET] == 1
    assert pickle.loads(pickle.dumps(DropReason.RESET)) is DropReason.RESET
