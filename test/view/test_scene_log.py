"""What is shown can be read back from a recording, by rerun's own reader, as it was given."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from optional import NEEDS_RERUN
from rrd_files import Row, read_rrd

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.objects import ObjectPath
from dino_foresight_ros.render.colors import ClassPalette
from dino_foresight_ros.scene import Detection, Scene
from dino_foresight_ros.view.blueprint import ShownCamera
from dino_foresight_ros.view.rerun_stream import RerunStream
from dino_foresight_ros.view.scene_log import Intrinsics, SceneLog
from dino_foresight_ros.view.server import ViewerServer, free_port

pytestmark = NEEDS_RERUN

STAMP_NS = 1_700_000_000_123_456_789
SIZE = (36, 64)
K = np.array([[50.0, 0, 31.5], [0, 51.0, 17.5], [0, 0, 1]])
RNG = np.random.default_rng(3)
IDS = RNG.integers(0, 3, (9, 16)).astype(np.uint8)
DEPTH = RNG.uniform(1, 90, (9, 16)).astype(np.float32)
DEPTH[0, 3:7] = np.nan  # as of the sky
POINTS = RNG.normal(size=(20, 3)).astype(np.float32)
POINT_IDS = RNG.integers(0, 3, 20).astype(np.uint8)
PALETTE = ClassPalette(("road", "car", "sky"), ((128, 64, 128), (0, 0, 142), (70, 130, 180)))

CARS = Scene(
    0, step=2, segmentation=IDS, instances=np.zeros((9, 16), np.uint16),
    detections=(Detection(7, 1, 0.9, (2.0, 3.0, 4.0, 2.0), (3.5, 3.5)),
                Detection(8, 9, 0.8, (9.0, 3.0, 4.0, 2.0), (10.5, 3.5))),
)  # fmt: skip
WAY = ObjectPath(
    7, 1, 0.9, np.array([0.0, 0.2]), np.array([[1.0, 0, 9], [2, 0, 8]]), np.full(2, np.nan),
    np.zeros((2, 2)),
)  # fmt: skip

Entities = dict[str, list[Row]]


def ramp() -> np.ndarray:
    """(36, 64, 3) uint8, smooth: JPEG keeps it nearly as it is."""
    v, u = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    return np.stack([u * 3, v * 5, np.full(SIZE, 90)], -1).astype(np.uint8)


@pytest.fixture(scope="module")
def entities(tmp_path_factory: pytest.TempPathFactory) -> Entities:
    path = tmp_path_factory.mktemp("scene") / "drive.rrd"
    recording = RerunStream(None, path)
    log = SceneLog(recording.stream)
    log.set_classes(PALETTE)
    log.set_camera(Intrinsics(K, SIZE))
    for index in range(3):
        stamp_ns = STAMP_NS + index * 100_000_000
        log.add_picture(stamp_ns, ramp())
        scene = Scene(
            0,
            step=2,
            horizon_s=0.4,
            segmentation=IDS,
            depth=DEPTH + index,
            depth_is_metric=index < 2,
        )
        log.add_step(stamp_ns, scene)
        log.add_points(stamp_ns, POINTS, POINT_IDS)
        log.add_numbers(stamp_ns, {"latency_ms": 10.0 + index, "skill/step_2": np.nan})
        log.add_objects(stamp_ns, CARS, {7: (0.25, 0.5)}, PALETTE.names)
        log.add_ways(stamp_ns, [WAY], PALETTE.names)
    recording.lay_out([ShownCamera(steps=((2, 0.4),), has_segmentation=True, has_depth=True)])
    assert not path.exists()  # until it is complete
    recording.close()
    return read_rrd(path)


def at_stamps(rows: list[Row]) -> list[Row]:
    """Without what holds always."""
    return [row for row in rows if "stamp" in row.times]


def stamps(rows: list[Row]) -> list[int]:
    return [row.times["stamp"] for row in at_stamps(rows)]


def test_everything_lies_at_its_image_stamp_and_at_when_it_was_seen(entities: Entities) -> None:
    expected = [STAMP_NS + index * 100_000_000 for index in range(3)]
    for name in ("/step_2/segmentation", "/step_2/depth", "/world/points", "/latency_ms"):
        assert stamps(entities[name]) == expected
        assert all(row.times["log_time"] > STAMP_NS for row in at_stamps(entities[name]))
    pictures = [row for row in entities["/world/camera"] if "blob" in row.values]
    assert stamps(pictures) == expected


def test_class_ids_are_exact_and_named(entities: Entities) -> None:
    shown = at_stamps(entities["/step_2/segmentation"])[0].values
    (form,) = shown["format"]
    assert (form["width"], form["height"]) == (16, 9)
    np.testing.assert_array_equal(np.reshape(shown["buffer"][0], IDS.shape), IDS)
    # At each entity itself: the page does not look for colours above it.
    for name in ("/step_2/segmentation", "/world/points"):
        (row,) = [row for row in entities[name] if "context" in row.values]
        infos = [entry["class_description"]["info"] for entry in row.values["context"][0]]
        assert [(i["id"], i["label"]) for i in infos] == [
            (0, "road"),
            (1, "car"),
            (2, "sky"),
            (255, "unlabelled"),
        ]
        assert infos[0]["color"] == 0x804080FF


def test_depth_is_exact_and_says_whether_it_is_metres(entities: Entities) -> None:
    for index, row in enumerate(entities["/step_2/depth"]):
        values = np.frombuffer(bytes(row.values["buffer"][0]), np.float32)
        np.testing.assert_array_equal(values.reshape(DEPTH.shape), DEPTH + index)
        assert row.values.get("meter") == ([1.0] if index < 2 else None)


def test_what_has_no_depth_is_black(entities: Entities) -> None:
    """The page draws NaN as the least depth: in the colour of what is near."""
    rows = entities["/step_2/depth/unknown"]
    masks = [row.values["buffer"][0] for row in at_stamps(rows)]
    assert len(masks) == 3
    for mask in masks:
        np.testing.assert_array_equal(np.reshape(mask, DEPTH.shape), np.isnan(DEPTH))
    (colors,) = [row.values["context"] for row in rows if "context" in row.values]
    infos = [entry["class_description"]["info"] for entry in colors[0]]
    assert [(info["id"], info["color"]) for info in infos] == [(0, 0x00000000), (1, 0x000000FF)]


def test_points_are_exact_and_have_classes(entities: Entities) -> None:
    values = at_stamps(entities["/world/points"])[1].values
    np.testing.assert_array_equal(np.array(values["positions"], np.float32), POINTS)
    assert values["class_ids"] == POINT_IDS.tolist()


def test_the_picture_has_the_cameras_intrinsics(entities: Entities) -> None:
    rows = entities["/world/camera"]
    (pinhole,) = [row for row in rows if "image_from_camera" in row.values]
    # rerun keeps matrices column by column.
    np.testing.assert_allclose(
        np.reshape(pinhole.values["image_from_camera"][0], (3, 3)).T, K, rtol=1e-6
    )
    assert pinhole.values["resolution"] == [[64.0, 36.0]]
    blob = next(row.values["blob"][0] for row in rows if "blob" in row.values)
    image = cv2.imdecode(np.array(blob, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(image.astype(int) - ramp()).mean() < 3


def test_objects_are_boxes_with_names_and_arrows_from_where_they_are_now(
    entities: Entities,
) -> None:
    boxes = at_stamps(entities["/step_2/segmentation/objects/boxes"])[0].values
    np.testing.assert_allclose(boxes["centers"], [(4.0, 4.0), (11.0, 4.0)])
    np.testing.assert_allclose(boxes["half_sizes"], [(2.0, 1.0)] * 2)
    assert list(boxes["labels"]) == ["car 7", "class 9 8"]
    arrows = at_stamps(entities["/step_2/segmentation/objects/arrows"])[0].values
    np.testing.assert_allclose(arrows["origins"], [(3.5, 4.0)])
    np.testing.assert_allclose(arrows["vectors"], [(0.0, -0.5)])
    ways = at_stamps(entities["/world/objects"])[0].values
    np.testing.assert_allclose(ways["vectors"], [(1.0, 0.0, -1.0)])


def test_numbers_are_plotted_and_missing_ones_left_out(entities: Entities) -> None:
    assert [row.values["scalars"] for row in entities["/latency_ms"]] == [[10.0], [11.0], [12.0]]
    assert "/skill/step_2" not in entities


def test_wide_pictures_are_shrunk_and_wide_predictions_thinned_out(tmp_path: Path) -> None:
    path = tmp_path / "wide.rrd"
    recording = RerunStream(None, path)
    log = SceneLog(recording.stream, "/cam_front", max_width=64)
    log.add_picture(STAMP_NS, np.zeros((90, 160, 3), np.uint8))
    ids = RNG.integers(0, 9, (90, 160)).astype(np.uint8)
    log.add_step(STAMP_NS, Scene(0, step=1, horizon_s=0.2, segmentation=ids))
    recording.close()
    entities = read_rrd(path)
    blob = next(r.values["blob"][0] for r in entities["/cam_front/world/camera"])
    assert cv2.imdecode(np.array(blob, np.uint8), cv2.IMREAD_COLOR).shape == (36, 64, 3)
    values = entities["/cam_front/step_1/segmentation"][0].values
    np.testing.assert_array_equal(np.reshape(values["buffer"][0], (30, 54)), ids[::3, ::3])


def test_an_existing_recording_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "old.rrd"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match=r"old\.rrd exists already; .* --force"):
        RerunStream(None, path)
    assert path.read_bytes() == b"old"
    RerunStream(None, path, force=True).close()
    assert "/__properties" in read_rrd(path)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written"):
        RerunStream(None, tmp_path / "file" / "x.rrd")


@pytest.mark.process
def test_a_page_whose_server_has_ended_does_not_spoil_the_file(tmp_path: Path) -> None:
    path = tmp_path / "drive.rrd"
    with ViewerServer("127.0.0.1", free_port(), "50MB") as server:
        recording = RerunStream(server.data_url, path)
    SceneLog(recording.stream).add_picture(STAMP_NS, ramp())
    recording.close()
    assert "/world/camera" in read_rrd(path)
    assert not path.with_name("drive.rrd.part").exists()
