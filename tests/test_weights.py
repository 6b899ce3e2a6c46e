"""Which weights are used where none are named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import weights
from pipeline.errors import UsageError
from pipeline.hand_pose import HandPosePipeline
from pipeline.weights import a2j_weights, centernet_weights

both = pytest.mark.parametrize(("name", "choose"), [("centernet", centernet_weights), ("a2j", a2j_weights)])


@both
@pytest.mark.parametrize("light", [False, True])
def test_constants_choose_where_nothing_is_named(
    name: str, choose: Callable[..., Path], light: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("", "LIGHT_"):
        path = tmp_path / f"{kind}{name}.pth"
        path.touch()
        monkeypatch.setattr(weights, f"{name.upper()}_{kind}CHECKPOINT", path)
    monkeypatch.setattr(weights, "LIGHT_NETWORKS", light)
    assert choose() == choose(None) == tmp_path / f"{'LIGHT_' if light else ''}{name}.pth"
    assert choose("mine.pth") == Path("mine.pth")


@both
def test_missing_ones_name_the_command(
    name: str, choose: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, f"{name.upper()}_CHECKPOINT", tmp_path / "none.pth")
    with pytest.raises(UsageError, match=rf"-m pipeline[.]training[.]train_{name}"):
        choose()
    with pytest.raises(UsageError, match=rf"-m pipeline[.]training[.]train_{name}"):
        HandPosePipeline()
