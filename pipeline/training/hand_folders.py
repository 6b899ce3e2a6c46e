"""Published data sets of hands in depth images, as their archives unpack: NYU, ICVL, MSRA, HANDS 2017."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HandPoseError, UsageError
from pipeline.frame import DepthCamera
from pipeline.hand import HAND_21, HANDS2017_21, ICVL_16, NYU_14, NYU_16, NYU_36, Skeleton
from pipeline.training.benchmarks import BENCHMARKS, NYU_EVALUATED

Split = Literal["train", "test"]
DepthImage = NDArray[np.uint16]

NYU_JOINTS = {
    14: (NYU_14, NYU_EVALUATED),
    16: (NYU_16, (0, 2, 5, 6, 8, 11, 12, 14, 17, 18, 20, 23, 24, 26, 28, 34)),
    36: (NYU_36, tuple(range(36))),
}
_MSRA_TEST_SUBJECT = "P0"
_MSRA_TO_HAND_21 = (0, *range(17, 21), *range(1, 17))  # its thumb comes last
_HANDS2017_TEST_SHARE = 20  # its test frames have no labels: every so many of the others are held out


@dataclass(frozen=True, eq=False)
class HandFrames:
    """Frames with one hand each.

    Args:
        camera: geometry of the depth images.
        skeleton: of the joints.
        paths: N files.
        joints: (N, J, 3) float32 column px, row px, depth mm.
        read: the (H, W) depth image of a file, mm, 0 = no measurement.
    """

    camera: DepthCamera
    skeleton: Skeleton
    paths: list[Path]
    joints: NDArray[np.float32]
    read: Callable[[Path], DepthImage]

    def __len__(self) -> int:
        return len(self.paths)

    def depth(self, number: int) -> DepthImage:
        """A frame's depth image.

        Raises:
            HandPoseError: it cannot be read, or has another size.
        """
        path = self.paths[number]
        try:
            image = self.read(path)
        except (OSError, ValueError, cv2.error) as error:
            raise HandPoseError(f"{path} is no depth image ({error}): unpack the data set again") from None
        if image.shape != (self.camera.height, self.camera.width):
            raise HandPoseError(
                f"{path} has {image.shape[1]}x{image.shape[0]} px instead of "
                f"{self.camera.width}x{self.camera.height}: is it another data set?"
            )
        return image

    def spread(self, count: int) -> HandFrames:
        """At most `count` of the frames, evenly spread over all."""
        chosen = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(int))
        paths = [self.paths[k] for k in chosen]
        return HandFrames(self.camera, self.skeleton, paths, self.joints[chosen], self.read)


def read_nyu(folder: Path, split: Split, joints: int = 14, cameras: tuple[int, ...] = (1,)) -> HandFrames:
    """NYU (Tompson et al. 2014): `train` and `test`, each with joint_data.mat and depth_1_0000001.png ...

    Args:
        joints: 14 (what is evaluated), 16 or all 36.
        cameras: of 1 (front), 2, 3.

    Raises:
        UsageError: there is no such data; HandPoseError: it is damaged.
    """
    skeleton, numbers = NYU_JOINTS[joints]
    labels = _nyu_labels(folder / split / "joint_data.mat")
    present = {path.name for path in (folder / split).glob("depth_*.png")}
    names = [
        (camera, n, f"depth_{camera}_{n + 1:07d}.png") for camera in cameras for n in range(labels.shape[1])
    ]
    kept = [(camera, n, name) for camera, n, name in names if name in present]
    uvd = [labels[camera - 1, n] for camera, n, _ in kept]
    paths = [folder / split / name for _, _, name in kept]
    return _frames("nyu", folder / split, skeleton, paths, uvd, numbers, _read_nyu_image)


def read_icvl(folder: Path, split: Split) -> HandFrames:
    """ICVL (Tang et al. 2014): Training/labels.txt or Testing/test_seq_*.txt, and `Depth` beside them.

    Raises:
        UsageError, HandPoseError: as for NYU.
    """
    home = folder / ("Training" if split == "train" else "Testing")
    pattern = "labels.txt" if split == "train" else "test_seq_*.txt"
    rows = [row for path in sorted(home.glob(pattern)) for row in _labelled(path, 48)]
    here = [(home / "Depth" / name, row) for name, row in rows if (home / "Depth" / name).exists()]
    return _frames("icvl", home, ICVL_16, [p for p, _ in here], [r for _, r in here], None, _read_millimetres)


def read_hands2017(folder: Path, split: Split) -> HandFrames:
    """HANDS 2017 (Yuan et al. 2017): training/Training_Annotation.txt and training/images.

    Its own test frames come without labels: every 20th of these is held out in their place.

    Raises:
        UsageError, HandPoseError: as for NYU.
    """
    home = folder / "training"
    rows = _labelled(home / "Training_Annotation.txt", 63)
    keep = [
        (name, row)
        for k, (name, row) in enumerate(rows)
        if (k % _HANDS2017_TEST_SHARE == 0) != (split == "train")
    ]
    camera = BENCHMARKS["hands2017"].camera
    here = [(home / "images" / name, row) for name, row in keep if (home / "images" / name).exists()]
    uvd = [camera.project(row.reshape(-1, 3)) for _, row in here]
    return _frames("hands2017", home, HANDS2017_21, [p for p, _ in here], uvd, None, _read_millimetres)


def read_msra(folder: Path, split: Split) -> HandFrames:
    """MSRA (Sun et al. 2015): P0 ... P8, each with folders of 000000_depth.bin ... and joint.txt.

    P0 is held out. The joints are put into the order of our own 21.

    Raises:
        UsageError, HandPoseError: as for NYU.
    """
    camera = BENCHMARKS["msra"].camera
    paths: list[Path] = []
    uvd: list[NDArray[np.float64]] = []
    for labels in sorted(folder.glob("P?/*/joint.txt")):
        if (labels.parts[-3] == _MSRA_TEST_SUBJECT) != (split == "test"):
            continue
        rows = _numbers(labels, [line.split() for line in labels.read_text().splitlines()[1:]], 63)
        xyz = rows.reshape(-1, 21, 3) * (1, -1, -1)  # its y points up and its z to the camera
        for n, points in enumerate(camera.project(xyz)):
            paths.append(labels.parent / f"{n:06d}_depth.bin")
            uvd.append(points)
    return _frames("msra", folder, HAND_21, paths, uvd, _MSRA_TO_HAND_21, _read_msra_image)


def _frames(
    name: str,
    folder: Path,
    skeleton: Skeleton,
    paths: list[Path],
    uvd: list[NDArray[np.float64]],
    numbers: tuple[int, ...] | None,
    read: Callable[[Path], DepthImage],
) -> HandFrames:
    if not paths:
        raise UsageError(
            f"{folder} holds no labelled frames of {name}: give the folder its archive unpacks to"
        )
    joints = np.stack(uvd).astype(np.float32).reshape(len(paths), -1, 3)
    if numbers is not None:
        joints = joints[:, list(numbers)]
    behind = joints[..., 2].min(axis=1) <= 0
    sound = np.isfinite(joints).all(axis=(1, 2)) & ~behind
    kept = [path for path, good in zip(paths, sound.tolist(), strict=True) if good]
    if not kept:
        raise HandPoseError(f"{folder} has no frame whose joints lie before the camera: unpack it again")
    return HandFrames(BENCHMARKS[name].camera, skeleton, kept, joints[sound], read)


# --- Labels --------------------------------------------------------------------------------------------
def _nyu_labels(path: Path) -> NDArray[np.float64]:
    """(3 cameras, N, 36, 3)."""
    from scipy import io

    if not path.is_file():
        raise UsageError(f"{path} is missing: give the folder that holds NYU's train and test")
    try:
        labels = np.asarray(io.loadmat(path, variable_names=["joint_uvd"])["joint_uvd"], dtype=np.float64)
    except Exception as error:  # SciPy lets whatever a broken file causes escape
        raise HandPoseError(f"{path} cannot be read ({type(error).__name__}): unpack NYU again") from None
    if labels.ndim != 4 or labels.shape[0] != 3 or labels.shape[2:] != (36, 3):
        raise HandPoseError(f"{path} has joints of the shape {labels.shape} instead of (3, N, 36, 3)")
    return labels


def _labelled(path: Path, count: int) -> list[tuple[str, NDArray[np.float64]]]:
    """File name and numbers of each line."""
    try:
        lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}): give the folder of the data set"
        ) from None
    return list(
        zip((line[0] for line in lines), _numbers(path, [line[1:] for line in lines], count), strict=True)
    )


def _numbers(path: Path, rows: list[list[str]], count: int) -> NDArray[np.float64]:
    """(N, count)."""
    for n, row in enumerate(rows, start=1):
        if len(row) != count:
            raise HandPoseError(
                f"{path} has {len(row)} numbers in row {n} instead of {count}: unpack it again"
            )
    try:
        return np.array(rows, dtype=np.float64).reshape(-1, count)
    except ValueError as error:
        raise HandPoseError(f"{path} has something else than numbers ({error}): unpack it again") from None


# --- Images --------------------------------------------------------------------------------------------
def _read_nyu_image(path: Path) -> DepthImage:
    """Millimetres in two of the colours: green * 256 + blue."""
    colours = _decoded(path, cv2.IMREAD_COLOR).astype(np.uint16)
    return colours[..., 1] * np.uint16(256) + colours[..., 0]


def _read_millimetres(path: Path) -> DepthImage:
    image = _decoded(path, cv2.IMREAD_UNCHANGED)
    if image.dtype != np.uint16 or image.ndim != 2:
        raise ValueError(f"{image.dtype} with {image.ndim} axes instead of 16-bit grey")
    return image.astype(np.uint16, copy=False)


def _decoded(path: Path, flags: int) -> NDArray[np.integer]:
    image = cv2.imdecode(np.fromfile(path, np.uint8), flags)
    if image is None:
        raise ValueError("not an image")
    return np.asarray(image)


def _read_msra_image(path: Path) -> DepthImage:
    """The part of the image around the hand, in an otherwise empty image."""
    data = path.read_bytes()
    width, height, left, top, right, bottom = np.frombuffer(data, "<i4", 6).tolist()
    if not (0 <= left < right <= width <= 4096 and 0 <= top < bottom <= height <= 4096):
        raise ValueError("its window lies outside its image")
    part = np.frombuffer(data, "<f4", (bottom - top) * (right - left), 24).reshape(bottom - top, right - left)
    image = np.zeros((height, width), np.uint16)
    image[top:bottom, left:right] = np.nan_to_num(part).clip(0, 65535).round()
    return image
