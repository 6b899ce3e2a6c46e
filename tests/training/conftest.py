"""What the training commands set for their whole process is undone after each test."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _subnormal_numbers() -> Iterator[None]:
    yield
    torch.set_flush_denormal(False)
