import pytest
import torch
import torchvision
from torchvision.models.feature_extraction import create_feature_extractor

from pipeline.networks.resnet import RESNETS, ResNet
from tests.networks.literal import shaken


@pytest.mark.parametrize("name", RESNETS)
def test_has_torchvisions_parameters(name: str) -> None:
    with torch.device("meta"):
        ours = ResNet(name).state_dict()
        theirs = getattr(torchvision.models, name)(weights=None).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {
        key: value.shape for key, value in theirs.items()
    }


@pytest.mark.parametrize(("name", "dilated"), [("resnet18", False), ("resnet50", False), ("resnet50", True)])
def test_computes_what_torchvision_computes(name: str, dilated: bool) -> None:
    torch.manual_seed(0)
    theirs = shaken(
        getattr(torchvision.models, name)(
            weights=None, **({"replace_stride_with_dilation": [False, False, True]} if dilated else {})
        )
    )
    ours = ResNet(name, dilated=dilated).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, 96, 96)
    expected = create_feature_extractor(theirs, [f"layer{k}" for k in (1, 2, 3, 4)])
    with torch.no_grad():
        for found, wanted in zip(ours(x), expected(x).values(), strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-5)


def test_width_scales_every_stage() -> None:
    with torch.device("meta"):
        half = ResNet("resnet18", width=0.5, dilated=True)
        features = half(torch.empty(2, 3, 128, 128))
    assert [tuple(f.shape[1:]) for f in features] == [(32, 32, 32), (64, 16, 16), (128, 8, 8), (256, 8, 8)]
    assert not any(name.startswith("fc") for name in half.state_dict())
