"""Joints as researchers publish them: text in many dialects, or MATLAB files."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HandPoseError, UsageError

FloatArray = NDArray[np.float64]

_FILE_NAME = re.compile(
    r"""^\s*["']?[^"']*?\.(?:png|bin|jpe?g|tiff?|bmp|pgm|exr|mat|txt)["']?(?=[\s,;:]|$)""", re.I
)
_COMMENT = re.compile(r"(?:^|\s)[#%].*")
_BRACKETS = re.compile(r"[\[\](){}\"']")
_FORTRAN_EXPONENT = re.compile(r"(?<=[\d.])[dD](?=[+-]?\d)")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?|[+-]?\d+(?:[eE][+-]?\d+)?")
_LARGEST_ARRAY = 1 << 28  # numbers in a MATLAB file's array that are still read


@dataclass(frozen=True, eq=False)
class JointTable:
    """Joints of many frames.

    Args:
        path: where they come from.
        joints: (N, J, 3), in the file's coordinates.
        names: N file names of the frames, without folders, or None if the file has none.
    """

    path: Path
    joints: FloatArray
    names: tuple[str, ...] | None = None


def read_joints(path: str | Path) -> JointTable:
    """Read joints from a text file or a MATLAB file (.mat up to version 7.2).

    Text has one frame a line: an optional file name, then three numbers for each joint. Numbers are separated
    by spaces, tabs, commas or semicolons, may stand in brackets, may have a Fortran exponent (1D2) or, where
    commas do not separate them, decimal commas. Blank lines, comments (# or %), a heading and a byte order
    mark are passed over. A MATLAB file holds one array (N, J, 3) or (N, 3J), or is NYU's joint_data.mat, of
    which the first camera is taken.

    Raises:
        UsageError: no such file.
        HandPoseError: anything else in it; the message says where.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}): give a text or .mat file of joints"
        ) from None
    if path.suffix.lower() == ".mat":
        table = JointTable(path, _read_mat(path))
    else:
        table = _read_text(path, _decode(path, data))
    broken = ~np.isfinite(table.joints).all(axis=(1, 2))
    if broken.any():
        raise HandPoseError(
            f"{path} has numbers that are not finite in {broken.sum()} of {broken.size} frames, first in row "
            f"{int(broken.argmax()) + 1}: leave out those frames, there and in the truth"
        )
    return table


def pair_tables(predicted: JointTable, truth: JointTable) -> tuple[FloatArray, FloatArray]:
    """The joints of both, frame by frame: in order, or by name where both name the same frames.

    Raises:
        HandPoseError: different numbers of frames or joints, or other frames.
    """
    frames, true_frames = len(predicted.joints), len(truth.joints)
    if frames != true_frames:
        raise HandPoseError(
            f"{predicted.path} has {frames} rows, but {truth.path} has {true_frames}: give predictions for "
            "every frame of the truth"
        )
    joints, true_joints = predicted.joints.shape[1], truth.joints.shape[1]
    if joints != true_joints:
        raise HandPoseError(
            f"{predicted.path} has {joints} joints a row, but {truth.path} has {true_joints}: give the same "
            "joints in both"
        )
    if predicted.names is None or truth.names is None or predicted.names == truth.names:
        return predicted.joints, truth.joints
    rows = {name: row for row, name in enumerate(predicted.names)}
    if len(rows) < frames:
        return (
            predicted.joints,
            truth.joints,
        )  # names repeat (one folder for each sequence): only order counts
    missing = [name for name in truth.names if name not in rows]
    if missing:
        raise HandPoseError(
            f"{predicted.path} lacks {len(missing)} of the {true_frames} frames that {truth.path} names, "
            f"first {missing[0]}: give predictions for every frame"
        )
    return predicted.joints[[rows[name] for name in truth.names]], truth.joints


# --- Text ----------------------------------------------------------------------------------------------
def _decode(path: Path, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data[:4096]:
        raise HandPoseError(f"{path} is not a text file: give one frame a line, or a .mat file")
    return data.decode("utf-8-sig", errors="replace")


def _read_text(path: Path, text: str) -> JointTable:
    lines = [(n, _COMMENT.sub("", line).strip()) for n, line in enumerate(text.splitlines(), start=1)]
    lines = [(n, line) for n, line in lines if line]
    split = [(n, *_split_name(line)) for n, line in lines]
    decimal_comma = _has_decimal_commas([numbers for _, _, numbers in split])
    rows: list[FloatArray] = []
    names: list[str] = []
    for n, file_name, numbers in split:
        name, values = _parse(path, n, file_name, numbers, decimal_comma)
        if not values.size and not rows:
            continue  # a heading
        if rows and len(values) != len(rows[0]):
            raise HandPoseError(
                f"{path}, line {n} has {len(values)} numbers, the lines before have {len(rows[0])}: every "
                "row needs the same joints"
            )
        rows.append(values)
        names.append(name)
    if not rows:
        raise HandPoseError(f"{path} contains no rows of numbers: give one frame a line")
    table = np.stack(rows)
    if table.shape[1] % 3 == 1 and (np.diff(table[:, 0]) == 1).all():
        table = table[:, 1:]  # a running number
    return JointTable(path, _as_joints(path, table), tuple(names) if all(names) else None)


def _split_name(line: str) -> tuple[str, str]:
    """A leading file name, without its folders, and the rest of the line."""
    named = _FILE_NAME.match(line)
    if not named:
        return "", line
    name = named.group().strip().strip("\"'")
    return re.split(r"[\\/]", name)[-1], line[named.end() :]


def _has_decimal_commas(lines: list[str]) -> bool:
    """True if commas are decimal signs: something else separates the numbers, and none has a point."""
    tokens = [
        token
        for line in lines[:100]
        for token in _BRACKETS.sub(" ", line).replace(";", " ").split()
        if not any(letter.isalpha() and letter not in "eE" for letter in token)
    ]
    return any("," in token for token in tokens) and all(_DECIMAL_COMMA.fullmatch(token) for token in tokens)


def _parse(
    path: Path, line_number: int, name: str, numbers: str, decimal_comma: bool
) -> tuple[str, FloatArray]:
    text = _BRACKETS.sub(" ", numbers).replace(";", " ").replace(",", "." if decimal_comma else " ")
    tokens = _FORTRAN_EXPONENT.sub("e", text).split()
    if tokens and not name and _number(tokens[0]) is None:
        name, tokens = tokens[0], tokens[1:]
    values = [_number(token) for token in tokens]
    if values and all(value is None for value in values):
        values = []
    for token, value in zip(tokens, values, strict=False):
        if value is None:
            raise HandPoseError(
                f"{path}, line {line_number} has '{token[:40]}' in place of a number: give one frame a line"
            )
    return re.split(r"[\\/]", name)[-1], np.array(values, dtype=np.float64)


def _number(token: str) -> float | None:
    try:
        return float(token)
    except ValueError:
        return None


# --- MATLAB --------------------------------------------------------------------------------------------
def _read_mat(path: Path) -> FloatArray:
    from scipy import io

    try:
        arrays = {name: shape for name, shape, kind in io.whosmat(path) if kind in ("double", "single")}
        name, shape = _choose_array(path, arrays)
        if np.prod(shape, dtype=np.float64) > _LARGEST_ARRAY:
            raise HandPoseError(f"{path} has an array of size {shape}, too large to read: give fewer frames")
        array: Any = io.loadmat(path, variable_names=[name])[name]
    except HandPoseError:
        raise
    except Exception as error:  # SciPy lets whatever a broken file causes escape
        raise HandPoseError(
            f"{path} is not a MATLAB file that can be read ({type(error).__name__}): save it as version 7 or "
            "as text"
        ) from None
    if array.ndim == 4:
        array = array[0]
    array = np.asarray(array, dtype=np.float64)
    return _as_joints(path, array.reshape(len(array), -1))


def _choose_array(path: Path, arrays: dict[str, tuple[int, ...]]) -> tuple[str, tuple[int, ...]]:
    if "joint_uvd" in arrays:  # NYU's own file, beside joint_xyz
        return "joint_uvd", arrays["joint_uvd"]
    fitting = {
        name: shape
        for name, shape in arrays.items()
        if (len(shape) in (3, 4) and shape[-1] == 3) or (len(shape) == 2 and shape[1] % 3 == 0)
    }
    if len(fitting) != 1:
        sizes = Counter(f"{name} {shape}" for name, shape in arrays.items())
        raise HandPoseError(
            f"{path} should hold one array of size (frames, joints, 3), found {', '.join(sizes) or 'none'}"
        )
    return next(iter(fitting.items()))


def _as_joints(path: Path, table: FloatArray) -> FloatArray:
    frames, columns = table.shape
    if columns % 3 or not frames or not columns:
        raise HandPoseError(
            f"{path} has {columns} numbers a row, which are not three for each joint ({columns} / 3 = "
            f"{columns / 3:.2f} joints)"
        )
    return table.reshape(frames, columns // 3, 3)
