"""The reader of published joints: every dialect gives the same numbers, every fault a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import io

from pipeline.errors import HandPoseError, UsageError
from pipeline.training.published import JointTable, pair_tables, read_joints

JOINTS = np.array([[[1.5, -2.25, 300], [0.125, 8, 1e3]], [[4, 5, 6], [7, 8, 9.5]]])


def rows(separator: str, render: Callable[[float], str] = repr) -> list[str]:
    return [separator.join(render(float(v)) for v in row) for row in JOINTS.reshape(2, -1)]


def comma(value: float) -> str:
    return repr(value).replace(".", ",")


DIALECTS = {
    "spaces": "\n".join(rows(" ")),
    "wide spaces, trailing": "\n".join(row + "  " for row in rows("   ")),
    "commas": "\n".join(rows(",")),
    "commas and spaces": "\n".join(rows(", ")),
    "tabs": "\n".join(rows("\t")),
    "semicolons": ";\n".join(rows(";")) + ";",
    "scientific": "\n".join(rows(" ", "{:.6E}".format)),
    "Fortran": "\n".join(rows(" ", lambda v: f"{v:.6e}".replace("e", "D"))),
    "explicit signs": "\n".join(rows(" ", "{:+.6f}".format)),
    "decimal commas, semicolons": "\n".join(rows(";", comma)),
    "decimal commas, tabs": "\n".join(rows("\t", comma)),
    "names": "\n".join(f"depth_1_{n:07}.png {row}" for n, row in enumerate(rows(" "), 1)),
    "names with folders and tabs": "\n".join(
        f"P0\\1\\{n:06}_depth.bin\t{row}" for n, row in enumerate(rows("\t"))
    ),
    "names with spaces and commas": "\n".join(
        f'"my frame {n}, left.png",{row}' for n, row in enumerate(rows(","))
    ),
    "names without ending": "\n".join(f"frame{n} {row}" for n, row in enumerate(rows(" "))),
    "running number": "\n".join(f"{n} {row}" for n, row in enumerate(rows(" "))),
    "brackets": "\n".join(f"[({row})]" for row in rows(", ")),
    "blank lines and comments": "# joints\n\n" + "\n\n% half way\n".join(rows(" ")) + "   # end\n\n\n",
    "heading": "name,u0,v0,d0,u1,v1,d1\n" + "\n".join(f"{n}.png,{row}" for n, row in enumerate(rows(","))),
    "Windows line ends": "\r\n".join(rows(" ")) + "\r\n",
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_gives_the_same_joints(dialect: str, tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path = tmp_path / f"{encoding}.txt"
        path.write_text(DIALECTS[dialect], encoding=encoding, newline="")
        np.testing.assert_allclose(read_joints(path).joints, JOINTS)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arrays(
        np.float64, st.tuples(st.integers(1, 4), st.integers(1, 5), st.just(3)), elements=st.floats(-1e5, 1e5)
    ),
    st.sampled_from([" ", "\t", ",", "; ", ", "]),
)
def test_any_numbers_survive(tmp_path: Path, joints: NDArray[np.float64], separator: str) -> None:
    path = tmp_path / "joints.txt"
    path.write_text(
        "\n".join(separator.join(map(repr, row)) for row in joints.reshape(len(joints), -1).tolist())
    )
    np.testing.assert_array_equal(read_joints(path).joints, joints)


@pytest.mark.parametrize("shape", [(2, 2, 3), (2, 6)])
def test_matlab_files_by_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "truth.mat"
    io.savemat(path, {"anything": JOINTS.reshape(shape), "note": "text is passed over"})
    np.testing.assert_array_equal(read_joints(path).joints, JOINTS)


def test_matlab_file_of_nyu_gives_its_first_camera(tmp_path: Path) -> None:
    path = tmp_path / "joint_data.mat"
    uvd = np.stack([JOINTS, JOINTS + 1, JOINTS + 2])
    io.savemat(path, {"joint_uvd": uvd, "joint_xyz": -uvd})
    np.testing.assert_array_equal(read_joints(path).joints, JOINTS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3\n1 2 3 4 5 6\n", "line 2 has 6 numbers, the lines before have 3"),
        ("1 2 3 4 5\n", r"5 numbers a row"),
        ("1 2 3\n4 x 6\n", "line 2 has 'x'"),
        ("1 2 3\n4 nan 6\n", "not finite in 1 of 2 frames, first in row 2"),
        ("", "no rows"),
        ("# only a comment\n\n", "no rows"),
        ("a b c\n", "no rows"),
        ("\0\1\2\3", "not a text file"),
    ],
)
def test_faults_are_told_in_a_sentence(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "joints.txt"
    path.write_text(text)
    with pytest.raises(HandPoseError, match=message):
        read_joints(path)


def test_missing_file_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.txt cannot be read"):
        read_joints(tmp_path / "nowhere.txt")


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.sampled_from(["txt", "mat"]))
def test_junk_never_escapes_as_another_error(tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / f"junk.{suffix}"
    path.write_bytes(data)
    try:
        joints = read_joints(path).joints
    except HandPoseError:
        return
    assert np.isfinite(joints).all()


def test_broken_and_ambiguous_matlab_files(tmp_path: Path) -> None:
    path = tmp_path / "truth.mat"
    io.savemat(path, {"a": JOINTS, "b": JOINTS})
    with pytest.raises(HandPoseError, match="should hold one array"):
        read_joints(path)
    io.savemat(path, {"a": JOINTS})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(HandPoseError, match="not a MATLAB file"):
        read_joints(path)


def table(name: str, joints: NDArray[np.float64], names: tuple[str, ...] | None = None) -> JointTable:
    return JointTable(Path(name), joints, names)


def test_different_numbers_of_rows_or_joints_name_both() -> None:
    with pytest.raises(HandPoseError, match=r"p has 2 rows, but t has 1"):
        pair_tables(table("p", JOINTS), table("t", JOINTS[:1]))
    with pytest.raises(HandPoseError, match=r"p has 2 joints a row, but t has 1"):
        pair_tables(table("p", JOINTS), table("t", JOINTS[:, :1]))


def test_frames_that_both_files_name_are_paired_by_name() -> None:
    predicted, truth = pair_tables(
        table("p", JOINTS[::-1], ("b.png", "a.png")), table("t", JOINTS, ("a.png", "b.png"))
    )
    np.testing.assert_array_equal(predicted, truth)
    with pytest.raises(HandPoseError, match=r"lacks 1 of the 2 frames that t names, first b\.png"):
        pair_tables(table("p", JOINTS, ("a.png", "c.png")), table("t", JOINTS, ("a.png", "b.png")))


def test_names_that_repeat_leave_the_order_alone() -> None:
    predicted, _ = pair_tables(
        table("p", JOINTS, ("a.png", "a.png")), table("t", JOINTS[::-1], ("b.png", "b.png"))
    )
    np.testing.assert_array_equal(predicted, JOINTS)
