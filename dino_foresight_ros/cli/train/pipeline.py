"""The stages of `foresight train all`: their commands, and what each is made from."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_foresight_ros.errors import InputError, UsageError

if TYPE_CHECKING:
    from dino_foresight_ros.recordings import Recording
    from dino_foresight_ros.training.stages import Stage, StageRunner

TASKS = ("segmentation", "depth", "normals")
TEST_SHARE = 0.2
_GAP_SHARE = 0.02
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
        train, kept = 1 - TEST_SHARE, 1 - TEST_SHARE + _GAP_SHARE
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
        pca = self._run("pca", self._pca_words(), {"data": self._data, "encoder": encoder})
        features = self._run(
            "features", self._feature_words(), {"data": self._data, "encoder": encoder, "pca": pca},
            resumes=Path.exists,
        )  # fmt: skip
        forecaster = self._run(
            "forecaster", self._forecaster_words(), {"features": features},
            resumes=_has_config, resume_words=self._resume_words(),
        )  # fmt: skip
        heads = {}
        for task in tasks:
            inputs = {"data": self._labels, "encoder": encoder, "pca": pca}
            heads[task] = self._run(
                f"head_{task}", self._head_words(task), inputs, resumes=_has_config
            )
        made = {"encoder": encoder, "pca": pca, "forecaster": forecaster, **heads}
        bundle = self._run("bundle", self._bundle_words(tasks), made)
        for name, specs in self._tests.items():
            inputs = {"data": specs, "fit": self._data, "bundle": bundle}
            self._run(name, self._evaluation_words(specs), inputs)
        print(f"{self._out / 'bundle'}: the bundle; how good it is:")
        for name in self._tests:
            print(f"  {self._out / name / 'report.md'}")

    def _run(
        self,
        name: str,
        words: Sequence[str],
        inputs: dict[str, Any],
        resumes: Callable[[Path], bool] = lambda folder: False,
        resume_words: Sequence[str] | None = None,
    ) -> str:
        from dino_foresight_ros.training.stages import Stage

        def command(folder: Path, go_on: bool) -> None:
            chosen = list(words)
            if go_on and name != "features":  # which goes on by itself
                chosen = [*(words if resume_words is None else resume_words), "--resume"]
            call([*chosen, "--out", str(folder)])

        stage: Stage = Stage(
            name, {"words": _settings(words)}, self._fingerprints(inputs), command, resumes
        )
        return self._runner.run(stage)

    def _fingerprints(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {
            name: [[r.name, r.fingerprint] for r in self._open(value)]
            if isinstance(value, list)
            else value
            for name, value in inputs.items()
        }

    def _open(self, specs: Sequence[str]) -> list[Recording]:
        from dino_foresight_ros.cli.train.arguments import warn
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
            common_label_space([r for r in self._open(specs) if r.labelled("segmentation").size])
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
        have = [task for task in TASKS if any(r.labelled(task).size for r in recordings)]
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

    def _resume_words(self) -> list[str]:
        """A run knows its own recipe."""
        args = self._args
        words = ["train", "forecaster", "--device", args.device]
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


def call(words: Sequence[str]) -> None:
    """Run another subcommand of `foresight` in this process, after printing it."""
    from dino_foresight_ros.cli.main import build_parser

    say(f"$ foresight {shlex.join(words)}")
    args = build_parser().parse_args(list(words))
    code = int(args.run(args))
    if code:
        raise InputError(f"foresight {' '.join(words[:2])} ended with {code}; see above")
