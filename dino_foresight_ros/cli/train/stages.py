"""The stages of `foresight train all`: what each is made from, and the command that does it."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_foresight_ros.cli.bundle import assemble_bundle
from dino_foresight_ros.cli.evaluate import evaluate_bundle
from dino_foresight_ros.cli.train.arguments import Options
from dino_foresight_ros.cli.train.features import keep_features
from dino_foresight_ros.cli.train.forecaster import train_forecaster
from dino_foresight_ros.cli.train.head import train_head
from dino_foresight_ros.cli.train.pca import fit_pca
from dino_foresight_ros.cli.train.pixels import keep_pixels
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.outputs import HEADS, SEGMENTATION
from dino_foresight_ros.training.recipe_base import resolve_recipe
from dino_foresight_ros.training.recipes import VALIDATION_SHARE, ForecasterRecipe

if TYPE_CHECKING:
    from dino_foresight_ros.recordings import Recording
    from dino_foresight_ros.training.pseudo_labels import Teacher
    from dino_foresight_ros.training.stages import StageRunner

WORK: dict[str, Callable[..., None]] = {
    "train pca": fit_pca,
    "train features": keep_features,
    "train pixels": keep_pixels,
    "train forecaster": train_forecaster,
    "train head": train_head,
    "bundle assemble": assemble_bundle,
    "evaluate": evaluate_bundle,
}
"""Command of `foresight` -> its function, which takes the options that the command is told."""
TEST_FRACTION = 0.2
_GAP_FRACTION = 0.02
"""Of a recording, between what is trained on and what is measured on."""
_LABEL_STRIDE_S = 0.2
"""Seconds between pictures with pseudo-labels: nearer ones teach a head little."""


def say(text: str) -> None:
    """Tell how it goes."""
    print(text, file=sys.stderr, flush=True)


def cut(spec: str, low: float, high: float) -> str:
    """The same data, but only a share of every recording.

    Raises:
        UsageError: the text names a part already.
    """
    from dino_foresight_ros.recordings.spec import parse_spec

    options = parse_spec(spec).options
    named = [key for key in ("start", "end", "part") if key in options]
    if named:
        raise UsageError(f"{spec}: {named[0]} is given, so what to measure on is not clear; "
                         "give --test")  # fmt: skip
    return f"{spec}{'&' if options else '?'}part={low:g}-{high:g}"


class Stages:
    """The stages of one call, and what each is made from."""

    def __init__(self, args: argparse.Namespace, runner: StageRunner) -> None:
        self._args, self._runner, self._out = args, runner, args.out
        train, kept = 1 - TEST_FRACTION, 1 - TEST_FRACTION + _GAP_FRACTION
        whole = args.test is not None
        self._data = args.data if whole else [cut(s, 0, train) for s in args.data]
        self._labels = args.labels if whole else [cut(s, 0, train) for s in args.labels]
        # Apart, because classes may differ; each has its own report.
        tests = {"evaluation": args.test or [cut(s, kept, 1) for s in args.data]}
        if not whole and args.labels and sorted(args.labels) != sorted(args.data):
            tests["evaluation_labels"] = [cut(s, kept, 1) for s in args.labels]
        self._tests = tests
        self._opened: dict[tuple[str, ...], list[Recording]] = {}
        self._teacher: Teacher | None = None
        self._encoder_size = (0, 0)

    def run(self) -> None:
        """Every stage in turn."""
        for specs in (self._data, self._labels, *self._tests.values()):
            self._open(specs)
        self._check_tests()
        self._check_lengths()
        tasks = self._tasks()
        if not tasks:
            from dino_foresight_ros.training.assemble import NO_HEADS

            say(f"no labels are given: {NO_HEADS}")
        encoder = self._encoder()
        pca = self._run(
            "pca", "train pca", self._pca_options(), {"data": self._data, "encoder": encoder}
        )
        features = self._run(
            "features", "train features", self._feature_options(),
            {"data": self._data, "encoder": encoder, "pca": pca}, Path.exists,
        )  # fmt: skip
        forecaster = self._run(
            "forecaster", "train forecaster", self._forecaster_options(), {"features": features},
            _holds_run,
        )  # fmt: skip
        labels: Any = self._labels
        if self._teacher is not None:
            inputs = {"data": self._data, "pseudo_labels": self._teacher.origin.fingerprint}
            options = self._pseudo_label_options()
            labels = self._run("labels", "train pixels", options, inputs, Path.exists)
        heads = {
            task: self._run(
                f"head_{task}", "train head", self._head_options(task),
                {"data": labels, "encoder": encoder, "pca": pca}, _holds_run,
            )
            for task in tasks
        }  # fmt: skip
        made = {"encoder": encoder, "pca": pca, "forecaster": forecaster, **heads}
        bundle = self._run("bundle", "bundle assemble", self._bundle_options(tasks), made)
        for name, specs in self._tests.items():
            inputs = {"data": specs, "fit": self._data, "bundle": bundle}
            self._run(name, "evaluate", self._evaluation_options(specs), inputs, opening=self._open)
        print(f"{self._out / 'bundle'}: the bundle; how good it is:")
        for name in self._tests:
            print(f"  {self._out / name / 'report.md'}")

    def _run(
        self,
        name: str,
        command: str,
        options: Options,
        inputs: dict[str, Any],
        resumes: Callable[[Path], bool] = lambda folder: False,
        **more: Any,
    ) -> str:
        """Do a stage unless it is done.

        Args:
            name: of the stage and its folder.
            command: of `foresight`, which does the same.
            options: of the command, without its folder.
            inputs: what it reads, by name: data to open, or fingerprints of earlier stages.
            resumes: whether a folder can be gone on with.
            more: for the command's function alone.

        Returns:
            A fingerprint of what it made.
        """
        from dino_foresight_ros.training.stages import Stage

        def run(folder: Path, go_on: bool) -> None:
            told = {**options, "out": folder}
            if go_on and resumes is _holds_run:  # a run knows all that decides what comes out
                speed = {name: value for name, value in options.items() if name in _SPEED_ONLY}
                told = {"resume": True, **speed, "out": folder}
            say(f"$ foresight {shlex.join([*command.split(), *_words(told)])}")
            WORK[command](told, **more)

        decisive = {k: v for k, v in options.items() if k not in _PLACES | _SPEED_ONLY}
        settings = {"words": [*command.split(), *_words(decisive)]}
        return self._runner.run(Stage(name, settings, self._fingerprints(inputs), run, resumes))

    def _fingerprints(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {
            name: [[r.name, r.fingerprint] for r in self._open(value)]
            if isinstance(value, list)
            else value
            for name, value in inputs.items()
        }

    def _open(self, specs: Sequence[str]) -> list[Recording]:
        from dino_foresight_ros.progress import warn
        from dino_foresight_ros.recordings import open_recordings

        if tuple(specs) not in self._opened:
            self._opened[tuple(specs)] = open_recordings(specs, warn) if specs else []
        return self._opened[tuple(specs)]

    def _check_tests(self) -> None:
        """Refuse to train for hours for what cannot be measured then."""
        from dino_foresight_ros.training.data import check_disjoint, common_label_space

        used = [*self._open(self._data), *self._open(self._labels)]
        for specs in self._tests.values():
            check_disjoint(used, self._open(specs), "trained on and measured on")
            common_label_space([r for r in self._open(specs) if r.labelled(SEGMENTATION).size])

    def _check_lengths(self) -> None:
        """Refuse recordings that a later stage would find too short, and say how long they must be.

        Raises:
            InputError: too short to train on, to validate on or to measure on.
        """
        from dino_foresight_ros.training.enough_data import (
            check_measurable,
            check_trainable,
            first_share,
            last_share,
            least_duration_s,
        )

        args = self._args
        flags = {"seed": args.seed, "minutes": args.minutes, "steps": args.steps}
        flags |= {"frame_interval_s": args.interval}
        given = {name: value for name, value in flags.items() if value is not None}
        recipe = resolve_recipe(ForecasterRecipe, args.preset, None, given)
        share = VALIDATION_SHARE if args.validation_share is None else args.validation_share

        def check(train: Sequence[Recording], test: Sequence[Recording]) -> None:
            resolved = check_trainable(train, recipe, share, args.stride_s)
            assert resolved.frame_interval_s is not None
            check_measurable(test, resolved.context_frames + 1, resolved.frame_interval_s)

        def check_whole(recordings: Sequence[Recording]) -> None:
            if args.test is not None:
                check_trainable(recordings, recipe, share, args.stride_s)
                return
            train = [first_share(one, 1 - TEST_FRACTION) for one in recordings]
            rest = TEST_FRACTION - _GAP_FRACTION
            check(train, [last_share(one, rest) for one in recordings])

        data = self._open(self._data)
        try:
            check(data, self._open(self._tests["evaluation"]))
        except InputError as error:
            least = least_duration_s(data, check_whole)
            wanted = "longer recordings" if least is None else f"recordings of at least {least:g} s"
            other = "" if args.test is not None else ", --test"
            reason = str(error).partition(";")[0]
            raise InputError(
                f"{reason}; give {wanted}, a shorter --interval{other} or another "
                "--validation-share"
            ) from error

    def _tasks(self) -> list[str]:
        """The heads that there are labels for."""
        from dino_foresight_ros.training.enough_data import check_labelled
        from dino_foresight_ros.training.head_tasks import training_class

        if self._args.pseudo_labels:
            return self._taught_tasks()
        recordings = self._open(self._labels)
        kinds = {task: training_class(task).label for task in HEADS}
        have = [task for task in HEADS if any(r.labelled(kinds[task]).size for r in recordings)]
        missing = [task for task in self._args.tasks or () if task not in have]
        if missing or (self._labels and not have):
            raise InputError(
                f"--labels hold no {missing[0] if missing else 'labels'}; they hold "
                + (", ".join(have) or "none")
            )
        tasks = self._chosen(have)
        args = self._args
        share = VALIDATION_SHARE if args.validation_share is None else args.validation_share
        for task in tasks:
            check_labelled(recordings, kinds[task], share, args.seed)
        return tasks

    def _taught_tasks(self) -> list[str]:
        """The heads that a bundle's own heads can teach."""
        from dino_foresight_ros.training.pseudo_labels import load_teacher

        teacher = self._teacher = load_teacher(self._args.pseudo_labels, "cpu")
        missing = [task for task in self._args.tasks or () if task not in teacher.tasks]
        if missing:
            raise InputError(
                f"bundle {teacher.origin.name} gives no pseudo-labels for {missing[0]}; it gives "
                + ", ".join(teacher.tasks)
            )
        return self._chosen(teacher.tasks)

    def _chosen(self, possible: Sequence[str]) -> list[str]:
        """Of the heads that can be trained those that are named, else all that need no naming."""
        from dino_foresight_ros.training.head_tasks import training_class

        named = self._args.tasks or [t for t in possible if not training_class(t).by_request]
        return [task for task in possible if task in named]

    def _encoder(self) -> str:
        from dino_foresight_ros.training.encoder_loading import encoder_origin, load_encoder

        args = self._args
        encoder = load_encoder(args.encoder, args.image_size, args.layers)
        self._encoder_size = encoder.config.image_size
        return f"{encoder_origin(encoder).fingerprint} {encoder.config.image_size}"

    def _encoder_options(self) -> Options:
        args = self._args
        return {"encoder": args.encoder, "image_size": args.image_size, "layers": args.layers}

    def _encoding_options(self) -> Options:
        """How recordings are encoded."""
        args = self._args
        return {
            **self._encoder_options(),
            "device": args.device,
            "dtype": args.dtype,
            "stride_s": args.stride_s,
            "workers": args.workers,
        }

    def _pca_options(self) -> Options:
        return {"data": self._data, **self._encoding_options(), "channels": self._args.channels}

    def _feature_options(self) -> Options:
        return {"data": self._data, **self._encoding_options(), "pca": self._out / "pca"}

    def _forecaster_options(self) -> Options:
        args = self._args
        return {
            "features": str(self._out / "features"),
            "preset": args.preset,
            "seed": args.seed,
            "device": args.device,
            "minutes": args.minutes,
            "steps": args.steps,
            "frame_interval": args.interval,
            "validation_share": args.validation_share,
            "processes": args.processes,
        }

    def _pseudo_label_options(self) -> Options:
        args = self._args
        return {
            "data": self._data,
            "image_size": self._encoder_size,
            "stride_s": max(args.stride_s or 0.0, _LABEL_STRIDE_S),
            "pseudo_labels": args.pseudo_labels,
            "device": args.device,
        }

    def _head_options(self, task: str) -> Options:
        args = self._args
        return {
            "task": task,
            "data": self._labels if self._teacher is None else [f"pixels:{self._out / 'labels'}"],
            **self._encoder_options(),
            "pca": str(self._out / "pca"),
            "preset": args.head_preset,
            "device": args.device,
            "dtype": args.dtype,
            "seed": args.seed,
            "minutes": args.head_minutes,
            "steps": args.head_steps,
            "validation_share": args.validation_share,
            "workers": args.workers,
        }

    def _bundle_options(self, tasks: Sequence[str]) -> Options:
        args = self._args
        return {
            **self._encoder_options(),
            "pca": str(self._out / "pca"),
            "forecaster": str(self._out / "forecaster"),
            "head": {task: str(self._out / f"head_{task}") for task in tasks},
            "interval": args.interval,
            "name": args.name or args.out.resolve().name,
        }

    def _evaluation_options(self, specs: Sequence[str]) -> Options:
        args = self._args
        return {
            "bundle": str(self._out / "bundle"),
            "data": specs,
            "fit_data": self._data,
            "device": args.device,
            "seed": args.seed,
            "max_clips": args.max_clips,
        }


_PLACES = frozenset(
    {
        "data",
        "fit_data",
        "features",
        "pca",
        "forecaster",
        "bundle",
        "encoder",
        "head",
        "pseudo_labels",
    }
)
"""Options that name inputs, whose fingerprints say more."""
_SPEED_ONLY = frozenset({"device", "workers", "processes"})
"""Options that change nothing of what comes out."""


def _words(options: Options) -> list[str]:
    """The options as a command line has them."""
    words: list[str] = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, dict):
            for key, folder in value.items():
                words += [flag, f"{key}={folder}"]
        elif name in ("image_size", "layers") and value is not None:
            words += [flag, ("x" if name == "image_size" else ",").join(map(str, value))]
        elif isinstance(value, list | tuple):
            words += [flag, *value]
        elif value is True:
            words += [flag]
        elif isinstance(value, float):
            words += [flag, repr(value).removesuffix(".0")]
        elif value is not None:
            words += [flag, str(value)]
    return words


def _holds_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file()
