"""Reads skinned meshes from binary glTF 2.0 files (Khronos specification, sections 3 and 4)."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SourceError

_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942


@dataclass(frozen=True, eq=False)
class SkinnedMesh:
    """A mesh and the joints that move it, in the file's frame and unit (metres).

    Args:
        vertices: (V, 3) float64, each position once.
        faces: (F, 3) int64, counter-clockwise seen from outside.
        weights: (V, J) float64, each row sums to one.
        joint_names: J names.
        joint_positions: (J, 3) float64.
        joint_rotations: (J, 3, 3) float64; columns are the joints' own axes.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    weights: NDArray[np.float64]
    joint_names: tuple[str, ...]
    joint_positions: NDArray[np.float64]
    joint_rotations: NDArray[np.float64]


def load_skinned_mesh(path: Path) -> SkinnedMesh:
    """The first mesh of a file with its first skin; the joints must lie directly under one unmoved root.

    Raises:
        SourceError: the file is missing, no binary glTF, or without a skinned mesh.
    """
    try:
        document, binary = _chunks(path.read_bytes())
        primitive = document["meshes"][0]["primitives"][0]
        attributes = primitive["attributes"]
        vertices = _accessor(document, binary, attributes["POSITION"]).astype(np.float64)
        faces = _accessor(document, binary, primitive["indices"]).reshape(-1, 3).astype(np.int64)
        influence = _accessor(document, binary, attributes["WEIGHTS_0"]).astype(np.float64)
        influencing = _accessor(document, binary, attributes["JOINTS_0"]).astype(np.int64)
        joints = [document["nodes"][node] for node in document["skins"][0]["joints"]]
    except (OSError, ValueError, KeyError, IndexError, struct.error) as error:
        raise SourceError(f"cannot read a skinned mesh from {path} ({error}): restore the file") from error

    weights = np.zeros((len(vertices), len(joints)))
    np.add.at(weights, (np.arange(len(vertices))[:, None], influencing), influence)
    # Texture seams repeat vertices: one each is enough.
    _, first, welded = np.unique(np.round(vertices, 6), axis=0, return_index=True, return_inverse=True)
    faces = welded.reshape(-1)[faces]
    corners = np.sort(faces, axis=1)
    faces = faces[(corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2])]
    return SkinnedMesh(
        vertices=vertices[first],
        faces=faces,
        weights=weights[first] / weights[first].sum(axis=1, keepdims=True),
        joint_names=tuple(joint["name"] for joint in joints),
        joint_positions=np.array([joint["translation"] for joint in joints]),
        joint_rotations=np.stack([_rotation(joint["rotation"]) for joint in joints]),
    )


def _chunks(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The JSON document and the binary buffer."""
    if content[:4] != b"glTF":
        raise ValueError("not a binary glTF file")
    document, binary, offset = {}, b"", 12
    while offset < len(content):
        length, kind = struct.unpack_from("<II", content, offset)
        chunk = content[offset + 8 : offset + 8 + length]
        if kind == _JSON_CHUNK:
            document = json.loads(chunk)
        elif kind == _BINARY_CHUNK:
            binary = chunk
        offset += 8 + length
    return document, binary


def _accessor(document: dict[str, Any], binary: bytes, number: int) -> NDArray[Any]:
    """(count, width) array; interleaved buffers are not supported."""
    accessor = document["accessors"][number]
    view = document["bufferViews"][accessor["bufferView"]]
    width, dtype = _WIDTHS[accessor["type"]], np.dtype(_COMPONENTS[accessor["componentType"]])
    if view.get("byteStride", width * dtype.itemsize) != width * dtype.itemsize:
        raise ValueError("interleaved buffers are not supported")
    offset = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    return np.frombuffer(binary, dtype, width * accessor["count"], offset).reshape(-1, width)


def _rotation(xyzw: list[float]) -> NDArray[np.float64]:
    """(3, 3) of a unit quaternion."""
    x, y, z, w = xyzw
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
