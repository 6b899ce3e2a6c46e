"""PyAV, loaded after OpenCV. Import it from here: `from pipeline.pyav import av`.

Both wheels bring a library of the same name for the display (libxcb), and the one that is loaded first serves
both. With PyAV's, a window of OpenCV waits for ever once OpenVINO has loaded the system's own.
"""

import cv2  # noqa: F401

# isort: split
import av

__all__ = ["av"]
