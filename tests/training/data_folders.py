"""Tiny data sets in the true formats, made of rendered hands."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import io

from pipeline.frame import DepthCamera
from pipeline.synthetic.crops import CropBatch, CropGenerator
from pipeline.training.benchmarks import BENCHMARKS

FAR_MM = 1500.0


@cache
def rendered_hands(count: int) -> CropBatch:
    return CropGenerator("cpu", seed=3, size=96, crop_mm=260.0, poses=256).batch(count)


def hand_frames(
    camera: DepthCamera, count: int, seed: int = 0
) -> tuple[list[NDArray[np.uint16]], NDArray[np.float64]]:
    """Rendered hands pasted into depth images before a wall, (N, 21, 3) column px, row px, mm.

    A crop is a true picture of a hand wherever it is put: the joints move with it.
    """
    crops, rng = rendered_hands(count), np.random.default_rng(seed)
    images, joints = [], []
    for n in range(count):
        depth_mm = float(crops.centre_mm[n])
        side = round(260.0 * camera.fx / depth_mm)
        relative = crops.images[n, 0].numpy()
        millimetres = np.where(relative < 1, depth_mm + 150 * relative, FAR_MM).astype(np.float32)
        patch = cv2.resize(millimetres, (side, side), interpolation=cv2.INTER_NEAREST)
        image = np.full((camera.height, camera.width), FAR_MM, np.uint16)
        middle = np.array([camera.cx, camera.cy]) + rng.uniform(-10, 10, 2)
        x, y = (int(v) for v in np.round(middle - side / 2))
        rows, columns = (
            slice(max(0, y), min(camera.height, y + side)),
            slice(max(0, x), min(camera.width, x + side)),
        )
        image[rows, columns] = patch[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
        place = (crops.joints[n, :, :2].double().numpy() + 0.5) * side / 96 - 0.5 + (x, y)
        z = depth_mm + crops.joints[n, :, 2:].double().numpy() * 260.0 / 96
        images.append(image)
        joints.append(np.concatenate([place, z], axis=1))
    return images, np.stack(joints)


def write_nyu(folder: Path, count: int = 8) -> Path:
    """train and test of NYU, of its front camera and one frame of its second one."""
    camera = BENCHMARKS["nyu"].camera
    for seed, split in enumerate(("train", "test")):
        home = folder / split
        home.mkdir(parents=True)
        images, joints = hand_frames(camera, count, seed)
        labels = np.zeros((3, count, 36, 3))
        labels[:] = joints[:, np.arange(36) % 21]  # as many as NYU has, wherever they are
        io.savemat(home / "joint_data.mat", {"joint_uvd": labels, "joint_xyz": np.zeros_like(labels)})
        for n, image in enumerate(images):
            colours = np.stack([image & 255, image >> 8, np.full_like(image, 7)], axis=-1).astype(np.uint8)
            cv2.imwrite(str(home / f"depth_1_{n + 1:07d}.png"), colours)
            if n == 0:
                cv2.imwrite(str(home / f"depth_2_{n + 1:07d}.png"), colours)
    return folder


def write_icvl(folder: Path, count: int = 3) -> Path:
    images, joints = hand_frames(BENCHMARKS["icvl"].camera, count)
    for home, labels in (("Training", "labels.txt"), ("Testing", "test_seq_1.txt")):
        lines = []
        for n, image in enumerate(images):
            name = f"seq/image_{n:04d}.png"
            path = folder / home / "Depth" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image)
            lines.append(" ".join([name, *(f"{v:.4f}" for v in joints[n, :16].ravel())]))
        lines.append(
            " ".join(["gone/image_0000.png", *["1.0"] * 48])
        )  # labels name frames that are not there
        (folder / home / labels).write_text("\n".join(lines) + "\n\n")
    return folder


def write_hands2017(folder: Path, count: int = 3) -> Path:
    camera = BENCHMARKS["hands2017"].camera
    images, joints = hand_frames(camera, count)
    home = folder / "training"
    (home / "images").mkdir(parents=True)
    lines = []
    for n, image in enumerate(images):
        name = f"image_D{n + 1:08d}.png"
        cv2.imwrite(str(home / "images" / name), image)
        lines.append("\t".join([name, *(f"{v:.4f}" for v in camera.unproject(joints[n]).ravel())]))
    (home / "Training_Annotation.txt").write_text("\n".join(lines) + "\n")
    return folder


def write_msra(folder: Path, count: int = 3) -> Path:
    """Two subjects; the thumb last, y up, z towards the camera, windows of the depth images."""
    camera = BENCHMARKS["msra"].camera
    images, joints = hand_frames(camera, count)
    order = [0, *range(5, 21), *range(1, 5)]
    for subject in ("P0", "P1"):
        home = folder / subject / "IP"
        home.mkdir(parents=True)
        xyz = camera.unproject(joints)[:, order] * (1, -1, -1)
        rows = [" ".join(f"{v:.4f}" for v in points.ravel()) for points in xyz]
        (home / "joint.txt").write_text("\n".join([str(count), *rows]) + "\n")
        for n, image in enumerate(images):
            left, top, right, bottom = 20, 10, 300, 230
            head = np.array([camera.width, camera.height, left, top, right, bottom], "<i4")
            part = image[top:bottom, left:right].astype("<f4")
            (home / f"{n:06d}_depth.bin").write_bytes(head.tobytes() + part.tobytes())
    return folder
