"""The stages of `foresight train all`, and what each is made from."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from dino_foresight_ros.cli.train.arguments import run_in_processes
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.outputs import HEADS, SEGMENTATION

if TYPE_CHECKING:
    from dino_foresight_ros.model.encoder import Encoder
    from dino_foresight_ros.recordings import Recording
    from dino_foresight_ros.training.stages import StageRunner

Words: TypeAlias = "Sequence[str]"
"""Of a command line."""
Work: TypeAlias = "Callable[[Path, bool], None]"
"""What a stage does: into which folder, and whether it goes on with what is there."""
TEST_FRACTION = 0.2
_GAP_FRACTION = 0.02
"""Of a recording, between what is trained on and what is measured on."""


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


class Pipeline:
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

    def run(self) -> None:
        """Every stage in turn."""
        for specs in (self._data, self._labels, *self._tests.values()):
            self._open(specs)
        self._check_tests()
        tasks = self._tasks()
        encoder = self._encoder()
        pca = self._run(
            "pca", self._pca_words(), {"data": self._data, "encoder": encoder}, self._fit_pca
        )
        features = self._run(
            "features", self._feature_words(), {"data": self._data, "encoder": encoder, "pca": pca},
            self._keep_features, Path.exists,
        )  # fmt: skip
        forecaster = self._run(
            "forecaster", self._forecaster_words(), {"features": features}, self._train_forecaster,
            _has_config,
        )  # fmt: skip
        heads = {}
        for task in tasks:
            inputs = {"data": self._labels, "encoder": encoder, "pca": pca}
            heads[task] = self._run(
                f"head_{task}", self._head_words(task), inputs, partial(self._train_head, task),
                _has_config,
            )  # fmt: skip
        made = {"encoder": encoder, "pca": pca, "forecaster": forecaster, **heads}
        bundle = self._run(
            "bundle", self._bundle_words(tasks), made, partial(self._assemble, tasks)
        )
        for name, specs in self._tests.items():
            inputs = {"data": specs, "fit": self._data, "bundle": bundle}
            self._run(name, self._evaluation_words(specs), inputs, partial(self._evaluate, specs))
        print(f"{self._out / 'bundle'}: the bundle; how good it is:")
        for name in self._tests:
            print(f"  {self._out / name / 'report.md'}")

    def _run(
        self,
        name: str,
        words: Words,
        inputs: dict[str, Any],
        work: Work,
        resumes: Callable[[Path], bool] = lambda folder: False,
    ) -> str:
        """Do a stage unless it is done.

        Args:
            name: of the stage and its folder.
            words: the command that does the same; it is printed, and tells whether the stage
                would give what it gave before.
            inputs: what it reads, by name: data to open, or fingerprints of earlier stages.
            work: does it, into a folder; told whether to go on with what is there.
            resumes: whether a folder can be gone on with.
        """
        from dino_foresight_ros.training.stages import Stage

        def run(folder: Path, go_on: bool) -> None:
            more = ["--resume"] if go_on and name != "features" else []  # which goes on by itself
            say(f"$ foresight {shlex.join([*words, *more, '--out', str(folder)])}")
            perform(name, work, folder, go_on)

        settings = {"words": _settings(words)}
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
        interval_s = self._args.interval or 0.2
        test = self._open(self._tests["evaluation"])
        longest = max(test, key=lambda recording: recording.duration_s)
        if longest.duration_s < 4 * interval_s:
            raise InputError(
                f"nothing to measure on: {longest.name} is the longest with "
                f"{longest.duration_s:.1f} s, a clip of 5 frames takes {4 * interval_s:.1f} s; "
                "give longer recordings, or --test"
            )

    def _tasks(self) -> list[str]:
        """The heads that there are labels for."""
        recordings = self._open(self._labels)
        have = [task for task in HEADS if any(r.labelled(task).size for r in recordings)]
        missing = [task for task in self._args.tasks or () if task not in have]
        if missing or (self._labels and not have):
            raise InputError(
                f"--labels hold no {missing[0] if missing else 'labels'}; they hold "
                + (", ".join(have) or "none")
            )
        return [task for task in have if not self._args.tasks or task in self._args.tasks]

    def _encoder(self) -> str:
        from dino_foresight_ros.training.encoders import encoder_origin, load_encoder

        args = self._args
        encoder = load_encoder(args.encoder, args.image_size, args.layers)
        return f"{encoder_origin(encoder).fingerprint} {encoder.config.image_size}"

    def _encoder_words(self) -> list[str]:
        args = self._args
        words = ["--encoder", args.encoder]
        if args.image_size is not None:
            words += ["--image-size", "{}x{}".format(*args.image_size)]
        if args.layers is not None:
            words += ["--layers", ",".join(map(str, args.layers))]
        return words

    def _encoding_words(self) -> list[str]:
        """How recordings are encoded."""
        args = self._args
        words = [*self._encoder_words(), "--device", args.device, "--dtype", args.dtype]
        words += [] if args.stride_s is None else ["--stride-s", f"{args.stride_s:g}"]
        return [*words, "--workers", str(args.workers)]

    def _pca_words(self) -> list[str]:
        size = [] if self._args.channels is None else ["--channels", str(self._args.channels)]
        return ["train", "pca", "--data", *self._data, *self._encoding_words(), *size]

    def _feature_words(self) -> list[str]:
        words = ["train", "features", "--data", *self._data, *self._encoding_words()]
        return [*words, "--pca", str(self._out / "pca")]

    def _forecaster_words(self) -> list[str]:
        args = self._args
        words = ["train", "forecaster", "--features", str(self._out / "features")]
        words += ["--preset", args.preset, "--seed", str(args.seed), "--device", args.device]
        for flag, value in (
            ("--minutes", args.minutes), ("--steps", args.steps),
            ("--frame-interval", args.interval), ("--validation-share", args.validation_share),
        ):  # fmt: skip
            words += [] if value is None else [flag, f"{value:g}"]
        return [*words, "--processes", str(args.processes)]

    def _head_words(self, task: str) -> list[str]:
        args = self._args
        words = ["train", "head", "--task", task, "--data", *self._labels, *self._encoder_words()]
        words += ["--pca", str(self._out / "pca"), "--preset", args.head_preset]
        words += ["--device", args.device, "--dtype", args.dtype, "--seed", str(args.seed)]
        for flag, value in (
            ("--minutes", args.head_minutes), ("--steps", args.head_steps),
            ("--validation-share", args.validation_share),
        ):  # fmt: skip
            words += [] if value is None else [flag, f"{value:g}"]
        return [*words, "--workers", str(args.workers)]

    def _bundle_words(self, tasks: Sequence[str]) -> list[str]:
        args = self._args
        words = ["bundle", "assemble", *self._encoder_words(), "--pca", str(self._out / "pca")]
        words += ["--forecaster", str(self._out / "forecaster")]
        for task in tasks:
            words += ["--head", f"{task}={self._out / f'head_{task}'}"]
        words += [] if args.interval is None else ["--interval", f"{args.interval:g}"]
        return [*words, "--name", args.name or args.out.resolve().name]

    def _evaluation_words(self, specs: Sequence[str]) -> list[str]:
        args = self._args
        words = ["evaluate", "--bundle", str(self._out / "bundle"), "--data", *specs]
        words += ["--fit-data", *self._data, "--device", args.device, "--seed", str(args.seed)]
        return words + ([] if args.max_clips is None else ["--max-clips", str(args.max_clips)])

    def _open_encoder(self) -> Encoder:
        from dino_foresight_ros.training.encoders import open_encoder

        args = self._args
        return open_encoder(args.encoder, args.image_size, args.layers, args.device, args.dtype)

    def _given(self, **names: str) -> dict[str, Any]:
        """Recipe fields by the arguments that give them, without those that were not given."""
        return {
            field: value
            for field, name in names.items()
            if (value := getattr(self._args, name)) is not None
        }

    def _fit_pca(self, out: Path, go_on: bool) -> None:
        from dino_foresight_ros.training.fit_pca import make_pca
        from dino_foresight_ros.training.recipes import PCARecipe, resolve_recipe

        flags = self._given(channels="channels", stride_s="stride_s", workers="workers")
        recipe = resolve_recipe(PCARecipe, flags=flags)
        about = {"encoder": self._args.encoder, "dtype": self._args.dtype}
        make_pca(out, self._data, self._open_encoder(), recipe, about=about)

    def _keep_features(self, out: Path, go_on: bool) -> None:
        from dino_foresight_ros.training.feature_writer import make_features
        from dino_foresight_ros.training.recipes import FeatureRecipe, resolve_recipe

        flags = self._given(stride_s="stride_s", workers="workers")
        recipe = resolve_recipe(FeatureRecipe, flags=flags)
        make_features(out, self._data, self._open_encoder(), str(self._out / "pca"), recipe)

    def _train_forecaster(self, out: Path, go_on: bool) -> None:
        from dino_foresight_ros.training.train_forecaster import plan_forecaster, run_forecaster

        args = self._args
        inputs: dict[str, Any] = {}
        flags, preset = {}, None
        if not go_on:  # a run knows its own recipe
            inputs = {"features": str(self._out / "features"),
                      "validation_share": args.validation_share}  # fmt: skip
            flags = self._given(
                minutes="minutes", steps="steps", frame_interval_s="interval", seed="seed"
            )
            preset = args.preset
        plan = plan_forecaster(out, inputs, flags, preset=preset, resume=go_on)
        run_in_processes(args.processes, run_forecaster, plan, args.device)

    def _train_head(self, task: str, out: Path, go_on: bool) -> None:
        from dino_foresight_ros.training.train_head import plan_head, run_head

        args = self._args
        inputs: dict[str, Any] = {}
        flags, preset = self._given(workers="workers"), None
        if not go_on:
            inputs = {
                "task": task,
                "data": self._labels,
                "encoder": args.encoder,
                "image_size": args.image_size,
                "layers": args.layers,
                "dtype": args.dtype,
                "pca": str(self._out / "pca"),
                "validation_share": args.validation_share,
            }
            flags |= self._given(minutes="head_minutes", steps="head_steps", seed="seed")
            preset = args.head_preset
        run_head(plan_head(out, inputs, flags, preset=preset, resume=go_on), args.device)

    def _assemble(self, tasks: Sequence[str], out: Path, go_on: bool) -> None:
        from dino_foresight_ros.training.assemble import write_bundle

        args = self._args
        write_bundle(
            out,
            args.encoder,
            str(self._out / "pca"),
            str(self._out / "forecaster"),
            {task: str(self._out / f"head_{task}") for task in tasks},
            name=args.name or args.out.resolve().name,
            image_size=args.image_size,
            layers=args.layers,
            frame_interval_s=args.interval,
        )

    def _evaluate(self, specs: Sequence[str], out: Path, go_on: bool) -> None:
        from dino_foresight_ros.cli.evaluate import write_and_tell
        from dino_foresight_ros.model import Bundle
        from dino_foresight_ros.model.devices import resolve_device
        from dino_foresight_ros.progress import warn
        from dino_foresight_ros.training.evaluation import EvaluationConfig, evaluate

        config = EvaluationConfig(**self._given(max_clips="max_clips", seed="seed"))
        bundle = Bundle.load(str(self._out / "bundle"), resolve_device(self._args.device))
        report = evaluate(bundle, self._open(specs), config, self._open(self._data), warn, True)
        write_and_tell(report, out)


def perform(stage: str, work: Work, folder: Path, go_on: bool) -> None:
    """Do the work of a stage; a place for tests to stand in."""
    work(folder, go_on)


_PLACES = frozenset({"--data", "--fit-data", "--features", "--pca", "--forecaster", "--bundle",
                     "--encoder", "--head"})  # fmt: skip
_SPEED_ONLY = frozenset({"--device", "--workers", "--processes"})


def _settings(words: Sequence[str]) -> list[str]:
    """A command's words without what its inputs' fingerprints say, and what changes no result."""
    kept, drop = [], False
    for word in words:
        if word.startswith("--"):
            drop = word in _PLACES | _SPEED_ONLY
        if not drop:
            kept.append(word)
    return kept


def _has_config(folder: Path) -> bool:
    return (folder / "config.yaml").is_file()
