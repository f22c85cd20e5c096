"""Objects in metres: against points put by hand before a pinhole camera."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from dino_foresight_ros.objects import locate, object_paths, with_velocities
from dino_foresight_ros.recordings.camera_view import CameraView
from dino_foresight_ros.scene import Detection, Scene

S = 1_000_000_000
SIZE = (24, 40)
K = np.array([[30.0, 0.0, 19.5], [0.0, 30.0, 11.5], [0.0, 0.0, 1.0]])
RAYS = CameraView.pinhole(K, SIZE).pixel_rays(SIZE)


def scene(step: int, *objects: tuple[int, int, int, float], score: float = 0.9) -> Scene:
    """Squares of 5 pixels: (id, x, y of the centre, metres), before a wall at 50 m."""
    ids, depth = np.zeros(SIZE, np.uint16), np.full(SIZE, 50.0, np.float32)
    detections = []
    for number, x, y, metres in objects:
        ids[y - 2 : y + 3, x - 2 : x + 3] = number
        depth[y - 2 : y + 3, x - 2 : x + 3] = metres
        depth[y - 2, x - 2 : x + 3] = 50.0  # an edge that bleeds
        depth[y, x] = np.nan
        box = (x - 2.0, y - 2.0, 5.0, 5.0)
        detections.append(Detection(number, number % 7, score, box, (float(x), float(y))))
    return Scene(
        S + step * S // 5, step=step, horizon_s=0.2 * step, instances=ids, depth=depth,
        detections=tuple(detections), depth_is_metric=True,
    )  # fmt: skip


def test_an_object_is_where_its_points_are() -> None:
    placed = locate(scene(0, (3, 10, 8, 6.0), (70, 30, 18, 12.0)), RAYS)
    first, second = placed.detections
    # By hand: (10 - 19.5) / 30 * 6, (8 - 11.5) / 30 * 6, 6.
    assert first.position == pytest.approx((-1.9, -0.7, 6.0))
    assert second.position == pytest.approx((4.2, 2.6, 12.0))
    assert placed.instances is not None


def test_depth_of_another_size_gives_the_same_place() -> None:
    before = scene(0, (3, 10, 8, 6.0))
    assert before.depth is not None
    large = replace(before, depth=before.depth.repeat(2, axis=0).repeat(3, axis=1))
    assert locate(large, RAYS).detections[0].position == pytest.approx((-1.9, -0.7, 6.0))


@pytest.mark.parametrize("lacking", ["rays", "depth", "metres", "points"])
def test_what_gives_no_metres_leaves_the_position_unknown(lacking: str) -> None:
    before = scene(0, (3, 10, 8, 6.0))
    changes = {
        "depth": {"depth": None},
        "metres": {"depth_is_metric": False},
        "points": {"depth": np.full(SIZE, np.nan, np.float32)},
    }.get(lacking, {})
    placed = locate(replace(before, **changes), None if lacking == "rays" else RAYS)
    assert np.isnan(placed.detections[0].position).all()


def test_velocity_is_the_difference_from_the_instant_before() -> None:
    made = [scene(0, (3, 10, 8, 6.0)), scene(1, (3, 16, 8, 5.0), (4, 30, 8, 9.0)), scene(3)]
    now, then, last = with_velocities([locate(one, RAYS) for one in made])
    assert np.isnan(now.detections[0].velocity).all()
    x0, x1 = (10 - 19.5) / 30 * 6.0, (16 - 19.5) / 30 * 5.0
    assert then.detections[0].velocity[0] == pytest.approx((x1 - x0) / 0.2)
    assert then.detections[0].velocity[2] == pytest.approx(-5.0)
    assert np.isnan(then.detections[1].velocity).all()  # it was not there before
    assert last.detections == ()


def test_a_path_has_every_horizon_and_the_spread_of_futures() -> None:
    made = [scene(0, (3, 10, 8, 6.0)), scene(1, (4, 30, 8, 9.0)), scene(2, (3, 12, 8, 5.0))]
    futures = (scene(2, (3, 12, 8, 4.0)), scene(2, (3, 12, 8, 6.0)), scene(2))
    made[2] = replace(made[2], samples=futures)
    paths = object_paths([locate(one, RAYS) for one in made], RAYS)
    assert [path.id for path in paths] == [3, 4]
    path = paths[0]
    np.testing.assert_allclose(path.horizons_s, [0.0, 0.2, 0.4])
    np.testing.assert_allclose(path.positions[:, 2], [6.0, np.nan, 5.0])
    np.testing.assert_allclose(path.centroids, [[10, 8], [np.nan, np.nan], [12, 8]])
    # Two futures at depths 4 and 6 on one ray: half their distance.
    ray = np.array([(12 - 19.5) / 30, (8 - 11.5) / 30, 1.0])
    np.testing.assert_allclose(path.spreads, [np.nan, np.nan, np.linalg.norm(ray)])
    assert path.size == pytest.approx((1.0, 1.0))  # 5 pixels of 30 at 6 m


def test_no_object_is_no_path_and_the_surest_comes_first() -> None:
    assert object_paths([scene(0), scene(1)]) == ()
    assert object_paths([Scene(0)]) == ()
    made = scene(0, (3, 10, 8, 6.0), (4, 30, 8, 9.0))
    low, high = made.detections
    made = replace(made, detections=(replace(low, score=0.3), high))
    assert [path.id for path in object_paths([made])] == [4, 3]


def test_an_object_of_a_fisheye_picture_is_where_opencv_has_its_ray() -> None:
    """60 degrees off the axis, where a pinhole matrix would be off by metres."""
    k, d = np.array([[12.0, 0, 19.5], [0, 12.0, 11.5], [0, 0, 1]]), np.array([0.02, -0.01, 0, 0])
    place = np.array([3.0, 0.3, 2.0])
    (pixel,) = cv2.fisheye.projectPoints(place[None, None], np.zeros(3), np.zeros(3), k, d)[0]
    x, y = (round(v) for v in pixel[0])
    seen = scene(0, (3, x, y, 2.0))
    view = CameraView(
        np.column_stack([k, np.zeros(3)]), np.eye(3), d, "equidistant", (0, 0, 40, 24)
    )
    rays = view.pixel_rays(SIZE)
    back = cv2.fisheye.undistortPoints(np.array([[[float(x), y]]]), k, d)[0, 0]
    placed = locate(seen, rays)
    assert placed.detections[0].position == pytest.approx((2 * back[0], 2 * back[1], 2.0), rel=1e-3)
    assert placed.detections[0].position[0] == pytest.approx(3.0, abs=0.3)
    path = object_paths([placed], rays)[0]
    assert path.size[0] > 5 / 12 * 2.0 * 2  # a pixel is wider there than in the middle
