"""Depth cameras as they exist: from a phone's to a wide-angle one, with lenses like the Azure Kinect's."""

from hypothesis import strategies as st

from pipeline.frame import DepthCamera

# Factory calibration of one Azure Kinect's depth camera.
KINECT_LENS = (0.54794, -0.020971, -7.21e-05, 2.06e-05, -0.0026522, 0.88968, 0.08613, -0.013911)


def _camera(
    size: tuple[int, int], focal: float, aspect: float, offset: tuple[float, float], lens: float | None
) -> DepthCamera:
    width, height = size
    fx = focal * width
    return DepthCamera(
        width,
        height,
        fx=fx,
        fy=fx * aspect,
        cx=(0.5 + offset[0]) * width,
        cy=(0.5 + offset[1]) * height,
        distortion=None if lens is None else tuple(lens * k for k in KINECT_LENS),
    )


cameras = st.builds(
    _camera,
    size=st.sampled_from([(640, 576), (320, 288), (512, 512), (640, 480), (848, 100)]),
    focal=st.floats(0.5, 1.4),
    aspect=st.floats(0.8, 1.25),
    offset=st.tuples(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1)),
    lens=st.none() | st.floats(-0.5, 1.0),
)
