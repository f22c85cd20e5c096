"""Scores a bundle's depth head in metres against the lidar of bags, at every horizon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dino_foresight_ros.compare import COPY_LAST, FORECAST, ORACLE
from dino_foresight_ros.compare.label_metrics import DepthMetrics
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model import Bundle, DepthTask
from dino_foresight_ros.model.dpt import UPSCALE
from dino_foresight_ros.outputs import DEPTH, SEGMENTATION
from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.recordings.bag import bag_of
from dino_foresight_ros.runtime.decoder import Decoder, layers_read
from dino_foresight_ros.spread import spread
from dino_foresight_ros.stamps import NS_PER_S
from dino_foresight_ros.training.evaluation.clip_batches import ClipBatch
from dino_foresight_ros.training.evaluation.clip_plan import Clip
from dino_foresight_ros.training.evaluation.lidar.bag_clouds import LidarOptions, Warn
from dino_foresight_ros.training.evaluation.lidar.scaling import (
    AFFINE,
    AS_IT_IS,
    CAMERA_HEIGHT,
    MEDIAN,
    Map,
    Scale,
    ScaleChoice,
    affine_scale,
    camera_height_scale,
    inverse_depth,
    median_scale,
    road_ids,
)
from dino_foresight_ros.training.evaluation.lidar.truth import CameraTruth, open_truths
from dino_foresight_ros.training.evaluation.results import (
    Lead,
    LidarReport,
    LidarResult,
    ScaleFacts,
)
from dino_foresight_ros.training.evaluation.series import HORIZONS, Series


class LidarDepth:
    """A bundle's depth head and the lidar of the bags it is measured on."""

    def __init__(
        self,
        bundle: Bundle,
        recordings: Sequence[Recording],
        options: LidarOptions,
        choice: ScaleChoice,
        warn: Warn,
    ) -> None:
        """Check that everything is there before anything is computed.

        Args:
            bundle: what is measured.
            recordings: of bags.
            options: how points become depth.
            choice: how depth is put to scale.
            warn: told of what was assumed.

        Raises:
            InputError: no depth head, or something is missing in a bag; names it.
        """
        task = bundle.tasks.get(DEPTH)
        if not isinstance(task, DepthTask):
            raise InputError(f"{bundle.name} has no depth head; there is nothing to compare")
        self.task, self.choice, self.options = task, choice, options
        self.methods = choice.methods(task)
        self.has_layers = bool(layers_read(bundle, DEPTH))
        if self.has_layers and self.methods != (AS_IT_IS,):
            raise InputError(
                f"{bundle.name}: its depth head reads the forecaster's layers and says nothing of "
                "a frame that is there, so it cannot be put to scale before the forecast"
            )
        self.road = road_ids(bundle) if CAMERA_HEIGHT in self.methods else ()
        if self.road and layers_read(bundle, SEGMENTATION):
            raise InputError(
                f"{bundle.name}: its segmentation head reads the forecaster's layers and cannot "
                "tell where the road is now, which --scale camera-height needs"
            )
        # The head's own resolution: a patch has as many cells as its head gives pixels.
        self.cells = (UPSCALE * bundle.grid[0], UPSCALE * bundle.grid[1])
        self.limits_m = self._limits_m()
        self.truths = open_truths(recordings, options, self.cells, warn)

    def _limits_m(self) -> tuple[float, float]:
        """Depths that are scored: a metric head can say nothing beyond its bins."""
        low, high = self.options.min_m, self.options.max_m
        if self.task.is_metric:
            assert self.task.min_m is not None
            assert self.task.max_m is not None
            low, high = max(low, self.task.min_m), min(high, self.task.max_m)
            if not low < high:
                raise InputError(
                    f"the depth head knows {self.task.min_m:g} to {self.task.max_m:g} m, none of "
                    f"which lies in {self.options.min_m:g} to {self.options.max_m:g} m"
                )
        return low, high

    def truth_of(self, recording: Recording) -> CameraTruth | None:
        """True depth of a recording or of a part of one; None where there is no lidar."""
        whole = bag_of(recording)
        return None if whole is None else self.truths.get(whole)

    def find_scale(
        self, method: str, inverse: Map, true_m: Map, rays: Map, road: NDArray[np.bool_] | None
    ) -> Scale | None:
        """The scale of one moment by one method."""
        if method == MEDIAN:
            return median_scale(inverse, true_m)
        if method == AFFINE:
            return affine_scale(inverse, true_m)
        assert road is not None
        assert self.choice.camera_height_m is not None
        return camera_height_scale(inverse, rays, road, self.choice.camera_height_m)


class LidarScorer:
    """Scores some of the clips by horizon, all predictors and steps of a clip on one scale.

    Attributes:
        without_depth: frames that are not scored, since a head gives no depth at any point.
    """

    def __init__(
        self,
        decoder: Decoder,
        recordings: Sequence[Recording],
        series: Sequence[Series],
        clips: Sequence[Clip],
        lidar: LidarDepth,
        max_clips: int | None,
    ) -> None:
        """Choose clips.

        Args:
            decoder: of the heads that read the predictions.
            recordings, series: what the clips' numbers refer to.
            clips: all that are scored.
            lidar: the truth.
            max_clips: at most so many, spread evenly; None: all.

        Raises:
            InputError: no clip by horizon has lidar at its newest frame and at a target.
        """
        self._decoder, self._recordings, self._series = decoder, recordings, series
        self._lidar = lidar
        by_horizon = [c for c in clips if c.scored and series[c.series].kind == HORIZONS]
        counts = {clip: self._with_lidar(clip) for clip in by_horizon}
        usable = [clip for clip in by_horizon if counts[clip]]
        # Clips with lidar at every step, if there are any, so that the steps can be compared.
        most = max(counts.values(), default=0)
        usable = [clip for clip in usable if counts[clip] == most]
        if not usable:
            raise InputError(
                "no clip by horizon has lidar at its newest frame and at what is forecast from it; "
                "record points at the pictures' rate, or give other --horizons"
            )
        self._clips = {usable[i] for i in spread(len(usable), max_clips or len(usable))}
        self._metrics: dict[tuple[str, int, str], DepthMetrics] = {}
        self._points: Counter[tuple[str, int]] = Counter()
        self._leads_s: dict[tuple[str, int], list[float]] = {}
        self._scales: dict[str, list[Scale | None]] = {m: [] for m in lidar.methods}
        self._rays: dict[CameraTruth, Map] = {}
        self.without_depth = 0

    def _stamp(self, clip: Clip, frame: int) -> int:
        return int(self._recordings[clip.recording].stamps_ns[frame])

    def _with_lidar(self, clip: Clip) -> int:
        """Targets with lidar; 0 where the newest frame has none."""
        truth = self._lidar.truth_of(self._recordings[clip.recording])
        if truth is None or not truth.has_cloud(self._stamp(clip, clip.context[-1])):
            return 0
        return sum(truth.has_cloud(self._stamp(clip, t)) for t in clip.targets if t >= 0)

    @torch.inference_mode()
    def add(
        self, batch: ClipBatch, predicted: Mapping[str, Tensor], hidden: Mapping[int, Tensor]
    ) -> None:
        """Score the chosen ones among a batch's clips; arguments as `SeriesScorer.update` gives."""
        for row, clip in enumerate(batch.clips):
            if clip in self._clips:
                z = {name: predicted[name][row] for name in (FORECAST, ORACLE)}
                tokens = {layer: values[row] for layer, values in hidden.items()}
                self._add(clip, batch.context[row], z, tokens)

    def _add(
        self, clip: Clip, context: Tensor, z: Mapping[str, Tensor], hidden: Mapping[int, Tensor]
    ) -> None:
        """Score a clip: context (N_c, h, w, C), predictions (S, h, w, C), layers (S, h, w, D)."""
        truth = self._lidar.truth_of(self._recordings[clip.recording])
        assert truth is not None
        focal = truth.view.focal
        newest, scales = dict[str, Map](), dict[str, Scale | None]()
        if not self._lidar.has_layers:
            newest = self._maps(context[-1:], focal)[0]
            scales = self._find_scales(clip, truth, newest)
        for position, target in enumerate(clip.targets):
            true_m = self._true(truth, self._stamp(clip, target)) if target >= 0 else None
            if true_m is None:
                continue
            if self._lidar.has_layers:
                tokens = {layer: values[position][None] for layer, values in hidden.items()}
                maps = self._decoder.maps({DEPTH: self._lidar.cells}, hidden=tokens, focal=focal)
                depths = {FORECAST: _plain(maps[DEPTH][0])}
            else:
                stacked = torch.stack([one[position] for one in z.values()])
                decoded = self._maps(stacked, focal, (DEPTH,))
                depths = {name: one[DEPTH] for name, one in zip(z, decoded, strict=True)}
                depths[COPY_LAST] = newest[DEPTH]
            self._score(clip, position, depths, scales, true_m)

    def _maps(
        self, z: Tensor, focal: float | None, heads: tuple[str, ...] | None = None
    ) -> list[dict[str, Map]]:
        """(B, h, w, C) -> per row the maps that are needed, of the cells' size."""
        wanted = heads or (DEPTH, *((SEGMENTATION,) if self._lidar.road else ()))
        maps = self._decoder.maps(dict.fromkeys(wanted, self._lidar.cells), z, focal=focal)
        return [{name: _plain(one[i]) for name, one in maps.items()} for i in range(len(z))]

    def _true(self, truth: CameraTruth, stamp_ns: int) -> Map | None:
        """Depth within the limits; None without any."""
        found = truth.depth(stamp_ns)
        if found is None:
            return None
        low, high = self._lidar.limits_m
        with np.errstate(invalid="ignore"):
            kept = np.where((found >= low) & (found <= high), found, np.nan).astype(np.float64)
        return kept if np.isfinite(kept).any() else None

    def _find_scales(
        self, clip: Clip, truth: CameraTruth, newest: Mapping[str, Map]
    ) -> dict[str, Scale | None]:
        """From the newest frame of the context alone: what comes later is not known yet."""
        true_m = self._true(truth, self._stamp(clip, clip.context[-1]))
        inverse = inverse_depth(self._lidar.task, newest[DEPTH])
        road = np.isin(newest[SEGMENTATION], self._lidar.road) if self._lidar.road else None
        if truth not in self._rays:
            self._rays[truth] = truth.rays()
        scales: dict[str, Scale | None] = {}
        for method in self._scales:
            if method == AS_IT_IS:
                continue
            if true_m is not None or method == CAMERA_HEIGHT:
                known = np.full(self._lidar.cells, np.nan) if true_m is None else true_m
                rays = self._rays[truth]
                scales[method] = self._lidar.find_scale(method, inverse, known, rays, road)
            self._scales[method].append(scales.get(method))
        return scales

    def _score(
        self,
        clip: Clip,
        position: int,
        depths: Mapping[str, Map],
        scales: Mapping[str, Scale | None],
        true_m: Map,
    ) -> None:
        max_m = self._lidar.options.max_m
        ahead_ns = self._stamp(clip, clip.targets[position]) - self._stamp(clip, clip.context[-1])
        for method in self._lidar.methods:
            scale = scales.get(method)
            if scale is None and method != AS_IT_IS:
                continue
            metres = {
                name: depth
                if scale is None
                else scale.metres(inverse_depth(self._lidar.task, depth), max_m)
                for name, depth in depths.items()
            }
            has_points = np.isfinite(true_m)
            if not all(np.isfinite(one[has_points]).any() for one in metres.values()):
                self.without_depth += 1  # the same frames are scored of every predictor
                continue
            self._points[method, position] += int(has_points.sum())
            self._leads_s.setdefault((method, position), []).append(ahead_ns / NS_PER_S)
            for name, depth in metres.items():
                metrics = self._metrics.setdefault((method, position, name), DepthMetrics())
                metrics.update(torch.as_tensor(depth)[None], torch.as_tensor(true_m)[None])

    def report(self) -> LidarReport:
        """Everything that was found.

        Raises:
            InputError: no picture has a point that can be scored, or no scale was found.
        """
        sources = tuple(truth.facts() for truth in self._lidar.truths.values())
        if not self._points:
            why = sum((Counter(one.without) for one in sources), Counter[str]())
            reasons = ", ".join(f"{count} pictures have {text}" for text, count in why.items())
            tried = " or ".join(method for method in self._lidar.methods)
            nothing = f"no scale was found ({tried})"
            if self.without_depth:
                nothing = "a head gives no depth at any point of the lidar"
            raise InputError("no depth could be scored against lidar: " + (reasons or nothing))
        series = next(one for one in self._series if one.kind == HORIZONS)
        results = []
        for method, position in sorted(self._points, key=lambda k: (_rank(k[0]), k[1])):
            leads_s = self._leads_s[method, position]
            lead = Lead(
                series.kind,
                series.spacing_s,
                series.steps[position],
                None,
                float(np.mean(leads_s)),
            )
            rows = {
                name: metrics.compute()
                for (of, at, name), metrics in self._metrics.items()
                if (of, at) == (method, position)
            }
            points = self._points[method, position]
            results.append(LidarResult(lead, method, len(leads_s), points, rows))
        low, high = self._lidar.limits_m
        scales = tuple(self._scale_facts(m) for m in self._scales if m != AS_IT_IS)
        return LidarReport(sources, tuple(results), scales, low, high, self._lidar.cells)

    def _scale_facts(self, method: str) -> ScaleFacts:
        found = [scale for scale in self._scales[method] if scale is not None]
        low, median, high = (
            (float(np.percentile([s.scale for s in found], share)) if found else None)
            for share in (10, 50, 90)
        )
        shift = float(np.median([s.shift for s in found])) if method == AFFINE and found else None
        left_out = len(self._scales[method]) - len(found)
        height_m = self._lidar.choice.camera_height_m if method == CAMERA_HEIGHT else None
        return ScaleFacts(method, median, low, high, shift, len(found), left_out, height_m)


def _rank(method: str) -> int:
    return 0 if method == AS_IT_IS else 1


def _plain(values: Tensor) -> Map:
    found: Map = values.double().cpu().numpy()
    return found
