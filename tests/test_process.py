"""Many recordings: one file each, resumable; a bad one does not stop the others."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import torch

import pipeline.process
import pipeline.worker_pool
from pipeline.networks.a2j import A2J
from pipeline.networks.centernet import CenterNet
from pipeline.networks.checkpoints import save_a2j, save_centernet
from pipeline.networks.contracts import DetectorInput, HandInput
from pipeline.process import Outcome, Settings, main, output_path, process, process_all
from tests.cameras.folders import write_folder

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name small networks which find nothing."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    contract = DetectorInput(size=64, classes=("left", "right"))
    save_centernet(folder / "c.pth", CenterNet(2, 0.125, plain_head=True, contract=contract).eval(), {})
    a2j = A2J("resnet18", 21, 0.125, 16, HandInput(size=32, crop_mm=260.0, outside="far", std=150.0))
    save_a2j(folder / "a.pth", a2j.eval(), {})
    return ["--engine", "torch", "--centernet", str(folder / "c.pth"), "--a2j", str(folder / "a.pth")]


def settings(out: Path, weights: list[str]) -> Settings:
    return Settings(out, "torch", centernet=Path(weights[3]), a2j=Path(weights[5]))


def test_every_recording_becomes_a_file_and_bad_ones_are_told(
    tmp_path: Path, weights: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    good = [write_folder(tmp_path / name, count) for name, count in (("one", 2), ("two", 3))]
    (tmp_path / "bad.mkv").write_bytes(b"no recording")
    out = tmp_path / "out"
    call = [str(good[0]), str(tmp_path / "bad.mkv"), str(good[1]), "--out", str(out), "--workers", "2"]
    assert main([*call, *weights]) == 1
    assert sorted(path.name for path in out.iterdir()) == ["one.jsonl", "two.jsonl"]
    head, *frames = [json.loads(line) for line in (out / "two.jsonl").read_text().splitlines()]
    assert head["schema"] == 1
    assert [frame["frame"] for frame in frames] == [0, 1, 2]
    told = capfd.readouterr()
    assert "bad.mkv" in told.err
    assert "Traceback" not in told.err


def test_finished_files_are_left_and_unfinished_ones_made_again(tmp_path: Path, weights: list[str]) -> None:
    folder = write_folder(tmp_path / "clip", 2)
    chosen = settings(tmp_path, weights)
    (tmp_path / "clip.123.part").write_text("cut off")
    (tmp_path / "clip.b.123.part").write_text("another recording's")
    assert process(folder, chosen).frames == 2
    written = output_path(folder, chosen).read_bytes()
    assert [path.name for path in tmp_path.glob("*.part")] == ["clip.b.123.part"]
    again = process(folder, chosen)
    assert (again.error, again.seconds, again.frames) == (None, 0.0, 0)
    assert output_path(folder, chosen).read_bytes() == written


def test_another_recording_of_that_name_is_not_taken_for_done(tmp_path: Path, weights: list[str]) -> None:
    monday, tuesday = (write_folder(tmp_path / day / "clip.1", 2) for day in ("monday", "tuesday"))
    chosen = settings(tmp_path, weights)
    assert process(monday, chosen).output == tmp_path / "clip.1.jsonl"
    written = output_path(monday, chosen).read_bytes()
    refused = process(tuesday, chosen)
    assert refused.error is not None
    assert "give another --out" in refused.error
    assert output_path(monday, chosen).read_bytes() == written
    for other in (b"\xff", b"{}", b"[1]", b""):
        output_path(monday, chosen).write_bytes(other)
        assert "is no result" in str(process(monday, chosen).error)


def test_what_other_options_gave_is_not_taken_for_done(tmp_path: Path, weights: list[str]) -> None:
    folder = write_folder(tmp_path / "clip", 2)
    chosen = settings(tmp_path, weights)
    output = process(folder, chosen).output
    shutil.copy(weights[5], tmp_path / "other.pth")
    others: dict[str, Any] = {"max_hands": 1, "track": not chosen.track, "a2j": tmp_path / "other.pth"}
    for name, value in others.items():
        refused = process(folder, replace(chosen, **{name: value})).error
        assert "was made with other options" in str(refused), name
    assert process(folder, replace(chosen, threads=1, engine="torch")).error is None  # the same hands
    first, *frames = output.read_text().splitlines()
    head = json.loads(first)
    assert head["options"]["max_hands"] is None
    for name in ("centernet_sha256", "a2j_sha256"):  # as earlier versions
        del head["options"][name]
    output.write_text("\n".join([json.dumps(head), *frames]))
    assert process(folder, chosen).error is None
    assert "was made with other options" in str(process(folder, replace(chosen, max_hands=1)).error)
    del head["options"]  # as `azure_kinect.py` writes them
    output.write_text("\n".join([json.dumps(head), *frames]))
    assert process(folder, replace(chosen, max_hands=1)).error is None


def test_what_earlier_weights_gave_is_not_taken_for_done(tmp_path: Path, weights: list[str]) -> None:
    folder = write_folder(tmp_path / "clip", 2)
    chosen = replace(settings(tmp_path, weights), a2j=tmp_path / "mine.pth")
    shutil.copy(weights[5], tmp_path / "mine.pth")
    assert process(folder, chosen).frames == 2
    with (tmp_path / "mine.pth").open("ab") as retrained:
        retrained.write(b"\0")
    pipeline.process._digest.cache_clear()  # a new process
    assert "was made with other options" in str(process(folder, chosen).error)


def test_a_recording_that_was_made_anew_is_not_taken_for_done(tmp_path: Path, weights: list[str]) -> None:
    folder, chosen = write_folder(tmp_path / "clip", 2), settings(tmp_path, weights)
    assert process(folder, chosen).frames == 2
    shutil.rmtree(folder)
    assert "cannot be read" in str(process(folder, chosen).error)
    write_folder(tmp_path / "clip", 3)
    assert process(folder, chosen).error == (
        f"{tmp_path / 'clip.jsonl'} was made when {folder} was another one: give another --out, or remove it"
    )


def test_only_what_was_in_work_is_suspected_of_ending_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at a time; the third of ten ends its process each time."""
    alone: list[Path] = []
    submitted: list[Path] = []

    class Pool:
        broken = False

        def submit(self, work: Any, recording: Path) -> Future[Outcome]:
            if self.broken:
                raise BrokenProcessPool
            future: Future[Outcome] = Future()
            submitted.append(recording)
            if recording.name == "2":
                Pool.broken = True
                future.set_exception(BrokenProcessPool())
            else:
                future.set_result(Outcome(recording, tmp_path))
            return future

    @contextmanager
    def pool(workers: int) -> Iterator[Pool]:
        if workers == 1:
            alone.append(tmp_path)
        Pool.broken = False
        yield Pool()

    monkeypatch.setattr(pipeline.worker_pool, "worker_pool", pool)
    recordings = [tmp_path / str(k) for k in range(10)]
    (tmp_path / "2.123.part").write_text("cut off")
    outcomes = list(process_all(recordings, Settings(tmp_path), 2))
    assert {outcome.recording for outcome in outcomes} == set(recordings)
    (bad,) = [outcome for outcome in outcomes if outcome.error]
    assert bad.recording.name == "2"
    assert "ended its process" in str(bad.error)
    assert not list(tmp_path.iterdir())
    assert len(alone) == 1
    assert len(submitted) == len(recordings) + 1  # none but that one is tried twice


def test_a_folder_that_may_not_be_entered_is_told(tmp_path: Path, weights: list[str]) -> None:
    name = "x" * 300  # longer than names may be: the system's answer is an error, as for a locked folder
    outcome = process(tmp_path / name / "clip.mkv", settings(tmp_path, weights))
    assert "does not exist, or may not be read" in str(outcome.error)


def test_cores_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert [pipeline.worker_pool.share_of_cores(n) for n in (1, 2, 4, 9)] == [None, 3, 1, 1]


def test_frames_before_a_fault_are_kept(tmp_path: Path, weights: list[str]) -> None:
    folder = write_folder(tmp_path / "clip", 4)
    last = folder / "depth_image" / "0000003.png"
    whole = last.read_bytes()
    last.write_bytes(b"cut off")
    chosen = settings(tmp_path, weights)
    outcome = process(folder, chosen)
    assert outcome.frames == 3
    assert outcome.error is not None
    kept = tmp_path / "clip.incomplete.jsonl"
    assert f"what comes before is in {kept}" in outcome.error
    assert len(kept.read_text().splitlines()) == 4
    last.write_bytes(whole)
    assert process(folder, chosen) == replace(outcome, frames=4, error=None, seconds=ANY)
    assert not kept.exists()


def test_threads_reach_the_networks(
    tmp_path: Path, weights: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, threads = write_folder(tmp_path / "clip", 1), torch.get_num_threads()
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    assert process(folder, replace(settings(tmp_path, weights), threads=threads)).error is None
    assert set(asked) == {threads}


def test_process_can_be_pickled_with_its_settings(tmp_path: Path, weights: list[str]) -> None:
    job = pickle.loads(pickle.dumps(partial(process, settings=settings(tmp_path, weights))))
    outcome = job(tmp_path / "nothing")
    assert outcome.error is not None
    assert pickle.loads(pickle.dumps(outcome)) == outcome


def test_wrong_use_is_told_before_anything_is_done(
    tmp_path: Path, weights: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    twice = [str(tmp_path / "a" / "clip.mkv"), str(tmp_path / "b" / "clip.mkv")]
    assert main([*twice, "--out", str(tmp_path / "out"), *weights]) == 2
    assert "clip.jsonl" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main([twice[0], "--out", str(tmp_path / "file"), *weights]) == 2
    for unnamed in ([twice[0], "--out", ""], ["", "--out", "x"], [twice[0], "--out", "x", "--a2j", ""]):
        with pytest.raises(SystemExit, match="2"):
            main(unnamed)
    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(tmp_path)])


@pytest.mark.parametrize("network", ["--centernet", "--a2j"])
def test_missing_weights_are_told_once_before_anything_is_done(
    network: str, tmp_path: Path, weights: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    recordings = [str(write_folder(tmp_path / name, 1)) for name in ("one", "two")]
    missing = tmp_path / "none.pth"
    assert main([*recordings, "--out", str(tmp_path / "out"), *weights, network, str(missing)]) == 2
    assert capsys.readouterr().err == (
        f"{missing} cannot be read (No such file or directory): name other weights\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["clip.jsonl", "clip.incomplete.jsonl"])
def test_a_folder_in_the_place_of_a_result_is_told_before_the_work(
    name: str, tmp_path: Path, weights: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.process._write", None)  # nothing is read
    chosen = settings(tmp_path, weights)
    (chosen.out / name).mkdir(parents=True)
    outcome = process(write_folder(tmp_path / "clip", 1), chosen)
    assert (
        outcome.error == f"cannot write {chosen.out / name}: it is a folder, rename it or give another --out"
    )


@pytest.mark.parametrize("length", [240, 250])
def test_a_name_too_long_for_its_results_is_told(length: int, tmp_path: Path, weights: list[str]) -> None:
    folder = write_folder(tmp_path / ("x" * length), 1)
    outcome = process(folder, settings(tmp_path, weights))
    assert outcome.error == (
        f"the name of {folder} is too long for those of its results: give it a shorter one"
    )


@pytest.mark.parametrize(
    ("numbers", "codes"),
    [
        ([signal.SIGINT], [130]),
        ([signal.SIGTERM], [143]),
        ([signal.SIGKILL], [-signal.SIGKILL]),
        ([signal.SIGTERM, signal.SIGINT, signal.SIGTERM], [130, 143]),  # whichever is seen first
    ],
)
def test_signals_end_it_and_leave_no_half_result_and_no_process(
    numbers: list[int], codes: list[int], tmp_path: Path, weights: list[str]
) -> None:
    folder = write_folder(tmp_path / "clip", 2000)
    command = [
        sys.executable,
        "-m",
        "pipeline.process",
        str(folder),
        "--out",
        str(tmp_path / "out"),
        *weights,
    ]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as run:
        for _ in range(1200):
            if list((tmp_path / "out").glob("clip.*.part")) or run.poll() is not None:
                break
            time.sleep(0.1)
        for number in numbers:
            os.kill(run.pid, number)
        _, told = run.communicate()  # ends when the last process that could write to it has ended
    assert run.returncode in codes
    assert "Traceback" not in told
    assert not (tmp_path / "out" / "clip.jsonl").exists(), told
    if signal.SIGKILL not in numbers:
        assert not list((tmp_path / "out").iterdir())


def test_ray_maps_it_over_recordings(tmp_path: Path, weights: list[str]) -> None:
    pytest.importorskip("ray.data", reason="needs ray[data]", exc_type=ImportError)
    recordings = [str(write_folder(tmp_path / name, 2)) for name in ("one", "two")]
    code = (
        "import sys, ray; ray.init(num_cpus=1, include_dashboard=False)\n"
        "from dataclasses import replace\nfrom pathlib import Path\nimport ray_process\n"
        "plain = ray_process.Settings\n"
        f"ray_process.Settings = lambda out: plain(out, 'torch', centernet=Path({weights[3]!r}), "
        f"a2j=Path({weights[5]!r}))\n"
        "sys.exit(ray_process.main(*sys.argv[1:]))"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'examples'}"}
    command = [sys.executable, "-c", code, str(tmp_path / "out"), *recordings]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.jsonl", "two.jsonl"]
