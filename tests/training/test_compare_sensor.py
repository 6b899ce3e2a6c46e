from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.training.compare_sensor import main, noise_by_distance
from tests.shared_data import shared_file


def test_noise_is_found_on_tilted_planes_with_edges_and_holes() -> None:
    rng = np.random.default_rng(0)
    column = np.arange(300, dtype=np.float32)
    near = 600 + 0.3 * column + rng.normal(0, 0.5, (200, 300))
    far = 2000 + 0.8 * column + rng.normal(0, 2.0, (200, 300))
    depth = np.hstack([near, far]).astype(np.float32)
    depth[rng.random(depth.shape) < 0.1] = 0
    noise = noise_by_distance(depth)
    np.testing.assert_allclose(noise[[0, 3]], [0.5, 2.0], rtol=0.08)
    assert np.isnan(noise[[1, 2, 4]]).all()


def test_a_missing_recording_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "out.png"), "--recording", str(tmp_path / "none.mkv")]) == 2
    message = capsys.readouterr().err
    assert "none.mkv" in message
    assert "Traceback" not in message


@pytest.mark.shared
def test_simulated_noise_is_that_of_the_real_camera_or_a_little_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = shared_file("azure_kinect/recording.mkv")
    assert main([str(tmp_path / "out.png"), "--recording", str(recording)]) == 0
    real, simulated, _ = capsys.readouterr().out.splitlines()
    measured, ours = (
        np.array([float(entry.split()[-1]) for entry in line.split("noise in mm ")[1].split(", ")])
        for line in (real, simulated)
    )
    assert (ours > 0.9 * measured).all()
    assert (ours < 2.5 * measured).all()
    picture = cv2.imread(str(tmp_path / "out.png"))
    assert picture is not None
    assert picture.shape == (2 * 576, 3 * 640, 3)
