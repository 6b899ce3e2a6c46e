"""Makes pipeline/synthetic/assets/bodies.npz: people's bodies without hands, as few triangles and numbers.

Needs the packages anny (https://github.com/naver/anny, Apache-2.0; its body data are CC0) and
fast-simplification, which nothing else does:

    python3 -m pipeline.training.export_bodies
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.synthetic.bodies import ASSET, BONES, SIDES

FloatArray = NDArray[np.float64]

# anny: x to the person's left, y to the back, z up. Here: x left, y down, z back, so that a person with an
# identity pose faces the camera.
AXES = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=np.float64)

# Bones of anny that move with one of ours, by the beginning of their names; the first that fits.
_MEMBERS = {
    "upperleg": ("upperleg",),
    "lowerleg": ("lowerleg",),
    "foot": ("foot", "toe"),
    "clavicle": ("clavicle", "shoulder"),
    "upperarm": ("upperarm",),
    "lowerarm": ("lowerarm",),
    "wrist": ("wrist", "finger", "metacarpal"),
    "pelvis": ("root", "pelvis", "spine05"),
    "spine": ("spine04", "spine03"),
    "chest": ("spine02", "spine01"),
    "neck": ("neck",),
    "head": ("head", "eye"),
}
_JOINTS = {
    "pelvis": "root",
    "spine": "spine04",
    "chest": "spine02",
    "neck": "neck01",
    "head": "head",
    "foot": "foot",
    "wrist": "wrist",
}


def our_bone(label: str) -> str:
    """Name of the bone of ours that moves anny's bone `label` (for example "toe1-1.L")."""
    name, _, side = label.partition(".")
    ours = next(bone for bone, members in _MEMBERS.items() if name.startswith(members))
    return f"{ours}.{side}" if f"{ours}.{side}" in BONES else ours


def joint_label(bone: str) -> str:
    """anny's bone whose head is the joint of ours."""
    name, _, side = bone.partition(".")
    default = {"clavicle": "clavicle"}.get(name, f"{name}01")
    label = _JOINTS.get(name, default)
    return f"{label}.{side}" if side else label


def sample_shapes(model: Any, adults: int, children: int) -> tuple[FloatArray, FloatArray]:
    """Vertices (N, V, 3) and anny's joints (N, bones, 3) in metres, of people of 5 to 80 years."""
    from anny.shape_distribution import SimpleShapeDistribution

    vertices, joints = [], []
    for count, youngest, oldest in ((adults, 16.0, 80.0), (children, 5.0, 16.0)):
        ages = torch.distributions.Uniform(torch.tensor(youngest), torch.tensor(oldest))
        _, phenotype = SimpleShapeDistribution(model, morphological_age_distribution=ages).sample(count)
        for i in range(count):
            person = {name: value[i : i + 1].float() for name, value in phenotype.items()}
            _, *inputs = model.get_tensor_inputs(None, person, {}, None)
            rest = model.get_rest_model(model._get_phenotype_blendshape_coefficients(*inputs))
            vertices.append(rest["rest_vertices"][0].numpy() @ AXES.T)
            joints.append(rest["rest_bone_heads"][0].numpy() @ AXES.T)
    return np.stack(vertices), np.stack(joints)


def largest_component(faces: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Vertices of the largest connected surface: the skin, without eyes and teeth."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    return labels == np.bincount(labels).argmax()


def decimate(
    vertices: FloatArray, faces: NDArray[np.int64], target: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Fewer triangles on a subset of the vertices.

    Returns:
        kept (K,) numbers of the vertices that remain; faces (F, 3) of numbers below K.
    """
    import fast_simplification
    from scipy.spatial import cKDTree

    points, simple = fast_simplification.simplify(
        vertices.astype(np.float32), faces.astype(np.int32), target_count=target
    )
    used = np.unique(faces)
    nearest = used[cKDTree(vertices[used]).query(points)[1]]
    simple = nearest[simple]
    edges = simple - np.roll(simple, 1, axis=1)
    simple = simple[(edges != 0).all(1)]
    kept, renumbered = np.unique(simple, return_inverse=True)
    return kept, renumbered.reshape(-1, 3)


def strongest(weights: FloatArray, count: int = 4) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The `count` largest weights of each vertex: bone numbers (V, count), weights (V, count), sum 1."""
    order = np.argsort(-weights, axis=1)[:, :count]
    chosen = np.take_along_axis(weights, order, 1)
    return order.astype(np.uint8), (chosen / chosen.sum(1, keepdims=True)).astype(np.float32)


def scalp(vertices: FloatArray, eyes: FloatArray, head: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Vertices that hair covers: above the forehead, and behind the ears down to the nape."""
    up = eyes[1] - vertices[:, 1]
    back = vertices[:, 2] - eyes[2]
    return head & ((up > 0.062) | ((back > 0.09) & (up > -0.05)))


def export(path: Path, adults: int, children: int, components: int, triangles: int) -> None:
    import anny

    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  (anny's own initialisation)
    model = anny.Anny(local_changes="default").to(dtype=torch.float32)
    labels = list(model.bone_labels)
    vertices, joints = sample_shapes(model, adults, children)
    mean = vertices.mean(0)

    weights = np.zeros((len(mean), len(BONES)))
    ours = np.array([BONES.index(our_bone(label)) for label in labels])
    rows = np.arange(len(mean))
    for k in range(model.vertex_bone_weights.shape[1]):
        bone = ours[model.vertex_bone_indices[:, k].numpy()]
        np.add.at(weights, (rows, bone), model.vertex_bone_weights[:, k].numpy())

    hands = weights[:, [BONES.index(f"wrist.{side}") for side in SIDES]].sum(1) > 0.5
    faces = model.get_triangular_faces().numpy().astype(np.int64)
    skin = largest_component(faces, len(mean)) & ~hands
    faces = faces[skin[faces].all(1)]
    kept, faces = decimate(mean, faces, triangles)

    heads = joints[:, [labels.index(joint_label(bone)) for bone in BONES]]
    knuckles = joints[:, [labels.index(f"finger3-1.{side}") for side in SIDES]]
    anchors = np.concatenate([heads, knuckles], axis=1)
    shape = np.concatenate(
        [vertices[:, kept].reshape(len(vertices), -1), anchors.reshape(len(anchors), -1)], 1
    )
    centre = shape.mean(0)
    u, s, basis = np.linalg.svd(shape - centre, full_matrices=False)
    scores = u[:, :components] * s[:components]
    error = np.linalg.norm((scores @ basis[:components] + centre - shape).reshape(len(shape), -1, 3), axis=2)

    bone, weight = strongest(weights[kept])
    on_head = np.isin(bone[:, 0], [BONES.index("head")])
    eyes = joints[:, [labels.index("eye.L"), labels.index("eye.R")]].mean((0, 1))
    np.savez_compressed(
        path,
        mean=centre.astype(np.float32),
        basis=basis[:components].astype(np.float16),
        scores=scores.astype(np.float32),
        adults=np.int64(adults),
        faces=faces.astype(np.int16),
        bone=bone,
        weight=weight.astype(np.float16),
        scalp=scalp(mean[kept], eyes, on_head),
    )
    print(
        f"{path}: {len(kept)} vertices, {len(faces)} triangles, {len(shape)} shapes as {components} numbers, "
        f"mean error {1000 * error.mean():.2f} mm, {path.stat().st_size / 1e6:.2f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--output", type=Path, default=ASSET)
    parser.add_argument("--adults", type=int, default=300)
    parser.add_argument("--children", type=int, default=100)
    parser.add_argument("--components", type=int, default=24)
    parser.add_argument("--triangles", type=int, default=3000)
    arguments = parser.parse_args()
    export(arguments.output, arguments.adults, arguments.children, arguments.components, arguments.triangles)


if __name__ == "__main__":
    main()
