"""Labels of nuScenes' pictures from its boxes, against corners drawn by OpenCV and brute force."""

from __future__ import annotations

import pickle
from typing import Any

import cv2
import numpy as np
import pytest
from nuscenes_set import (
    CAMERA_PLACE,
    LIDAR_PLACE,
    LIDAR_TURN,
    OPTICAL,
    START_US,
    STEP_US,
    NuScenesSet,
    map_from_base,
    matrix,
    quaternion,
)

from dino_foresight_ros.classes import CLASS_IDS, NUSCENES_CLASSES
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings import Recording, open_recordings
from dino_foresight_ros.recordings.nuscenes import boxes as boxes_module
from dino_foresight_ros.recordings.nuscenes.boxes import BoxTrack

WIDTH, HEIGHT, CELL = 160, 96, 4
CLASSES = [info.name for info in NUSCENES_CLASSES]
# Object: category, where it is seen in the camera of frame 0 and of frame 6 (x right, y down, z
# forward, metres), width, length and height, degrees to the left.
OBJECTS: dict[str, tuple[str, tuple[Any, Any], tuple[float, float, float], float]] = {
    "near": ("cat-car", ((-1.5, 0.8, 9.0), (-0.5, 0.8, 8.0)), (1.9, 4.5, 1.6), 20.0),
    "far": ("cat-car", ((-2.0, 0.6, 16.0), (-2.0, 0.6, 14.0)), (2.2, 5.0, 2.4), -15.0),
    "walker": ("cat-walker", ((2.5, 0.7, 8.0), (3.0, 0.7, 8.0)), (0.7, 0.7, 1.8), 0.0),
    "behind": ("cat-car", ((0.0, 0.8, -9.0), (0.0, 0.8, -9.0)), (1.9, 4.5, 1.6), 0.0),
    "animal": ("cat-animal", ((1.0, 1.0, 6.0), (1.0, 1.0, 6.0)), (0.5, 1.0, 0.7), 0.0),
    "unseen": ("cat-walker", ((1.2, 0.7, 7.0), (1.2, 0.7, 7.0)), (0.7, 0.7, 1.8), 0.0),
    "hidden": ("cat-walker", ((4.5, 0.7, 10.0), (4.5, 0.7, 10.0)), (0.7, 0.7, 1.8), 0.0),
    # As large as a house, so that points of the world lie within it.
    "house": ("cat-car", ((-14.0, -1.0, 30.0), (-14.0, -1.0, 27.0)), (14.0, 14.0, 7.0), 0.0),
}
SEEN = {"near": 1, "walker": 3, "far": 2, "house": 8}
"""Objects with a class that are seen and their ids, nearest first."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> NuScenesSet:
    """One scene of seven frames, the first and the last one of them keyframes, with `OBJECTS`."""
    made = NuScenesSet(tmp_path_factory.mktemp("nuscenes"), length=7, size=(WIDTH, HEIGHT))
    made.tables["sample_annotation"].clear()
    made.tables["instance"].clear()
    made.add("visibility", "1", level="v0-40", description="")
    for name, (category, places, size, yaw) in OBJECTS.items():
        made.add("instance", name, category_token=category)
        for key, place in zip((0, 6), places, strict=True):
            pose = map_from_base(made.frames["scene-0061"][key])
            pose = pose @ matrix(CAMERA_PLACE, OPTICAL)
            turn = cv2.Rodrigues(np.array([0.0, 0.0, np.radians(yaw)]))[0]
            made.add(
                "sample_annotation", f"{name}-{key}", sample_token=f"scene-0061-s{key}",
                instance_token=name, attribute_tokens=[],
                visibility_token="1" if name == "hidden" else "4",
                translation=(pose[:3, :3] @ place + pose[:3, 3]).tolist(), size=list(size),
                rotation=quaternion(turn), prev="", next="",
                num_lidar_pts=0 if name == "unseen" else 5, num_radar_pts=0,
            )  # fmt: skip
    made.write()
    return made


def opened(world: NuScenesSet, options: str) -> Recording:
    return open_recordings([f"nuscenes:{world.root}?{options}"])[0]


def annotation(world: NuScenesSet, name: str, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Pose (4, 4) in the map a share of the way from keyframe to keyframe, and length, width and
    height; objects turn with nothing."""
    rows = {row["token"]: row for row in world.tables["sample_annotation"]}
    first, last = rows[f"{name}-0"], rows[f"{name}-6"]
    place = (1 - share) * np.array(first["translation"]) + share * np.array(last["translation"])
    width, length, height = first["size"]
    return matrix(place, first["rotation"]), np.array([length, width, height])


def camera_pose(world: NuScenesSet, index: int) -> np.ndarray:
    return map_from_base(world.frames["scene-0061"][index]) @ matrix(CAMERA_PLACE, OPTICAL)


def outline(world: NuScenesSet, name: str, index: int) -> np.ndarray:
    """(H, W) bool, the corners' hull, drawn."""
    pose, size = annotation(world, name, index / 6)
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * size / 2
    in_camera = np.linalg.inv(camera_pose(world, index)) @ pose
    k = world.frames["scene-0061"][index].k
    turn = cv2.Rodrigues(in_camera[:3, :3])[0]
    pixels = cv2.projectPoints(corners, turn, in_camera[:3, 3], k, None)[0]
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull((pixels * 16).round().astype(np.int32)), 1, shift=4)
    return mask.astype(bool)


@pytest.mark.parametrize("index", [0, 2, 6])
def test_hulls_are_those_of_the_projected_corners(world: NuScenesSet, index: int) -> None:
    """Between the keyframes too, where the box is part of its way; the nearer one is in front."""
    recording = opened(world, "boxes=hulls")
    assert recording.labelled("instances").tolist() == list(range(7))
    found: Any = recording.read([index], ["instances", "segmentation"])[0]
    assert found.instances.dtype == np.uint16
    before = np.zeros((HEIGHT, WIDTH), bool)
    for name, number in SEEN.items():
        true = outline(world, name, index) & ~before
        before |= true
        mine = found.instances == number
        assert true.sum() > 50
        # Drawing takes the pixels that its edge touches, too.
        edge = cv2.dilate(true.astype(np.uint8), np.ones((3, 3))) - cv2.erode(
            true.astype(np.uint8), np.ones((3, 3))
        )
        assert not (mine != true)[edge == 0].any(), name
        name_of = "pedestrian" if name == "walker" else "car"
        assert (found.segmentation[mine] == CLASSES.index(name_of)).all()
    assert set(np.unique(found.instances)) == {0, *SEEN.values()}
    assert (found.segmentation[found.instances == 0] == 255).all()


@pytest.mark.parametrize("index", [0, 3])
def test_points_within_boxes_get_the_boxs_id(world: NuScenesSet, index: int) -> None:
    recording = pickle.loads(pickle.dumps(opened(world, "boxes=points")))  # as to a worker
    found: Any = recording.read([index], ["instances", "segmentation", "depth"])[0]
    assert found.instances.shape == (HEIGHT // CELL, WIDTH // CELL)
    (file,) = (world.root).glob(f"s*s/LIDAR_TOP/*__{START_US + index * STEP_US}.pcd.bin")
    points = np.fromfile(file, np.float32).reshape(-1, 5)[:, :3]
    lidar = map_from_base(world.frames["scene-0061"][index]) @ matrix(LIDAR_PLACE, LIDAR_TURN)
    in_map = np.column_stack([points, np.ones(len(points))]) @ lidar.T
    in_camera = in_map @ np.linalg.inv(camera_pose(world, index)).T
    k = world.frames["scene-0061"][index].k
    within = np.zeros(len(points), int)
    numbers = {**SEEN, "hidden": 7}
    for name, number in numbers.items():
        pose, size = annotation(world, name, index / 6)
        places = np.abs((in_map @ np.linalg.inv(pose).T)[:, :3])
        within[(places <= size / 2).all(axis=1)] = number
    expected = np.zeros(found.instances.shape, int)
    nearest = np.full(expected.shape, np.inf)
    for (x, y, z, _), number in zip(in_camera, within, strict=True):
        column = int((k[0, 0] * x / z + k[0, 2] + 0.5) // CELL)
        row = int((k[1, 1] * y / z + k[1, 2] + 0.5) // CELL)
        is_seen = z > 0 and 0 <= row < expected.shape[0] and 0 <= column < expected.shape[1]
        if is_seen and z < nearest[row, column]:
            nearest[row, column], expected[row, column] = z, number
    known = np.isfinite(found.depth)
    assert (expected[known] > 0).sum() >= 10
    assert (found.instances[known] == expected[known]).mean() > 0.99
    assert not found.instances[~known].any()
    assert ((found.segmentation != 255) == (found.instances > 0)).all()


def test_classes_of_the_world_can_be_had(world: NuScenesSet) -> None:
    recording = opened(world, "boxes=hulls&classes=world")
    found: Any = recording.read([0], ["segmentation", "instances"])[0]
    assert (found.segmentation[found.instances == 3] == CLASS_IDS["pedestrian"]).all()
    assert recording.label_space is not None
    assert recording.label_space.class_names[CLASS_IDS["car"]] == "car"


def test_an_object_that_was_lost_between_keyframes_is_not_made_up(world: NuScenesSet) -> None:
    poses = np.array([[0.0, 0, 0, 1, 0, 0, 0], [4.0, 2, 0, 1, 0, 0, 0]])
    for gap_ns, is_known in ((500_000_000, True), (1_000_000_000, False)):
        track = BoxTrack(1, 0, np.array([0, gap_ns]), poses, np.ones(3))
        middle = track.at(gap_ns // 2)
        assert (middle is not None) == is_known
        if middle is not None:
            np.testing.assert_allclose(middle[:3, 3], [2.0, 1.0, 0.0])
        for stamp_ns, place in ((-50_000_000, 0.0), (gap_ns + 50_000_000, 4.0)):
            nearly = track.at(stamp_ns)
            assert nearly is not None
            assert nearly[0, 3] == place, "a camera looks a little before its keyframe"
        assert track.at(gap_ns + 200_000_000) is None


def test_what_boxes_cannot_do_is_told(world: NuScenesSet, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"boxes=masks is wrong; give one of no, points, hulls"):
        opened(world, "boxes=masks")
    with pytest.raises(UsageError, match=r"boxes=points is wrong; give hulls.* no LIDAR_TOP"):
        opened(world, "boxes=points&lidar=no")
    with monkeypatch.context() as few:
        few.setattr(boxes_module, "MAX_ID", 2)
        with pytest.raises(InputError, match=r"annotation.json: more than 2 objects in one scene"):
            opened(world, "boxes=hulls")
    path = world.root / "v1.0-mini" / "sample_annotation.json"
    before = path.read_bytes()
    try:
        path.write_bytes(before[:100])
        with pytest.raises(InputError, match=r"sample_annotation\.json"):
            opened(world, "boxes=hulls")
    finally:
        path.write_bytes(before)
    assert opened(world, "boxes=hulls").fingerprint != opened(world, "boxes=points").fingerprint
