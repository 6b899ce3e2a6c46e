"""Distils recorded hand poses into the small file that the pose sampler reads.

`python3 -m pipeline.training.distil_poses ANIMBANK.pose MODEL_HAND.json` takes the recordings and the hand
model of IntelRealSense/hand_tracking_samples (Apache-2.0): 17 bones with position and quaternion in each
line. Joint angles of our hand are fitted so that its bones point where the recorded ones do.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from pipeline.synthetic.hand_model import HandModel
from pipeline.synthetic.hand_rig import LEVELS
from pipeline.synthetic.poses import RECORDED_POSES, angle_limits
from pipeline.synthetic.shapes import HandShape

_PALM, _FIRST_FINGER_BONE = 1, 2
# The recorded palm has x to the thumb, z to the fingers, y out of the back of the hand.
_TO_OURS = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def recorded_directions(recording: Path, model: Path) -> NDArray[np.float32]:
    """(N, 5, 3, 3) unit vectors of thumb to pinky's three bones each, in our palm's frame."""
    rows = np.loadtxt(recording).reshape(-1, 17, 7)
    rotations = Rotation.from_quat(rows[:, :, 3:].reshape(-1, 4)).as_matrix().reshape(-1, 17, 3, 3)
    # A bone points to where the next one is hinged; the last ones along z.
    along = np.tile([0.0, 0.0, 1.0], (17, 1))
    for joint in json.loads(model.read_text())["joints"]:
        if joint["rbi0"] >= _FIRST_FINGER_BONE:
            along[joint["rbi0"]] = joint["p0"] / np.linalg.norm(joint["p0"])
    in_palm = rotations[:, _PALM, None].transpose(0, 1, 3, 2) @ rotations[:, _FIRST_FINGER_BONE:]
    directions = (_TO_OURS @ in_palm @ along[_FIRST_FINGER_BONE:, :, None])[..., 0]
    return directions.reshape(-1, 5, 3, 3).astype(np.float32)


def fit_angles(directions: Tensor, steps: int = 400) -> tuple[Tensor, Tensor]:
    """Angles (N, 27) whose bones point along `directions` (N, 5, 3, 3); residual (N, 5, 3) in degrees."""
    model, count = HandModel(), len(directions)
    lower, upper = angle_limits()
    shape = HandShape.median(count)
    angles = torch.zeros(count, len(lower), requires_grad=True)
    optimizer = torch.optim.Adam([angles], lr=0.05)

    def cosines() -> Tensor:
        bones = model.bones(angles, shape)
        points = bones.joints[:, 1:].unflatten(1, (5, LEVELS))
        return (functional.normalize(points.diff(dim=2), dim=3) * directions).sum(3)

    for _ in range(steps):
        optimizer.zero_grad()
        loss = (1 - cosines()).sum() + 0.01 * angles.square().sum()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            angles.copy_(torch.minimum(torch.maximum(angles, lower), upper))
    with torch.no_grad():
        return angles.detach(), torch.rad2deg(cosines().clamp(-1, 1).acos())


def most_different(angles: Tensor, count: int) -> Tensor:
    """(count,) numbers of poses, each the furthest from those chosen before it."""
    chosen = [0]
    distance = (angles - angles[0]).norm(dim=1)
    while len(chosen) < min(count, len(angles)):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (angles - angles[chosen[-1]]).norm(dim=1))
    return torch.tensor(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", type=Path, help="animbank.pose")
    parser.add_argument("model", type=Path, help="model_hand.json")
    parser.add_argument("--count", type=int, default=800, help="poses to keep, the most different ones")
    options = parser.parse_args()
    angles, residual = fit_angles(torch.from_numpy(recorded_directions(options.recording, options.model)))
    kept = most_different(angles, options.count)
    RECORDED_POSES.parent.mkdir(parents=True, exist_ok=True)
    degrees = torch.rad2deg(angles[kept]).round().to(torch.int8).numpy()
    np.savez_compressed(RECORDED_POSES, angles_deg=degrees)
    print(f"{len(kept)} of {len(angles)} poses; median residual of each bone, degrees:")
    print(residual.median(0).values.numpy().round(1))


if __name__ == "__main__":
    main()
