from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import SourceError
from pipeline.synthetic.glb import load_skinned_mesh
from pipeline.synthetic.hand_rig import HAND_MESH


def test_hand_mesh_is_welded_and_weighted() -> None:
    mesh = load_skinned_mesh(HAND_MESH)
    assert mesh.vertices.shape == (1159, 3)
    assert mesh.faces.shape == (2314, 3)
    assert len(mesh.joint_names) == 25
    np.testing.assert_allclose(mesh.weights.sum(axis=1), 1, atol=1e-9)
    assert len(np.unique(mesh.vertices, axis=0)) == len(mesh.vertices)
    identity = np.broadcast_to(np.eye(3), (25, 3, 3))
    np.testing.assert_allclose(
        mesh.joint_rotations @ mesh.joint_rotations.transpose(0, 2, 1), identity, atol=1e-5
    )


@pytest.mark.parametrize("length", [0, 3, 12, 400, 20_000, None])
def test_missing_foreign_and_truncated_files_are_refused(tmp_path: Path, length: int | None) -> None:
    path = tmp_path / "hand.glb"
    if length is not None:
        path.write_bytes(HAND_MESH.read_bytes()[:length])
    with pytest.raises(SourceError, match="cannot read a skinned mesh"):
        load_skinned_mesh(path)
    path.write_bytes(b"something else entirely")
    with pytest.raises(SourceError):
        load_skinned_mesh(path)
