"""Projects points of a camera's optical frame into its pictures and back, by its CameraInfo."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.camera import CameraModel, relative_focal, same_shape
from dino_foresight_ros.recordings.opencv import cv2

_POLYNOMIAL = ("plumb_bob", "rational_polynomial")
_FISHEYE = ("equidistant", "fisheye")
_COUNTS = {**dict.fromkeys(_POLYNOMIAL, (4, 5, 8, 12, 14)), **dict.fromkeys(_FISHEYE, (4,))}
_ROUND_TRIP = 1e-3
"""Of a ray's length: further off comes back what the lens model folds into the picture."""
_ROUNDS = 100
_SINGULAR, _NO_ROTATION = 1e-6, 1e-2
_MAX_PIXEL_ERROR = 0.1
"""Of the full sensor: a ray that comes back further off is none."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CameraView:
    """How a camera's pictures come about.

    Attributes:
        matrix: (3, 4) projection of the view's axes to pixels of the full sensor, (0, 0) the
            centre of the top left one; [K | 0] of a picture as the lens gives it.
        rotation: (3, 3) from the optical frame to the view's axes; the identity unless rectified.
        distortion: coefficients; empty for a pinhole (and for every rectified picture).
        model: what the coefficients mean.
        window: (left, top, width, height) of the picture in pixels of the full sensor.
    """

    matrix: Array
    rotation: Array
    distortion: Array
    model: str
    window: tuple[int, int, int, int]

    @classmethod
    def pinhole(cls, k: Array, size: tuple[int, int]) -> CameraView:
        """A camera without distortion: (3, 3) K in pixels of pictures of (height, width)."""
        matrix = np.column_stack([np.asarray(k, np.float64).reshape(3, 3), np.zeros(3)])
        return cls(matrix, np.eye(3), np.zeros(0), "", (0, 0, size[1], size[0]))

    @classmethod
    def of(cls, camera: CameraModel) -> CameraView:
        """The view of a recording's camera, as its lens gives it."""
        view = cls.pinhole(np.array(camera.k), (camera.height, camera.width))
        if not any(camera.d):
            return view
        return replace(view, distortion=np.array(camera.d), model=camera.distortion_model)

    @property
    def summary(self) -> str:
        """For people."""
        if self.distortion.size:
            return f"K and {self.model} distortion"
        return "pinhole"

    @property
    def focal_fractions(self) -> tuple[float, float]:
        """Focal length as a fraction of the picture's width, and of its height."""
        return float(self.matrix[0, 0]) / self.window[2], float(self.matrix[1, 1]) / self.window[3]

    @property
    def focal(self) -> float:
        """Focal length over the square root of the picture's area, both of pixels."""
        return relative_focal(*self.focal_fractions)

    def project(self, points: Array) -> tuple[Array, Array]:
        """Find where points appear.

        Args:
            points: (N, 3) metres in the optical frame (x right, y down, z forward).

        Returns:
            Places (N, 2), fractions of the picture's width and height, 0 to 1 inside, NaN for
            points behind the camera or beyond what the lens model holds for; and depths (N,) in
            metres along the view's optical axis.
        """
        # Coordinates as rows, which lie one after the other in memory.
        turned = self.rotation @ points.T
        depth = turned[2].copy()
        left, top, width, height = self.window
        if self.distortion.size:
            pixels = np.full((len(points), 2), np.nan)
            ahead = depth > 0
            if ahead.any():
                pixels[ahead] = self._distorted((turned[:2, ahead] / depth[ahead]).T)
            return (pixels + 0.5 - (left, top)) / (width, height), depth
        places = self.matrix[:2, :3] @ turned
        places += self.matrix[:2, 3:]
        places /= np.where(depth > 0, depth, np.nan)
        places -= np.array([[left - 0.5], [top - 0.5]])
        places /= np.array([[width], [height]])
        return places.T, depth

    def rays(self, places: Array) -> Array:
        """Places (N, 2) in a picture -> (N, 3) rays in the view's axes, with z = 1."""
        left, top, width, height = self.window
        pixels = places * (width, height) + (left, top) - 0.5
        found = np.linalg.solve(self.matrix[:2, :2], (pixels - self.matrix[:2, 2]).T).T
        if self.distortion.size:
            found = self._straight(found)
        return np.column_stack([found, np.ones(len(found))])

    def pixel_rays(self, size: tuple[int, int]) -> NDArray[np.float32]:
        """Rays through the pixels of a picture of the whole view, brought to any size.

        Args:
            size: (height, width) of the picture.

        Returns:
            (H, W, 3) float32 in the optical frame, to be multiplied by the depth along the view's
            axis: z is 1 but for rectified pictures that R turned. NaN where the lens model leads no
            ray.

        Raises:
            InputError: the lens model leads no ray through any pixel.
        """
        height, width = size
        v, u = np.mgrid[0:height, 0:width]
        places = np.column_stack([(u.ravel() + 0.5) / width, (v.ravel() + 0.5) / height])
        rays = self.rays(places)
        if self.distortion.size:
            left, top, window_width, window_height = self.window
            pixels = places * (window_width, window_height) + (left, top) - 0.5
            with np.errstate(all="ignore"):
                back = self._bent(rays[:, :2]) @ self.matrix[:2, :2].T + self.matrix[:2, 2]
                off = np.abs(back - pixels).max(axis=1)
            rays[~(off < _MAX_PIXEL_ERROR)] = np.nan
            if not (off < _MAX_PIXEL_ERROR).any():
                text = ", ".join(f"{value:g}" for value in self.distortion)
                raise InputError(
                    f"the lens model {self.model} with D = {text} leads no ray through any pixel: "
                    "check camera_info"
                )
        rays = rays @ self.rotation  # by its inverse
        return rays.reshape(height, width, 3).astype(np.float32)

    def _distorted(self, directions: Array) -> Array:
        """Directions (N, 2), x/z and y/z -> pixels, NaN where the model does not lead back."""
        flat = self._bent(directions)
        pixels = flat @ self.matrix[:2, :2].T + self.matrix[:2, 2]
        left, top, width, height = self.window
        inside = ((pixels >= (left - 1, top - 1)) & (pixels <= (left + width, top + height))).all(1)
        pixels[~inside] = np.nan
        off = np.linalg.norm(self._straight(flat[inside]) - directions[inside], axis=1)
        limit = _ROUND_TRIP * np.hypot(1.0, np.linalg.norm(directions[inside], axis=1))
        pixels[np.flatnonzero(inside)[~(off <= limit)]] = np.nan
        return pixels

    def _bent(self, directions: Array) -> Array:
        """Directions (N, 2) -> the same behind the lens, for a K of 1."""
        if not len(directions):
            return directions
        flat = np.ascontiguousarray(directions[:, None])
        if self.model in _FISHEYE:
            found = cv2.fisheye.distortPoints(flat, np.eye(3), self.distortion)
        else:
            rays = np.column_stack([directions, np.ones(len(directions))])
            none = np.zeros(3)
            found = cv2.projectPoints(rays, none, none, np.eye(3), self.distortion)[0]
        return np.asarray(found, np.float64).reshape(-1, 2)

    def _straight(self, bent: Array) -> Array:
        """Undo `_bent`."""
        if not len(bent):
            return bent
        if self.model in _FISHEYE:
            flat = np.ascontiguousarray(bent[:, None])
            found = cv2.fisheye.undistortPoints(flat, np.eye(3), self.distortion)
            return np.asarray(found, np.float64).reshape(-1, 2)
        # By fixed point: OpenCV's own stops after five rounds, too early for strong lenses.
        directions, left = bent.copy(), np.arange(len(bent))
        for _ in range(_ROUNDS):
            off = bent[left] - self._bent(directions[left])
            directions[left] += off
            left = left[np.abs(off).max(axis=1) >= 1e-9]
            if not len(left):
                break
        return directions


def camera_view(info: Any, rectified: bool, name: str) -> CameraView:
    """Read a camera_info.

    Args:
        info: the message.
        rectified: whether the pictures were rectified: then R and P hold, else K and D.
        name: of its topic, for messages.

    Raises:
        InputError: the camera is not calibrated, a number is not finite, K or P leads different
            pixels to one ray, or the lens model is unknown.
    """
    matrix, rotation = _matrices_of(info, rectified, name)
    d = np.zeros(0) if rectified else np.array(info.d, np.float64)
    d, model = _lens(d, str(info.distortion_model), name)
    window = _window_of(info, name)
    return CameraView(matrix, rotation, d, model, window)


def focal_of(info: Any, rectified: bool, name: str) -> float:
    """The focal length by a camera_info, as `CameraView.focal` has it, whatever its lens bends; of
    a fisheye that in the middle of the picture.

    Args:
        info, rectified, name: as of `camera_view`.

    Raises:
        InputError: the camera is not calibrated, or as `camera_view` for a K or P.
    """
    matrix, rotation = _matrices_of(info, rectified, name)
    return CameraView(matrix, rotation, np.zeros(0), "", _window_of(info, name)).focal


def _matrices_of(info: Any, rectified: bool, name: str) -> tuple[Array, Array]:
    """(3, 4) projection, and (3, 3) from the optical frame to the view's axes."""
    k = np.array(info.k, np.float64).reshape(3, 3)
    p = np.array(info.p, np.float64).reshape(3, 4)
    matrix, rotation = np.column_stack([k, np.zeros(3)]), np.eye(3)
    if rectified and (p[0, 0] > 0 or not np.isfinite(p).all()):
        matrix, rotation = p, np.array(info.r, np.float64).reshape(3, 3)
        if not rotation.any():
            rotation = np.eye(3)
    _check_matrices(matrix, rotation, "P" if matrix is p else "K", name)
    return matrix, rotation


def _window_of(info: Any, name: str) -> tuple[int, int, int, int]:
    """(left, top, width, height) of the pictures in pixels of the full sensor."""
    roi = info.roi
    width, height = int(roi.width or info.width), int(roi.height or info.height)
    if min(width, height) <= 0:
        raise InputError(f"{name} has no width and height; the camera is not calibrated")
    return int(roi.x_offset), int(roi.y_offset), width, height


def _check_matrices(matrix: Array, rotation: Array, which: str, name: str) -> None:
    """Refuse a K or P, and an R, that lead pixels to no rays."""
    for letter, values in ((which, matrix), ("R", rotation)):
        if not np.isfinite(values).all():
            raise InputError(f"{name} has a number in {letter} that is not finite")
    if not (matrix[0, 0] > 0 and matrix[1, 1] > 0):
        raise InputError(f"{name} has no focal length: the camera is not calibrated")
    area = matrix[0, 0] * matrix[1, 1]
    if abs(np.linalg.det(matrix[:2, :2])) < _SINGULAR * area:
        raise InputError(f"{name} has a singular {which}: different pixels have the same ray")
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > _NO_ROTATION:
        raise InputError(f"{name} has an R that is no rotation")


def view_of_model(camera: CameraModel, name: str) -> CameraView:
    """The view of a recording's camera, whose pictures are not rectified.

    Args:
        camera: of the recording.
        name: of the recording, for messages.

    Raises:
        InputError: the lens model is unknown.
    """
    matrix = np.column_stack([np.array(camera.k, np.float64).reshape(3, 3), np.zeros(3)])
    _check_matrices(matrix, np.eye(3), "K", name)
    d, model = _lens(np.array(camera.d, np.float64), camera.distortion_model, name)
    return CameraView(matrix, np.eye(3), d, model, (0, 0, camera.width, camera.height))


def _lens(d: Array, model: str, name: str) -> tuple[Array, str]:
    """Coefficients and model, both empty where nothing is bent."""
    if not np.isfinite(d).all():
        raise InputError(f"{name} has a number in D that is not finite")
    if not d.any():
        return np.zeros(0), ""
    if len(d) not in _COUNTS.get(model, ()):
        raise InputError(
            f"{name} has {len(d)} coefficients of the lens model {model!r}; valid: "
            f"{', '.join(_COUNTS)} with 4 or more; record rectified pictures instead"
        )
    return d, model


def check_size(view: CameraView, size: tuple[int, int], name: str) -> None:
    """Refuse a view that cannot be of pictures of that (height, width), up to an even resize.

    Raises:
        InputError: their shapes differ.
    """
    _, _, width, height = view.window
    if not same_shape((height, width), size):
        raise InputError(
            f"{name} is for pictures of {width}x{height}, the bag's are {size[1]}x{size[0]}: "
            "cropped or turned pictures need a camera_info of their own"
        )
