"""What every source of frames offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from pipeline.frame import DepthCamera, Frame

AnyCamera = TypeVar("AnyCamera", bound="Camera")


class Camera(ABC):
    """A source of frames: a context manager, and an iterator that ends with the source or with `close`.

    Attributes:
        camera: geometry of the depth images, the same for all frames.
        live: True if frames arrive in real time, so that late ones are dropped.
    """

    camera: DepthCamera
    live: bool = False

    @property
    def dropped(self) -> int:
        """Frames that a live source threw away because a newer one had arrived."""
        return 0

    @abstractmethod
    def __next__(self) -> Frame:
        """The next frame.

        Raises:
            StopIteration: the source has ended or is closed.
            HandPoseError: the source failed; the sentence says how many frames were read before.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the source; calling it again does nothing."""

    def __iter__(self: AnyCamera) -> AnyCamera:
        return self

    def __enter__(self: AnyCamera) -> AnyCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
