from __future__ import annotations

import json
from pathlib import Path

import pytest
from training_data import keep_painted, write_micro_bundle

from dino_foresight_ros.cli.main import main

DATA = "synthetic:?seeds=0&frames=12&interval=0.1&size=45x80"
QUICK = ["--horizons", "1-2", "--gaps", "0.2", "--max-clips", "2", "--max-label-clips", "1"]


@pytest.mark.slow
def test_evaluates_an_untrained_bundle_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = str(write_micro_bundle(tmp_path / "bundle"))
    fit = keep_painted(tmp_path / "fit", [1], 12, (45, 80))
    data = keep_painted(tmp_path / "data", [0], 12, (45, 80))
    out = tmp_path / "report"
    arguments = ["evaluate", "--bundle", bundle, "--data", data, "--fit-data", fit]
    assert main([*arguments, *QUICK, "--mlp-steps", "3", "--out", str(out)]) == 0

    printed = capsys.readouterr().out
    assert "micro is UNTRAINED: these numbers mean nothing.\n" in printed
    assert f"{out / 'report.md'}" in printed
    values = json.loads((out / "report.json").read_text())
    first = values["features"][0]
    assert set(first["rows"]) == {"copy_last", "forecast", "linear", "mlp", "oracle"}
    assert first["rows"]["oracle"]["errors"]["mse"] == 0
    assert first["lead"]["measured_s"] == pytest.approx(0.2)
    assert values["labels"][0]["frames"] == {"segmentation": 1, "depth": 1, "normals": 1}
    assert values["stills"]["frames"]["depth"] == 1
    assert (out / "sheet_depth.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--data", "/no/such/video.mp4"], 1, "/no/such/video.mp4"),
        (["--data", "moon:/somewhere"], 2, "'moon' is no kind of data"),
        (["--data", DATA, "--bundle", "/no/bundle"], 1, "/no/bundle is not a bundle"),
        (["--data", DATA, "--horizons", "0-3"], 2, "horizon 0 is not in 1 to 16"),
        (["--data", DATA, "--gaps", "-1"], 2, "gap -1.0"),
        (["--data", DATA, "--gaps", "--horizons", "none"], 2, "nothing to score"),
        (["--data", DATA, "--max-clips", "-3"], 2, "max_clips is -3"),
        (["--data", DATA, "--no-fit", "--fit-data", DATA], 2, "contradict each other"),
        (["--data", DATA, "--device", "toaster"], 2, "device 'toaster' is unknown"),
        (["--data", DATA, "--motion", "true"], 2, "untrained-tiny takes no motion"),
        (["--data", DATA, "--fit-data", DATA], 1, "would be fitted on and scored"),
        (["--data", "synthetic:?seeds=0&frames=3&size=45x80", "--no-labels"], 1, "no clip of 4"),
        (["--data", DATA, "--out", "."], 1, "exists; choose another --out"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], code: int, text: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    bundle = [] if "--bundle" in arguments else ["--bundle", "untrained-tiny"]
    assert main(["evaluate", *bundle, *QUICK, *arguments]) == code
    lines = [li for li in capsys.readouterr().err.splitlines() if li.startswith("foresight: ")]
    assert len(lines) == 1
    assert text in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("horizons", ["8-1", "a", "1-", "-3", "1.5"])
def test_horizons_that_are_no_range_are_refused(
    horizons: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--bundle", "b", "--data", "d", f"--horizons={horizons}"])
    assert ended.value.code == 2
    assert "is not like 1-8 or 1,3,5" in capsys.readouterr().err
