from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dino_foresight_ros.compare.bootstrap import Estimate
from dino_foresight_ros.compare.label_metrics import DepthScores
from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.render import style
from dino_foresight_ros.training.evaluation import (
    EvaluationConfig,
    Report,
    check_output,
    evaluate,
    write_report,
)
from dino_foresight_ros.training.evaluation.label_scores import InstancesResult, LabelRow
from dino_foresight_ros.training.evaluation.object_motion import ObjectMotion
from dino_foresight_ros.training.evaluation.report import improvement_text, markdown
from dino_foresight_ros.training.evaluation.results import PCA_SPACE, LabelResult

Maker = Callable[..., Any]
CONFIG = EvaluationConfig(
    horizons=(1, 3), gaps_s=(0.2, 0.6), max_clips=6, max_label_clips=4, mlp_steps=3, raw=True
)


@pytest.fixture(scope="module")
def report(toy_bundle: Maker, toy_recording: Maker) -> Report:
    fit = toy_recording(40, name="fit", first=60)
    return evaluate(toy_bundle(), [toy_recording(50)], CONFIG, [fit])


@pytest.fixture(scope="module")
def written(report: Report, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of the report."""
    return write_report(report, tmp_path_factory.mktemp("written") / "report")


@pytest.fixture
def without_pictures(report: Report) -> Report:
    """Pictures take most of the time of writing one."""
    return replace(report, features=(), labels=(), similarity=(), samples=())


def warning_pixels(path: Path) -> int:
    image = cv2.imread(str(path))[..., ::-1]
    return int((image == np.array(style.WARNING)).all(-1).sum())


@pytest.mark.slow
def test_folder_holds_page_numbers_and_pictures(written: list[Path]) -> None:
    assert {path.name for path in written} == {
        "report.md", "report.json", "skill.png", "iou_per_class.png", "patch_similarity.png",
        "sheet_segmentation.png",
    }  # fmt: skip
    assert {path.name for path in written[0].parent.iterdir()} == {p.name for p in written}
    for path in written:
        if path.suffix == ".png":
            image = cv2.imread(str(path))
            assert min(image.shape[:2]) > 300
            assert image.std() > 5
            assert f"({path.name})" in written[0].read_text()


@pytest.mark.slow
def test_json_holds_every_number_strictly(report: Report, written: list[Path]) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    values = json.loads(written[1].read_text(), parse_constant=refuse)
    row = values["features"][0]["rows"]["forecast"]
    expected = report.features[0].rows["forecast"]
    assert row["errors"]["mse"] == expected.errors.mse
    assert row["improvements"]["mse"]["low"] == expected.improvements["mse"].low  # type: ignore[union-attr]
    assert values["config"]["seed"] == 0
    assert values["data"][0]["fingerprint"] == report.data[0].fingerprint
    assert values["labels"][0]["closed"][0]["share"] == report.labels[0].closed[0].share
    assert set(values["features"][0]["rows"]) == {
        "copy_last",
        "forecast",
        "linear",
        "mlp",
        "oracle",
    }
    assert "moments" not in values


def test_infinite_scores_become_null(report: Report) -> None:
    # As a relative depth head's log errors where it says "far".
    first = report.labels[0]
    depth = DepthScores(0.5, 0.6, 0.7, 0.1, 0.2, 3.0, math.inf, math.inf, math.nan)
    rows = {"forecast": LabelRow("forecast", depth=depth)}
    changed = replace(report, labels=(replace(first, rows=rows),))
    values = changed.to_dict()["labels"][0]["rows"]["forecast"]["depth"]
    assert (values["rmse"], values["log10"], values["silog"]) == (3.0, None, None)


def test_page_tells_of_how_many_pixels_a_depth_is_known(report: Report) -> None:
    depth = DepthScores(0.5, 0.6, 0.7, 0.1, 0.2, 3.0, 0.1, 0.2, 4.0, known=0.8125)
    rows = {"forecast": LabelRow("forecast", depth=depth)}
    page = markdown(replace(report, labels=(replace(report.labels[0], rows=rows, closed=()),)), [])
    row = next(line for line in page.splitlines() if line.startswith("| **forecast** | 0.500"))
    assert row == "| **forecast** | 0.500 | 0.100 | 3.00 | 0.812 |"


def test_page_tells_numbers_with_their_intervals(report: Report) -> None:
    page = markdown(report, [])
    forecast = next(
        result.rows["forecast"]
        for result in report.features
        if (result.lead.kind, result.lead.step, result.space) == ("horizons", 3, PCA_SPACE)
    )
    row = next(line for line in page.splitlines() if line.startswith("| 3 steps, 0.60 s | **f"))
    assert f"{forecast.errors.mse:.4f}" in row
    assert "+75.0 % (1 block)" in row
    assert "## Feature error in the encoder's own space" in page
    # Every row of a table has as many cells as its header.
    for block in page.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_improvement_is_told_plainly() -> None:
    assert improvement_text(None) == "undefined: nothing moved"


@pytest.mark.slow
def test_untrained_bundle_is_marked_on_page_and_pictures(
    report: Report, written: list[Path], tmp_path: Path
) -> None:
    facts = replace(report.bundle, trained=False, forecaster_trained=False)
    untrained = replace(report, bundle=facts)
    marked = write_report(untrained, tmp_path / "report")
    for paths, is_marked in ((written, False), (marked, True)):
        warned = "**toy is UNTRAINED: these numbers mean nothing.**" in paths[0].read_text()
        assert warned is is_marked
        for path in paths[2:]:
            assert (warning_pixels(path) > 3000) is is_marked, path.name


@pytest.mark.slow
def test_page_says_what_is_measured_where_the_encoder_alone_is_untrained(
    toy_bundle: Maker, toy_recording: Maker, tmp_path: Path
) -> None:
    trained_on_top = {"provenance": {"forecaster": {"recipe": {"steps": 100}}}}
    report = evaluate(
        toy_bundle(trained=False, info=trained_on_top),
        [toy_recording(50)],
        EvaluationConfig(horizons=(1,), gaps_s=(), max_clips=2, fitted=False, labels=False),
    )
    page, values = (path.read_text() for path in write_report(report, tmp_path / "report")[:2])
    assert "**toy is trained on an UNTRAINED ENCODER: these numbers say how well" in page
    assert "mean nothing" not in page
    facts = json.loads(values)["bundle"]
    assert (facts["trained"], facts["forecaster_trained"]) == (False, True)


@pytest.mark.slow
def test_bundle_without_heads_gets_a_sheet_of_features(
    toy_bundle: Maker, toy_recording: Maker, tmp_path: Path
) -> None:
    report = evaluate(
        toy_bundle(heads={}, inputs={}),
        [toy_recording(50, labelled=[])],
        EvaluationConfig(horizons=(1,), gaps_s=(), fitted=False),
    )
    names = [path.name for path in write_report(report, tmp_path / "report")]
    assert names == ["report.md", "report.json", "skill.png", "sheet_features.png"]


def test_existing_report_is_replaced_only_when_asked(
    without_pictures: Report, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    write_report(without_pictures, out)
    with pytest.raises(ForesightError, match=r"exists; choose another --out or add --force"):
        check_output(out, overwrite=False)
    (out / "old.png").write_text("of the earlier report")
    write_report(without_pictures, out, overwrite=True)
    assert not (out / "old.png").exists()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ForesightError, match=r"also holds notes\.txt"):
        write_report(without_pictures, out, overwrite=True)


def test_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ForesightError, match="is no earlier report and is not replaced"):
        check_output(tmp_path, overwrite=True)


def test_nothing_is_left_where_writing_fails(
    without_pictures: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(ForesightError, match="cannot be written"):
        write_report(without_pictures, tmp_path / "report")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_single_objects_have_a_picture_and_a_table(report: Report, tmp_path: Path) -> None:
    ap50 = {"copy_last": 0.2, "linear": 0.25, "mlp": 0.22, "forecast": 0.3, "oracle": 0.5}
    motion = ObjectMotion(10, 8, 2.0, 3.0, 6.25, 7, 0.5, None, 1.25, 9, 1, 4)

    def with_objects(result: LabelResult) -> LabelResult:
        rows = {
            name: replace(
                row,
                instances=InstancesResult(0.1, ap50[name], 0.4, {"car": ap50[name]}, 12),
                intervals={"ap50": Estimate(ap50[name], ap50[name] - 0.1, ap50[name] + 0.1, 9)},
            )
            for name, row in result.rows.items()
        }
        return replace(result, rows=rows, objects=motion)

    made = replace(report, labels=tuple(map(with_objects, report.labels)), features=(),
                   similarity=(), samples=())  # fmt: skip
    written = {path.name: path for path in write_report(made, tmp_path / "report")}
    assert cv2.imread(str(written["objects.png"])).std() > 5
    text = written["report.md"].read_text()
    assert "0.300 (0.200 to 0.400)" in text
    assert "| 10 | 8 | 2.0 | 3.0 | 6.2 | 0.50 | - | 1.25 | 1 of 9 | 4 of 9 |" in text
