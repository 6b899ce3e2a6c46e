"""Many recordings on many machines with Ray.

PYTHONPATH=. python3 examples/ray_process.py OUT RECORDING...     (from the root)

Needs `pip install "ray[data]"`. The repository (on PYTHONPATH), recordings and OUT must be at the same
place on every machine.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import ray

from pipeline.process import Settings, process


def process_row(row: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """A recording's row of the data set, and what became of it."""
    outcome = process(row["item"], settings)
    return {"recording": row["item"], "frames": outcome.frames, "error": outcome.error or ""}


def main(out: str, *recordings: str) -> int:
    """Returns 1 if a recording failed, else 0."""
    Path(out).mkdir(parents=True, exist_ok=True)
    settings = Settings(out=Path(out).absolute())
    paths = [str(Path(recording).absolute()) for recording in recordings]
    rows = ray.data.from_items(paths, override_num_blocks=len(paths))
    failed = 0
    for row in rows.map(process_row, fn_kwargs={"settings": settings}).iter_rows():
        print(f"{row['recording']}: {row['error'] or str(row['frames']) + ' frames'}")
        failed += bool(row["error"])
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(str(__doc__))
    sys.exit(main(*sys.argv[1:]))
