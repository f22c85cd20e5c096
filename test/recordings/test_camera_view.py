from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.camera_view import camera_view, check_size

K = [500.0, 0.0, 310.0, 0.0, 510.0, 190.0, 0.0, 0.0, 1.0]
P = [400.0, 0.0, 320.0, 0.0, 0.0, 400.0, 200.0, 0.0, 0.0, 0.0, 1.0, 0.0]
NAN = float("nan")
NO_ROI = {"x_offset": 0, "y_offset": 0, "width": 0, "height": 0}
PLUMB_BOB = [-0.35, 0.14, 0.001, -0.002, -0.02]
FISHEYE = [0.02, -0.01, 0.003, -0.001]


def info(**changes: Any) -> Any:
    turn = cv2.Rodrigues(np.array([0.02, -0.03, 0.01]))[0]
    values = {
        "width": 640, "height": 400, "k": K, "d": [], "distortion_model": "plumb_bob",
        "r": turn.reshape(-1), "p": [400, 0, 320, -40, 0, 400, 200, 0, 0, 0, 1, 0],
        "roi": SimpleNamespace(**NO_ROI), "binning_x": 0, "binning_y": 0,
    }  # fmt: skip
    return SimpleNamespace(**{**values, **changes})


def scattered(count: int = 300) -> np.ndarray:
    random = np.random.default_rng(0)
    depth = random.uniform(1, 50, count)
    return np.column_stack([random.uniform(-0.6, 0.6, (count, 2)) * depth[:, None], depth])


def to_pixels(places: np.ndarray, size: tuple[int, int] = (640, 400)) -> np.ndarray:
    """The centre of the top left pixel is (0, 0), its corner half a pixel up and left."""
    return places * size - 0.5


def test_a_pinhole_is_the_textbook_formula() -> None:
    points = scattered()
    places, depth = camera_view(info(), False, "info").project(points)
    want = np.array([[500 * x / z + 310, 510 * y / z + 190] for x, y, z in points])
    np.testing.assert_allclose(to_pixels(places), want, atol=1e-9)
    np.testing.assert_array_equal(depth, points[:, 2])


def test_rectified_pictures_go_by_r_and_p() -> None:
    made = info(d=PLUMB_BOB)
    points = scattered()
    places, depth = camera_view(made, True, "info").project(points)
    for point, place, far in zip(points, to_pixels(places), depth, strict=True):
        u, v, w = np.reshape(made.p, (3, 4)) @ [*(np.reshape(made.r, (3, 3)) @ point), 1]
        assert place == pytest.approx((u / w, v / w))
        assert far == pytest.approx(w)


@pytest.mark.parametrize(
    ("model", "d"),
    [
        ("plumb_bob", PLUMB_BOB),
        ("rational_polynomial", [*PLUMB_BOB, 0.01, 0.02, 0.003]),
        ("equidistant", FISHEYE),
    ],
)
def test_lens_models_are_those_of_opencv(model: str, d: list[float]) -> None:
    view = camera_view(info(d=d, distortion_model=model), False, "info")
    points = scattered()
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    want = project(points[:, None], np.zeros(3), np.zeros(3), np.reshape(K, (3, 3)), np.array(d))
    want = want[0].reshape(-1, 2)
    places, _ = view.project(points)
    inside = ((want > 0) & (want < (639, 399))).all(axis=1)
    assert inside.sum() > 150
    np.testing.assert_allclose(to_pixels(places)[inside], want[inside], atol=1e-6)

    rays = view.rays(places[inside])
    np.testing.assert_allclose(rays, points[inside] / points[inside][:, 2:], atol=1e-4)


def test_points_that_a_lens_folds_back_into_the_picture_are_dropped() -> None:
    view = camera_view(info(d=[-0.35, 0.0, 0.0, 0.0, 0.0]), False, "info")
    far_off = np.array([[1.69, 0.0, 1.0], [0.3, 0.0, 1.0]])  # 1 - 0.35 * 1.69**2 is about 0
    folded = cv2.projectPoints(
        far_off, np.zeros(3), np.zeros(3), np.reshape(K, (3, 3)), np.array([-0.35, 0, 0, 0, 0])
    )[0].reshape(-1, 2)
    assert 0 < folded[0, 0] < 639
    places, _ = view.project(far_off)
    assert np.isnan(places[0]).all()
    assert np.isfinite(places[1]).all()


def test_nothing_behind_the_camera_is_seen() -> None:
    places, depth = camera_view(info(), False, "info").project(np.array([[0.1, 0.1, -5.0]]))
    assert np.isnan(places).all()
    assert depth[0] == -5
    assert camera_view(info(), False, "info").project(np.empty((0, 3)))[0].shape == (0, 2)


def test_a_window_of_the_sensor_and_binning_shift_and_keep_shares() -> None:
    roi = SimpleNamespace(x_offset=100, y_offset=60, width=320, height=240)
    places, _ = camera_view(info(roi=roi, binning_x=2, binning_y=2), False, "info").project(
        np.array([[0.0, 0.0, 1.0]])
    )
    np.testing.assert_allclose(places[0], [(310.5 - 100) / 320, (190.5 - 60) / 240])


def test_rays_lead_back_to_the_points() -> None:
    for rectified in (False, True):
        made = info(p=[400, 0, 320, 0, 0, 400, 200, 0, 0, 0, 1, 0])
        view = camera_view(made, rectified, "info")
        points = scattered()
        places, depth = view.project(points)
        again = view.rays(places) * depth[:, None]
        np.testing.assert_allclose(again, points @ view.rotation.T, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k": [0.0] * 9}, "no focal length"),
        ({"d": [0.1] * 5, "distortion_model": "moon"}, "5 coefficients of the lens model 'moon'"),
        ({"d": [0.1] * 5, "distortion_model": "equidistant"}, "5 coefficients"),
        ({"width": 0}, "no width and height"),
        ({"k": [400.0, 0.0, NAN, 0.0, 400.0, 200.0, 0.0, 0.0, 1.0]}, "number in K that is not"),
        ({"d": [NAN] * 5, "distortion_model": "plumb_bob"}, "number in D that is not finite"),
        ({"d": [NAN] * 4, "distortion_model": "fisheye"}, "number in D that is not finite"),
        ({"k": [400.0, 400, 320, 400, 400, 200, 0, 0, 1]}, "singular K"),
    ],
)
def test_cameras_that_are_not_calibrated_are_refused(changes: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        camera_view(info(**changes), False, "/cam/camera_info")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"p": [NAN] * 12}, "number in P that is not finite"),
        ({"r": [NAN] * 9}, "number in R that is not finite"),
        ({"r": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]}, "R that is no rotation"),
        ({"p": [400, 0, NAN, 0, 0, 400, 200, 0, 0, 0, 1, 0]}, "number in P that is not finite"),
        ({"p": [400, 400, 320, 0, 400, 400, 200, 0, 0, 0, 1, 0]}, "singular P"),
    ],
)
def test_rectified_cameras_that_lead_to_no_rays_are_refused(changes: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        camera_view(info(**{"p": P, **changes}), True, "/cam/camera_info")


def test_a_lens_that_leads_no_ray_through_any_pixel_is_refused() -> None:
    view = camera_view(info(d=[1e6] * 5), False, "/cam/camera_info")
    with pytest.raises(InputError, match=r"leads no ray through any pixel"):
        view.pixel_rays((20, 32))


def test_pictures_of_another_shape_are_refused() -> None:
    view = camera_view(info(), False, "/cam/camera_info")
    check_size(view, (400, 640), "x")
    check_size(view, (200, 320), "x")
    with pytest.raises(InputError, match="is for pictures of 640x400, the bag's are 640x360"):
        check_size(view, (360, 640), "/cam/camera_info")


def test_pixel_rays_lead_from_the_optical_frame_to_their_pixels_whatever_r_turns() -> None:
    turn = cv2.Rodrigues(np.array([0.02, -0.05, 0.01]))[0]
    made = info(p=[400, 0, 320, 0, 0, 400, 200, 0, 0, 0, 1, 0], r=turn.ravel().tolist())
    view = camera_view(made, True, "info")
    depth = np.random.default_rng(2).uniform(1, 30, (20, 32))
    points = view.pixel_rays((20, 32)) * depth[..., None]
    places, along = view.project(points.reshape(-1, 3))
    v, u = np.mgrid[0:20, 0:32]
    np.testing.assert_allclose(places[:, 0], (u.ravel() + 0.5) / 32, atol=1e-6)
    np.testing.assert_allclose(places[:, 1], (v.ravel() + 0.5) / 20, atol=1e-6)
    np.testing.assert_allclose(along, depth.ravel(), rtol=1e-5)
