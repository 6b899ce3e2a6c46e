"""Converted models on disk, so that they are made once."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pipeline.engines.spec import EngineSpec

Loaded = TypeVar("Loaded")

_KEPT = 4  # models of one network and kind; older ones go
_log = logging.getLogger(__name__)


class ModelCache:
    """Files beside the checkpoint, or in the user's cache folder where that cannot be written.

    Args:
        spec: the network; its fingerprint is part of each file's name.
        folders: where to look, in this order; None for the two above.
    """

    def __init__(self, spec: EngineSpec, folders: Sequence[Path] | None = None) -> None:
        self._spec = spec
        if folders is None:
            folders = [user_folder()] if spec.checkpoint is None else [spec.checkpoint.parent, user_folder()]
        self._folders = folders

    def get(
        self, kind: str, made_by: str, make: Callable[[], bytes], load: Callable[[bytes], Loaded]
    ) -> Loaded:
        """The loaded model; made, and kept, if no file fits.

        Args:
            kind: engine and precision, such as "openvino-float32".
            made_by: everything else that the file depends on: versions, the GPU.
            make: converts the network.
            load: reads what `make` made.
        """
        family = _file_name(f"{self._spec.name}.{kind}.")
        name = family + _file_name(f"{made_by}.{self._spec.fingerprint}.engine")
        for folder in self._folders:
            with suppress(OSError):
                kept = (folder / name).read_bytes()
                try:
                    return load(kept)
                except Exception as error:  # vendors raise whatever they like
                    _log.warning(
                        "the kept model %s cannot be used (%s): it is made anew", folder / name, error
                    )
        made = make()
        loaded = load(made)
        self._keep(family, name, made)
        return loaded

    def _keep(self, family: str, name: str, made: bytes) -> None:
        for folder in self._folders:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                write_atomically(folder / name, made)
            except OSError:
                continue
            _forget_old(folder, family)
            return
        _log.warning(
            "the converted model cannot be kept in %s, so it is made again next time",
            " or ".join(str(folder) for folder in self._folders),
        )


def _forget_old(folder: Path, family: str) -> None:
    """Removes all but the latest models of one network and kind."""
    with suppress(OSError):
        models = [path for path in folder.iterdir() if path.suffix == ".engine"]
        siblings = [path for path in models if path.name.startswith(family)]
        for old in sorted(siblings, key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            old.unlink()


def user_folder() -> Path:
    """The user's folder for files that can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "handpose-3d"


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that is either there as a whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, suffix=".part", delete=False) as part:
        try:
            part.write(content)
            part.close()
            os.chmod(part.name, 0o644)  # temporary files are their owner's alone
            os.replace(part.name, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(part.name)
            raise


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in text)
