"""A live Azure Kinect."""

from pipeline.cameras.base import Camera
from pipeline.errors import SourceError
from pipeline.frame import Frame


class AzureCamera(Camera):
    """A live Azure Kinect."""

    def __init__(self) -> None:
        raise SourceError("a live Azure Kinect cannot be read yet: give a recording (FILE.mkv) or a folder")

    def __next__(self) -> Frame:
        raise StopIteration

    def close(self) -> None:
        return
