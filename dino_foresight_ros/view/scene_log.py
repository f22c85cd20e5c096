"""Writes one camera's pictures, forecasts and numbers into a rerun recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import class_label
from dino_foresight_ros.objects import ObjectPath
from dino_foresight_ros.outputs import DEPTH, SEGMENTATION
from dino_foresight_ros.render.colors import UNLABELLED_COLOR, ClassPalette, DepthScale, Picture
from dino_foresight_ros.render.objects import Place, object_color
from dino_foresight_ros.render.panels import legend_entries, legend_panel
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.view import rerun_sdk

TIMELINE = "stamp"
"""The timeline of image stamps; rerun adds log_time, when a thing was seen."""

OBJECTS = "objects"
"""Name of the entities of single objects."""
UNKNOWN = "unknown"
"""Name of the entities of what has no depth."""

_JPEG_QUALITY = 80
_LEGEND_SIZE = (270, 480)
_POINT_RADIUS_UI = 1.5


@dataclass(frozen=True)
class Intrinsics:
    """A camera's view: K (3, 3) in pixels of images of (height, width)."""

    matrix: NDArray[np.float64]
    size: tuple[int, int]


class SceneLog:
    """Writes one camera's pictures, forecasts and numbers, each at an image stamp.

    Entities, below `root`: world/camera (picture and pinhole), world/points and world/objects
    (optical frame, metres), step_k/segmentation, step_k/depth, objects below either of these two,
    step_k/depth/unknown, imagined, latency_ms, rate/forecasts, rate/frames, dropped, skill/step_k,
    about, legend. Only what has a place in space is below world: rerun shows no plain picture
    there.
    """

    def __init__(self, stream: Any, root: str = "", max_width: int = 640) -> None:
        """Write into a stream.

        Args:
            stream: a rerun RecordingStream.
            root: path above the entities: empty, or / and a name for one of several cameras.
            max_width: wider pictures are shrunk, wider predicted images thinned out.
        """
        self._rr = rerun_sdk.load()
        self._stream = stream
        self.root = root
        self._max_width = max_width
        self._about = ""
        self._classes: Any = None
        self._with_classes: set[str] = set()
        self._with_unknown: set[str] = set()
        # x right, y down, z forward: REP 103's optical frame.
        self._log_static("world", self._rr.ViewCoordinates.RDF)

    def path(self, name: str) -> str:
        """Full path of an entity."""
        return f"{self.root}/{name}" if name else self.root or "/"

    def set_classes(self, palette: ClassPalette) -> None:
        """Names and colours of class ids from now on, and a legend of them."""
        info = self._rr.AnnotationInfo
        infos = [
            info(id=index, label=name, color=color)
            for index, (name, color) in enumerate(zip(palette.names, palette.colors, strict=True))
            if index != palette.unlabelled
        ]
        infos.append(info(id=palette.unlabelled, label="unlabelled", color=UNLABELLED_COLOR))
        self._classes = self._rr.AnnotationContext(infos)
        for name in self._with_classes:
            self._log_static(name, self._classes)
        legend = legend_panel(legend_entries(palette), *_LEGEND_SIZE)
        self._log_static("legend", self._rr.Image(legend))

    def set_camera(self, view: Intrinsics) -> None:
        """The camera's intrinsics for the pictures as they are shown."""
        height, width = view.size
        self._log_static(
            "world/camera",
            self._rr.Pinhole(
                image_from_camera=view.matrix,
                width=width,
                height=height,
                image_plane_distance=4.0,
            ),
        )

    def set_about(self, markdown: str) -> None:
        """What is shown, in words."""
        if markdown != self._about:
            self._about = markdown
            document = self._rr.TextDocument(markdown, media_type="text/markdown")
            self._log_static("about", document)

    def shown_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) at which a picture of this size is shown."""
        if width <= self._max_width:
            return height, width
        return max(1, round(height * self._max_width / width)), self._max_width

    def add_picture(self, stamp_ns: int, image: Picture) -> None:
        """A camera frame, (H, W, 3) uint8 RGB; kept as JPEG."""
        self._add_jpeg("world/camera", stamp_ns, image)

    def add_imagined(self, stamp_ns: int, image: Picture) -> None:
        """The imagined views of candidates, (H, W, 3) uint8 RGB, as plan_node draws them."""
        self._add_jpeg("imagined", stamp_ns, image)

    def _add_jpeg(self, name: str, stamp_ns: int, image: Picture) -> None:
        height, width = self.shown_size(image.shape[0], image.shape[1])
        if width < image.shape[1]:
            small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            image = np.asarray(small, np.uint8)
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if not done:
            raise ValueError(f"a {width}x{height} picture does not fit JPEG")
        self._at(stamp_ns)
        picture = self._rr.EncodedImage(contents=data.tobytes(), media_type="image/jpeg")
        self._log(name, picture)

    def add_step(self, stamp_ns: int, scene: Scene) -> None:
        """One predicted instant; it lies at the stamp of the frame that it was predicted from."""
        self._at(stamp_ns)
        name = f"step_{scene.step}"
        if scene.segmentation is not None:
            ids = self._thinned(scene.segmentation)
            self._log_classed(f"{name}/{SEGMENTATION}", self._rr.SegmentationImage(ids))
        if scene.depth is not None:
            image = self._depth_image(self._thinned(scene.depth), scene.depth_is_metric)
            self._log(f"{name}/{DEPTH}", image)
            self._log_unknown(f"{name}/{DEPTH}/{UNKNOWN}", self._thinned(scene.depth))

    def add_objects(
        self, stamp_ns: int, scene: Scene, before: Mapping[int, Place], names: Sequence[str]
    ) -> None:
        """Boxes, names and arrows over a predicted instant's classes; over its depth without them.

        Args:
            stamp_ns: of the frame that it was predicted from.
            scene: the instant.
            before: where objects are now, `places_of`.
            names: of the classes.
        """
        if scene.instances is None:
            return
        self._at(stamp_ns)
        height, width = scene.instances.shape
        stride = -(-width // self._max_width)
        found = scene.detections
        kind = DEPTH if scene.segmentation is None else SEGMENTATION
        colors = [object_color(one.id) for one in found]
        boxes = np.array([one.box for one in found], np.float64).reshape(-1, 4) / stride
        name = f"step_{scene.step}/{kind}/{OBJECTS}"
        form = self._rr.Box2DFormat.XYWH
        labels = [f"{class_label(one.class_id, names)} {one.id}" for one in found]
        self._log(
            f"{name}/boxes",
            self._rr.Boxes2D(array=boxes, array_format=form, labels=labels, colors=colors),
        )
        moved = [one for one in found if one.id in before]
        starts = np.array([before[one.id] for one in moved], np.float64).reshape(-1, 2)
        starts = (starts * (width, height) - 0.5) / stride
        ends = np.array([one.centroid for one in moved], np.float64).reshape(-1, 2) / stride
        colors = [object_color(one.id) for one in moved]
        self._log(
            f"{name}/arrows",
            self._rr.Arrows2D(origins=starts, vectors=ends - starts, colors=colors),
        )

    def add_ways(self, stamp_ns: int, paths: Sequence[ObjectPath], names: Sequence[str]) -> None:
        """Arrows in space from where objects are to where they will be, optical frame, metres."""
        self._at(stamp_ns)
        placed = [(path, path.ends) for path in paths]
        known = [(path, *ends) for path, ends in placed if ends is not None]
        starts = np.array([start for _, start, _ in known], np.float64).reshape(-1, 3)
        ends = np.array([end for _, _, end in known], np.float64).reshape(-1, 3)
        arrows = self._rr.Arrows3D(
            origins=starts,
            vectors=ends - starts,
            labels=[f"{class_label(path.class_id, names)} {path.id}" for path, _, _ in known],
            colors=[object_color(path.id) for path, _, _ in known],
        )
        self._log(f"world/{OBJECTS}", arrows)

    def add_points(
        self,
        stamp_ns: int,
        points: NDArray[np.float32],
        class_ids: NDArray[np.uint8] | None,
    ) -> None:
        """Predicted depth as (N, 3) points in the optical frame, metres; `class_ids` (N,)."""
        self._at(stamp_ns)
        radii = self._rr.Radius.ui_points(_POINT_RADIUS_UI)
        cloud = self._rr.Points3D(points, radii=radii, class_ids=class_ids, show_labels=False)
        self._log_classed("world/points", cloud)

    def add_numbers(self, stamp_ns: int, numbers: Mapping[str, float]) -> None:
        """Entity name -> a number that is plotted; those that are not finite are left out."""
        self._at(stamp_ns)
        for name, value in numbers.items():
            if np.isfinite(value):
                self._log(name, self._rr.Scalars(float(value)))

    def name_lines(self, names: Mapping[str, Sequence[Any]]) -> None:
        """Entity name -> (how its line is called in a plot's legend, its (r, g, b))."""
        for name, (label, color) in names.items():
            self._log_static(name, self._rr.SeriesLines(names=label, colors=color, widths=2.0))

    def _depth_image(self, depth: NDArray[np.float32], is_metric: bool) -> Any:
        scale = DepthScale.fixed(is_metric)
        low, high = sorted((scale.near, scale.far))
        # Near is red, in both.
        colors = self._rr.components.Colormap
        return self._rr.DepthImage(
            depth,
            meter=1.0 if is_metric else None,
            colormap=colors.Spectral if is_metric else colors.Turbo,
            depth_range=(0.0, high) if is_metric else (low, high),
        )

    def _log_unknown(self, name: str, depth: NDArray[np.float32]) -> None:
        """Black over what is unknown, such as the sky: the page draws NaN as the least depth."""
        if name not in self._with_unknown:
            self._with_unknown.add(name)
            colors = [(0, "", (0, 0, 0, 0)), (1, UNKNOWN, (0, 0, 0, 255))]
            self._log_static(name, self._rr.AnnotationContext(colors))
        is_unknown = (~np.isfinite(depth)).astype(np.uint8)
        self._log(name, self._rr.SegmentationImage(is_unknown, opacity=1.0))

    def _thinned(self, values: NDArray[Any]) -> NDArray[Any]:
        stride = -(-values.shape[1] // self._max_width)
        return np.ascontiguousarray(values[::stride, ::stride])

    def _at(self, stamp_ns: int) -> None:
        self._stream.set_time(TIMELINE, timestamp=np.datetime64(stamp_ns, "ns"))

    def _log(self, name: str, thing: Any) -> None:
        self._stream.log(self.path(name), thing)

    def _log_classed(self, name: str, thing: Any) -> None:
        """Log what has class ids, and once their colours beside it: views do not look above."""
        if name not in self._with_classes:
            self._with_classes.add(name)
            if self._classes is not None:
                self._log_static(name, self._classes)
        self._log(name, thing)

    def _log_static(self, name: str, thing: Any) -> None:
        self._stream.log(self.path(name), thing, static=True)
