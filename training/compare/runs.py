"""Trains and measures the variants of a comparison; what several share is done once.

Stages lie in one folder under names with a fingerprint of all that decides what they make. Run
again, a comparison does what is missing; another one in the same folder takes what fits it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dino_foresight_ros.errors import ForesightError, InputError
from dino_foresight_ros.files import whole_folder
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.devices import resolve_device
from dino_foresight_ros.progress import warn
from dino_foresight_ros.recordings import Recording, open_recordings
from dino_foresight_ros.training.assemble import assemble
from dino_foresight_ros.training.compare.comparison import Comparison, Variant
from dino_foresight_ros.training.compare.scores import (
    RecordingScores,
    VariantFacts,
    score_recordings,
)
from dino_foresight_ros.training.compare.settings import (
    Settings,
    recipe_of,
    section,
    start_of,
)
from dino_foresight_ros.training.data import check_disjoint, scene_numbers
from dino_foresight_ros.training.encoder_loading import encoder_origin, load_encoder, open_encoder
from dino_foresight_ros.training.feature_writer import make_features
from dino_foresight_ros.training.fit_pca import make_pca
from dino_foresight_ros.training.head_tasks import training_class
from dino_foresight_ros.training.model_parts import load_forecaster, load_pca
from dino_foresight_ros.training.pixel_writer import keep_pixels
from dino_foresight_ros.training.recipes import (
    FeatureRecipe,
    ForecasterRecipe,
    HeadRecipe,
    PCARecipe,
)
from dino_foresight_ros.training.run_folder import CONFIG
from dino_foresight_ros.training.stages import Stage, StageRunner
from dino_foresight_ros.training.train_forecaster import plan_forecaster, run_forecaster
from dino_foresight_ros.training.train_head import plan_head, run_head

SCORES = "scores.json"
WORK = "stages"
"""Folder of all stages."""


@dataclass(frozen=True)
class RunScores:
    """What one run gave.

    Attributes:
        variant, seed: which run.
        facts: of its model.
        scores: name of each recording -> its scores.
        scenes: name of each recording -> number of its scene, which cameras of a rig share.
    """

    variant: Variant
    seed: int
    facts: VariantFacts
    scores: Mapping[str, RecordingScores]
    scenes: Mapping[str, int]


@dataclass(frozen=True)
class _Made:
    """A stage's folder, and the fingerprint of what is in it."""

    folder: Path
    print: str


def run_comparison(
    comparison: Comparison,
    out: Path,
    device: str = "auto",
    say: Callable[[str], None] = lambda text: None,
) -> list[RunScores]:
    """Do every run that is not done yet.

    Args:
        comparison: what to do.
        out: folder, whose `stages` holds the work.
        device: "auto", "cpu", "cuda" or "cuda:N".
        say: is told in a line what is done.

    Returns:
        The scores, the baseline's first, every seed of a variant after another.

    Raises:
        ForesightError: as the stages; data that are trained on and scored on; nothing to score.
    """
    runner = StageRunner(out / WORK, say)
    with runner.locked():
        runs = _Runs(runner, comparison, device)
        for variant in comparison.variants:
            runs.check_data(variant)
        every = [(variant, seed) for variant in comparison.variants for seed in comparison.seeds]
        found = []
        for number, (variant, seed) in enumerate(every, 1):
            say(f"run {number} of {len(every)}: {variant.name}, seed {seed}")
            try:
                found.append(runs.run(variant, seed))
            except ForesightError as error:
                raise type(error)(f"{variant.name}, seed {seed}: {error}") from error
        return found


class _Runs:
    """The stages of all runs."""

    def __init__(self, runner: StageRunner, comparison: Comparison, device: str) -> None:
        self._runner, self._comparison, self._device = runner, comparison, device
        self._opened: dict[tuple[str, ...], list[Recording]] = {}
        self._encoders: dict[tuple[Any, ...], str] = {}

    def check_data(self, variant: Variant) -> None:
        """Open everything, and refuse to score what is trained on.

        Raises:
            InputError: frames of both; labels that are not there.
        """
        settings = variant.settings
        labels = self._open(settings.get("data.labels", settings["data.train"]))
        used = [*self._open(settings["data.train"]), *labels]
        test = self._open(settings["data.test"])
        check_disjoint(used, test, "trained on and scored on")
        for task in settings.get("heads.tasks", ()):
            kind = training_class(task).label
            if not any(recording.labelled(kind).size for recording in labels):
                raise InputError(f"{variant.name}: heads.tasks names {task}, which no data show")

    def run(self, variant: Variant, seed: int) -> RunScores:
        """Everything of one run."""
        settings = variant.settings
        train = self._data(settings, "data.train")
        labels = self._data(settings, "data.labels") if "data.labels" in settings else train
        test = self._data(settings, "data.test")
        pca = self._pca(settings, train)
        earlier = start_of(settings)
        if settings.get("bundle.resize_grid") and earlier is not None:
            forecaster = self._forecaster(earlier, train, pca, seed)
        else:
            forecaster = self._forecaster(settings, train, pca, seed)
        heads = {
            task: self._head(settings, task, labels, pca, seed)
            for task in settings.get("heads.tasks", ())
        }
        scores = self._scores(settings, test, pca, forecaster, heads)
        facts, found = _read_scores(scores.folder / SCORES)
        recordings = self._open(settings["data.test"])
        names = (recording.name for recording in recordings)
        scenes = dict(zip(names, scene_numbers(recordings), strict=True))
        return RunScores(variant, seed, facts, found, scenes)

    def _stage(
        self,
        kind: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, Any],
        run: Callable[[Path, bool], None],
        resumes: Callable[[Path], bool] = lambda folder: False,
    ) -> _Made:
        stage = Stage(kind, settings, inputs, run, resumes)
        stage = replace(stage, name=f"{kind}-{stage.key[:10]}")
        return _Made(self._runner.root / stage.name, self._runner.run(stage))

    def _open(self, specs: Sequence[str]) -> list[Recording]:
        key = tuple(specs)
        if key not in self._opened:
            self._opened[key] = open_recordings(specs, warn)
        return self._opened[key]

    def _data(self, settings: Settings, name: str) -> dict[str, Any]:
        """Specs to read, and what tells whether they have changed; pixels are kept first."""
        specs = list(settings[name])
        prints = [[one.name, one.fingerprint] for one in self._open(specs)]
        size = settings.get("data.pixels")
        if size is None:
            return {"specs": specs, "prints": prints}

        def keep(folder: Path, go_on: bool) -> None:
            keep_pixels(specs, size, folder)

        made = self._stage("pixels", {"size": size}, {"data": prints}, keep, Path.exists)
        return {"specs": [f"pixels:{made.folder}"], "prints": made.print}

    def _encoder(self, settings: Settings) -> dict[str, Any]:
        """What tells an encoder from another."""
        own = section(settings, "encoder")
        key = (own["name"], own.get("layers"))
        if key not in self._encoders:
            loaded = load_encoder(own["name"], None, own.get("layers"))
            self._encoders[key] = encoder_origin(loaded).fingerprint
        return {"encoder": self._encoders[key], "image_size": own.get("image_size")}

    def _load_encoder(self, settings: Settings) -> Any:
        own = section(settings, "encoder")
        return open_encoder(own["name"], own.get("image_size"), own.get("layers"), self._device)

    def _pca(self, settings: Settings, data: Mapping[str, Any]) -> _Made:
        recipe = recipe_of(settings, "pca", PCARecipe, workers=0)

        def fit(folder: Path, go_on: bool) -> None:
            make_pca(folder, data["specs"], self._load_encoder(settings), recipe)

        inputs = {"data": data["prints"], **self._encoder(settings)}
        return self._stage("pca", recipe.to_dict(), inputs, fit)

    def _features(self, settings: Settings, data: Mapping[str, Any], pca: _Made) -> _Made:
        recipe = recipe_of(settings, "features", FeatureRecipe, workers=0)

        def keep(folder: Path, go_on: bool) -> None:
            encoder = self._load_encoder(settings)
            make_features(folder, data["specs"], encoder, str(pca.folder), recipe)

        inputs = {"data": data["prints"], "pca": pca.print, **self._encoder(settings)}
        return self._stage("features", recipe.to_dict(), inputs, keep, Path.exists)

    def _forecaster(
        self, settings: Settings, data: Mapping[str, Any], pca: _Made, seed: int
    ) -> _Made:
        recipe = recipe_of(settings, "forecaster", ForecasterRecipe, seed=seed)
        earlier = start_of(settings)
        start = None if earlier is None else self._forecaster(earlier, data, pca, seed)
        features = self._features(settings, data, pca)
        share = settings.get("data.validation_share")
        values = section(settings, "forecaster")
        preset = values.pop("preset", None)

        def train(folder: Path, go_on: bool) -> None:
            inputs: dict[str, Any] = {"features": str(features.folder), "validation_share": share}
            if start is not None:
                inputs["start"] = str(start.folder)
            if go_on:
                plan = plan_forecaster(folder, {}, {}, resume=True)
            else:
                plan = plan_forecaster(folder, inputs, {**values, "seed": seed}, preset=preset)
            run_forecaster(plan, self._device)

        made = {"features": features.print, "start": None if start is None else start.print}
        return self._stage(
            "forecaster", {**recipe.to_dict(), "share": share}, made, train, _holds_run
        )

    def _head(
        self, settings: Settings, task: str, data: Mapping[str, Any], pca: _Made, seed: int
    ) -> _Made:
        recipe = recipe_of(settings, "heads", HeadRecipe, task, seed=seed, workers=0)
        encoder, share = section(settings, "encoder"), settings.get("data.validation_share")
        values = section(settings, "heads")
        preset = values.pop("preset", None)
        values.pop("tasks")

        def train(folder: Path, go_on: bool) -> None:
            inputs = {
                "task": task, "data": data["specs"], "encoder": encoder["name"],
                "image_size": encoder.get("image_size"), "layers": encoder.get("layers"),
                "pca": str(pca.folder), "validation_share": share,
            }  # fmt: skip
            if go_on:
                plan = plan_head(folder, {}, {}, resume=True)
            else:
                flags = {**values, "seed": seed, "workers": 0}
                plan = plan_head(folder, inputs, flags, preset=preset)
            run_head(plan, self._device)

        made = {"data": data["prints"], "pca": pca.print, **self._encoder(settings)}
        return self._stage(
            f"head_{task}", {**recipe.to_dict(), "share": share}, made, train, _holds_run
        )

    def _scores(
        self,
        settings: Settings,
        data: Mapping[str, Any],
        pca: _Made,
        forecaster: _Made,
        heads: Mapping[str, _Made],
    ) -> _Made:
        config = self._comparison.evaluation
        own, ways = section(settings, "encoder"), section(settings, "bundle")

        def measure(folder: Path, go_on: bool) -> None:
            bundle: Bundle = assemble(
                own["name"],
                str(pca.folder),
                str(forecaster.folder),
                {task: str(head.folder) for task, head in heads.items()},
                name="variant",
                image_size=own.get("image_size"),
                layers=own.get("layers"),
                **ways,
            ).to(resolve_device(self._device))
            facts = VariantFacts(
                forecaster_parameters=sum(
                    p.numel() for p in load_forecaster(forecaster.folder)[0].parameters()
                ),
                channels=bundle.pca.channels,
                variance_kept=load_pca(pca.folder)[1].scores.get("variance_kept"),
            )
            scores = score_recordings(bundle, open_recordings(data["specs"], warn), config)
            kept = {"facts": asdict(facts), "scenes": scores}
            with whole_folder(folder, (SCORES,)) as scratch:
                (scratch / SCORES).write_text(json.dumps(kept, indent=1, allow_nan=False) + "\n")

        inputs = {
            "data": data["prints"], "pca": pca.print, "forecaster": forecaster.print,
            "heads": {task: head.print for task, head in heads.items()}, **self._encoder(settings),
        }  # fmt: skip
        asked = {
            name: value
            for name, value in {**asdict(config), **ways}.items()
            if name not in ("resamples", "confidence", "batch")
        }
        return self._stage("scores", asked, inputs, measure)


def _holds_run(folder: Path) -> bool:
    return (folder / CONFIG).is_file()


def _read_scores(path: Path) -> tuple[VariantFacts, dict[str, RecordingScores]]:
    try:
        values = json.loads(path.read_text())
        return VariantFacts(**values["facts"]), values["scenes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged; remove {path.parent} and run again") from error
