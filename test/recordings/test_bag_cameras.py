from __future__ import annotations

from pathlib import Path

import pytest

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.bag_cameras import choose_cameras, split_topics
from dino_foresight_ros.recordings.bag_reader import BagTopic
from dino_foresight_ros.recordings.bag_topics import COMPRESSED_TYPE, RAW_TYPE

BAG = Path("drive")


def topics(*names: str, raw: tuple[str, ...] = ()) -> dict[str, BagTopic]:
    found = {name: BagTopic(name, COMPRESSED_TYPE, 3, ()) for name in names}
    found |= {name: BagTopic(name, RAW_TYPE, 3, ()) for name in raw}
    found["/odom"] = BagTopic("/odom", "nav_msgs/msg/Odometry", 9, ())
    return found


NUSCENES = topics(*(f"/cam_{side}/image_rect/compressed" for side in ("front", "back", "left")))


def names(*topics: str) -> dict[str, str]:
    return {topic: name for topic, (name, _) in split_topics(topics).items()}


@pytest.mark.parametrize(
    ("topic", "parts"),
    [
        ("/cam_front/image_rect/compressed", ("cam_front", "/{camera}/image_rect/compressed")),
        ("/cam_front/image_rect_compressed", ("cam_front", "/{camera}/image_rect_compressed")),
        ("/stereo/left/image_raw", ("left", "/stereo/{camera}/image_raw")),
        ("/image_raw", None),
        ("/image_raw/compressed", None),
        ("/camera", None),
    ],
)
def test_a_camera_alone_is_the_folder_of_its_images(
    topic: str, parts: tuple[str, str] | None
) -> None:
    assert split_topics([topic]).get(topic) == parts


@pytest.mark.parametrize("end", ["", "/compressed"])
def test_a_camera_s_name_is_the_part_in_which_topics_differ(end: str) -> None:
    realsense = [f"/cam_{side}/camera/color/image_raw{end}" for side in ("left", "right")]
    assert names(*realsense) == dict(zip(realsense, ("cam_left", "cam_right"), strict=True))
    assert split_topics(realsense)[realsense[0]][1] == f"/{{camera}}/camera/color/image_raw{end}"
    # One more picture of one of them changes nothing of that.
    assert (
        names(*realsense, "/cam_left/camera/fisheye/image_raw").items() > names(*realsense).items()
    )
    zed = [f"/robot/zed/zed_node/{side}/image_rect_color{end}" for side in ("left", "right", "rgb")]
    assert list(names(*zed).values()) == ["left", "right", "rgb"]
    assert names("/a/image_raw", "/a/image_rect") == {"/a/image_raw": "a", "/a/image_rect": "a"}


def test_all_takes_every_camera_but_depth_and_infrared_and_says_so() -> None:
    colour = [f"/cam_{side}/camera/color/image_raw" for side in ("left", "right")]
    more = ["/cam_left/camera/depth/image_rect_raw", "/cam_left/camera/infra1/image_rect_raw"]
    others = dict(zip(more, ("16UC1", "infra"), strict=True))
    known = topics(raw=(*colour, *more, "/cam_left/camera/fisheye/image_raw"))
    chosen = choose_cameras(BAG, known, ["all"], no_pictures=others)
    assert chosen.names == ("cam_left", "cam_right")
    assert [topic.name for topic in chosen.topics.values()] == colour
    assert chosen.left_out == (
        "/cam_left/camera/depth/image_rect_raw (16UC1)",
        "/cam_left/camera/fisheye/image_raw (not named like /{camera}/camera/color/image_raw)",
        "/cam_left/camera/infra1/image_rect_raw (infra)",
    )
    # By a template that fits one camera the other is left out, and that is said.
    one = choose_cameras(
        BAG, known, ["all"], "/cam_left/camera/{camera}/image_raw", "topic", others
    )
    assert one.names == ("color", "fisheye")
    assert any(text.startswith(colour[1]) for text in one.left_out)
    # Who asks for infrared by name gets it.
    pair = topics(raw=("/cam/infra1/image_raw", "/cam/infra2/image_raw", "/cam/color/image_raw"))
    infra = dict.fromkeys(list(pair)[:2], "infra")
    named = choose_cameras(BAG, pair, ["infra1", "infra2"], no_pictures=infra)
    assert (named.names, named.left_out) == (("infra1", "infra2"), ())
    assert choose_cameras(BAG, pair, ["all"], no_pictures=infra).names == ("color",)


def test_cameras_come_in_the_order_asked_for_in_upper_or_lower_case() -> None:
    chosen = choose_cameras(BAG, NUSCENES, ["CAM_LEFT", "cam_front"])
    assert chosen.names == ("cam_left", "cam_front")
    assert chosen.template == "/{camera}/image_rect/compressed"
    assert chosen.compressed
    assert [t.name for t in chosen.topics.values()] == [
        chosen.template.replace("{camera}", name) for name in chosen.names
    ]


def test_the_word_all_takes_every_camera() -> None:
    assert set(choose_cameras(BAG, NUSCENES, ["all"]).names) == {
        "cam_front", "cam_back", "cam_left",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("known", "wanted", "template", "message"),
    [
        (NUSCENES, ["cam_top"], None, "no camera cam_top; its cameras: cam_back, cam_front, cam_l"),
        (NUSCENES, ["cam_left", "CAM_LEFT"], None, "cam_left is named more than once"),
        (topics("/image/compressed"), ["left"], None, "no cameras; its image topics: /image/compr"),
        (topics(), ["left"], None, "no cameras; its image topics: none"),
        (
            topics(raw=("/left/image_raw", "/right/image_color")),
            ["left", "right"],
            None,
            r"are not named alike \(/left/image_raw, /right/image_color\)",
        ),
        (
            topics("/a/image_raw/compressed", raw=("/a/image_raw",)),
            ["a"],
            None,
            r"several for each .* topic /\{camera\}/image_raw",
        ),
        (NUSCENES, ["cam_left"], "/{camera}/image_raw", r"no cameras named like /\{camera\}/image"),
        (
            topics("/left/image_raw", raw=("/right/image_raw",)),
            ["left", "right"],
            None,
            "choose one kind",
        ),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    known: dict[str, BagTopic], wanted: list[str], template: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        choose_cameras(BAG, known, wanted, template)
    assert len(str(caught.value).splitlines()) == 1


def test_a_template_chooses_among_the_topics_of_a_camera() -> None:
    known = topics(
        "/a/image_raw/compressed", "/b/image_raw/compressed", raw=("/a/image_raw", "/b/image_raw")
    )
    chosen = choose_cameras(BAG, known, ["all"], "/{camera}/image_raw")
    assert chosen.names == ("a", "b")
    assert not chosen.compressed
    nested = topics("/a/rig/a_image", "/b/rig/c_image")
    assert choose_cameras(BAG, nested, ["all"], "/{camera}/rig/{camera}_image").names == ("a",)
