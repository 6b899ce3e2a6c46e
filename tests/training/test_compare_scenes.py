import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import SourceError
from pipeline.training.compare_scenes import BoxStatistics, main, plot, read_boxes


def test_boxes_of_all_files_are_counted_and_measured(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    first.write_text(json.dumps([{"boxes": [[10, 20, 40, 80], [0, 0, 30, 10]]}, {"boxes": []}]))
    second.write_text(json.dumps([{"boxes": [[100, 100, 150, 140]]}]))
    found = read_boxes([first, second])
    assert found.counts.tolist() == [2, 0, 1]
    assert found.longer.tolist() == [60, 30, 50]
    assert found.centres[0].tolist() == [25, 50]
    summary = found.summary()
    assert summary["share of frames with 0.. hands"][:3] == pytest.approx([1 / 3] * 3, abs=1e-3)
    assert summary["longer side, px"][2] == 50


@pytest.mark.parametrize("text", ["", "{", "[]", "[1]", '[{"boxes": [[1, 2, 3]]}]', '[{"image": "a.png"}]'])
def test_files_of_another_form_are_refused_in_words(text: str, tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(text)
    with pytest.raises(SourceError, match=r"boxes\.json"):
        read_boxes([path])
    assert main(["--boxes", str(path)]) == 2


def test_a_picture_of_both_distributions_is_written(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    corner = random.uniform(0, 400, (50, 2))
    boxes = np.concatenate([corner, corner + random.uniform(20, 100, (50, 2))], axis=1)
    statistics = BoxStatistics(boxes, np.full(25, 2))
    plot(statistics, statistics, tmp_path / "new" / "boxes.png")
    assert (tmp_path / "new" / "boxes.png").stat().st_size > 5000
