"""Protocols give what plain loops over the published procedures give; data must be whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from micro_bundle import make_micro_bundle
from tiny_data_sets import CITYSCAPES_IDS, write_ids, write_picture

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.errors import ForesightError, InputError, UsageError
from dino_foresight_ros.model import Bundle, HeadConfig, build_head
from dino_foresight_ros.model.class_lists import cityscapes_segmentation
from dino_foresight_ros.recordings import open_recordings
from dino_foresight_ros.training.evaluation import (
    EvaluationConfig,
    Report,
    check_protocol,
    evaluate,
    protocol_config,
    protocol_recordings,
    protocol_report,
)
from dino_foresight_ros.training.evaluation.report import markdown

HEIGHT, WIDTH = 48, 80
SNIPPETS = (("lindau", "000000", 0), ("lindau", "000001", 0), ("munster", "000007", 0),
            ("frankfurt", "000000", 275), ("frankfurt", "000000", 557))  # fmt: skip


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The micro bundle with a head for Cityscapes' 19 classes alone."""
    micro = make_micro_bundle()
    torch.manual_seed(1)
    task = cityscapes_segmentation()
    head = build_head(HeadConfig(outputs=19, kind="linear"), 24, layers=4)
    return replace(
        micro, heads={"segmentation": head.eval()}, tasks={"segmentation": task},
        frame_interval_s=0.18,
    )  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cityscapes' val in its exact layout: snippets of 30 frames, the 20th with labels."""
    folder, rng = tmp_path_factory.mktemp("protocol") / "cityscapes", np.random.default_rng(0)
    for city, sequence, first in SNIPPETS:
        coarse = rng.integers(0, 256, (6, 10, 3)).astype(np.uint8)
        for place in range(30):
            stem = f"{city}_{sequence}_{first + place:06d}"
            still = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
            path = folder / "leftImg8bit_sequence" / "val" / city / f"{stem}_leftImg8bit.png"
            write_picture(path, np.roll(still, 2 * place, axis=1))
        stem = f"{city}_{sequence}_{first + 19:06d}"
        classes = cv2.resize(
            rng.integers(0, 20, (6, 10)).astype(np.uint8), (WIDTH, HEIGHT),
            interpolation=cv2.INTER_NEAREST,
        )  # fmt: skip
        ids = np.array([*CITYSCAPES_IDS, 0], np.uint8)[classes]  # id 0: unlabelled
        write_ids(folder / "gtFine" / "val" / city / f"{stem}_gtFine_labelIds.png", ids)
    train = folder / "leftImg8bit_sequence" / "train" / "aachen"
    write_picture(train / "aachen_000000_000000_leftImg8bit.png", still)
    return folder


def scored(name: str, bundle: Bundle, root: Path, **settings: Any) -> Report:
    spec = f"cityscapes:{root}"
    notes = check_protocol(name, bundle, [spec])
    recordings = protocol_recordings(name, open_recordings([spec], measures=True))
    config = protocol_config(name, EvaluationConfig(resamples=50, **settings), 0.18)
    return protocol_report(name, evaluate(bundle, recordings, config), notes)


@torch.inference_mode()
def plain_iou(bundle: Bundle, root: Path, steps: int) -> tuple[dict[str, float], dict[str, float]]:
    """The authors' evaluation as plain loops: mIoU and mIoU of moving objects, percent."""
    pixels = {name: np.zeros((19, 3)) for name in ("forecast", "copy_last", "oracle")}
    for city, sequence, first in SNIPPETS:
        features = []
        last = 19
        for place in range(last - 3 * (steps + 3), last + 1, 3):
            stem = f"{city}_{sequence}_{first + place:06d}"
            path = root / "leftImg8bit_sequence" / "val" / city / f"{stem}_leftImg8bit.png"
            picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            image = bundle.encoder.preprocess(picture[None])
            features.append(bundle.pca.transform(bundle.encoder(image))[0])
        context = features[:4]
        for _ in range(steps):
            context.append(bundle.forecaster(torch.stack(context[-4:])[None])[0])
        stem = f"{city}_{sequence}_{first + last:06d}"
        path = root / "gtFine" / "val" / city / f"{stem}_gtFine_labelIds.png"
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        for name, z in (
            ("forecast", context[-1]), ("copy_last", features[3]), ("oracle", features[-1]),
        ):  # fmt: skip
            logits = bundle.heads["segmentation"](bundle.pca.inverse(z[None]))
            large = torch.nn.functional.interpolate(
                logits, size=label.shape, mode="bicubic", align_corners=False
            )
            said = large.argmax(1)[0].numpy()
            for class_id, label_id in enumerate(CITYSCAPES_IDS):
                known = np.isin(label, CITYSCAPES_IDS)
                a, b = (said == class_id) & known, label == label_id
                pixels[name][class_id] += (a & b).sum(), a.sum(), b.sum()
    every, moving = {}, {}
    for name, counts in pixels.items():
        iou = counts[:, 0] / np.maximum(counts[:, 1] + counts[:, 2] - counts[:, 0], 1)
        every[name], moving[name] = 100 * iou.mean(), 100 * iou[11:].mean()
    return every, moving


@pytest.fixture(scope="module")
def foresight(bundle: Bundle, root: Path) -> Report:
    return scored("dino-foresight", bundle, root)


@pytest.mark.parametrize(("lead", "steps"), [("short", 1), ("mid", 3)])
def test_protocol_of_dino_foresight_is_that_of_plain_loops(
    lead: str, steps: int, foresight: Report, bundle: Bundle, root: Path
) -> None:
    every, moving = plain_iou(bundle, root, steps)
    (result,) = [r for r in foresight.labels if r.lead is not None and r.lead.step == steps]
    assert result.frames == {"segmentation": len(SNIPPETS)}
    for name, row in result.rows.items():
        assert row.segmentation is not None
        assert 100 * sum(row.segmentation.per_class.values()) / 19 == pytest.approx(
            every[name], abs=1e-6
        )
    assert foresight.protocol is not None
    found = {
        (one.predictor, one.score): one.ours
        for one in foresight.protocol.figures
        if one.lead == lead and one.head == "segmentation"
    }
    assert found["forecast", "miou"] == pytest.approx(every["forecast"], abs=1e-6)
    assert found["oracle", "moving_miou"] == pytest.approx(moving["oracle"], abs=1e-6)
    if lead == "short":
        assert found["copy_last", "miou"] == pytest.approx(every["copy_last"], abs=1e-6)
        assert found["forecast", "moving_miou"] == pytest.approx(moving["forecast"], abs=1e-6)


def test_page_has_the_published_figures_with_their_source(foresight: Report) -> None:
    page = markdown(foresight, [])
    assert "split val, 150 frames" in page
    row = next(line for line in page.splitlines() if "| 71.8 %" in line)
    assert row.startswith("| short term, mIoU | **forecast** |")
    assert "arXiv 2412.11673" in row
    assert "- 5 of the 500 snippets of Cityscapes' val" in page


def test_feature_errors_are_of_the_labelled_frames_alone(foresight: Report) -> None:
    assert {(r.lead.step, r.clips, r.recordings) for r in foresight.features} == {
        (1, 5, 5), (3, 5, 5),
    }  # fmt: skip


def test_dino_world_is_of_linear_heads(bundle: Bundle, root: Path) -> None:
    report = scored("dino-world", bundle, root)
    assert report.protocol is not None
    published = {(one.lead, one.model): one.published for one in report.protocol.figures}
    assert published["mid", "DINO-world"] == 55.1
    assert all(one.ours is not None for one in report.protocol.figures)
    with pytest.raises(
        UsageError, match="is of linear heads, and the segmentation of micro is dpt"
    ):
        check_protocol("dino-world", make_micro_bundle(), [f"cityscapes:{root}"])


def test_missing_files_are_counted_and_the_first_is_named(
    bundle: Bundle, root: Path, tmp_path: Path
) -> None:
    import shutil

    broken = tmp_path / "cityscapes"
    shutil.copytree(root, broken)
    pictures = broken / "leftImg8bit_sequence" / "val" / "lindau"
    gone = pictures / "lindau_000001_000004_leftImg8bit.png"
    gone.unlink()
    (pictures / "lindau_000001_000005_leftImg8bit.png").unlink()  # the protocol does not read it
    label = broken / "gtFine" / "val" / "munster" / "munster_000007_000019_gtFine_labelIds.png"
    label.unlink()
    with pytest.raises(InputError, match=rf"2 of the 40 files .* the first {label}"):
        check_protocol("dino-foresight", bundle, [f"cityscapes:{broken}"])
    label.touch()
    with pytest.raises(InputError, match=rf"1 of the 40 files .* the first {gone}"):
        check_protocol("dino-foresight", bundle, [str(broken)])


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("cityscapes:{root}?split=train", "is of the split val; leave split out"),
        ("cityscapes:{root}?part=0-0.5", "is of whole snippets"),
        ("synthetic:?seeds=0", "is of Cityscapes; give cityscapes:DIR"),
    ],
)
def test_other_data_are_refused(spec: str, reason: str, bundle: Bundle, root: Path) -> None:
    with pytest.raises(ForesightError, match=reason):
        check_protocol("dino-foresight", bundle, [spec.format(root=root)])


def test_options_that_a_protocol_fixes_are_refused(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--bundle", "untrained-tiny", "--data", f"cityscapes:{root}"]
    words += ["--out", str(tmp_path / "out"), "--protocol", "dino-foresight", "--gaps", "0.5"]
    assert main(words) == 2
    assert "--gaps and --protocol dino-foresight contradict" in capsys.readouterr().err


def test_measuring_takes_val_and_says_so(root: Path) -> None:
    assert {r.split for r in open_recordings([f"cityscapes:{root}"])} == {"train"}
    assert {r.split for r in open_recordings([str(root)], measures=True)} == {"val"}
    named = open_recordings([f"cityscapes:{root}?split=train"], measures=True)
    assert {r.split for r in named} == {"train"}


@pytest.mark.slow
def test_seed_study_sees_eight_frames_a_second_and_single_frames(
    toy_bundle: Callable[..., Any], toy_recording: type[Any]
) -> None:
    recordings = [toy_recording(160, 1 / 24, name=f"toy{i}", first=i) for i in range(6)]
    seen = protocol_recordings("seed-study", recordings)
    assert np.diff(seen[0].stamps_ns) == pytest.approx(1e9 / 8, rel=1e-6)
    settings = EvaluationConfig(mlp_steps=3, mlp_width=8, resamples=50, max_clips=6, labels=False)
    config = protocol_config("seed-study", settings, 0.2)
    report = protocol_report("seed-study", evaluate(toy_bundle(1.0), seen, config), [])
    assert report.protocol is not None
    ours = {(one.lead, one.predictor): one.ours for one in report.protocol.figures}
    # The toy world moves evenly, and its forecaster knows: nothing of copy-last's error is left.
    assert [ours[lead, "forecast"] for lead in ("2", "4", "8", "12")] == pytest.approx(
        [100] * 4, abs=0.01
    )
    assert all(ours[lead, "linear_1"] is not None for lead in ("2", "4", "8", "12"))
    spaces = {(one.gap_s, one.space) for one in report.similarity}
    assert spaces == {(g / 8, space) for g in (1, 2, 4, 8, 12) for space in ("pca", "raw")}
    page = markdown(report, [])
    assert "In the encoder's own space:" in page
    assert "linear, one frame" in page


@pytest.mark.parametrize("name", ["dino-foresight", "dino-world", "seed-study"])
def test_no_protocol_tells_a_forecaster_the_future_motion(name: str) -> None:
    assert EvaluationConfig().motion
    assert not protocol_config(name, EvaluationConfig(), 0.2).motion
