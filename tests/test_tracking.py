"""Tracking on scripted hands: see `tests.acting`."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.constants import (
    SIDE_UNCLEAR,
    TRACK_DETECT_EVERY,
    TRACK_MEMORY_S,
    TRACK_SCORE_DECAY,
    TRACK_SEARCH_EVERY,
)
from pipeline.frame import Frame
from pipeline.hand import HAND_21, Handedness
from pipeline.tracking import Tracker
from tests.acting import Actor, Path3D, ScriptedEyes, hand_at, ids_by_actor, play, still
from tests.scripted import CAMERA

# --- Birth and death ---------------------------------------------------------------------------------------


def test_a_hand_is_there_once_two_frames_agree() -> None:
    eyes = ScriptedEyes([Actor(lambda k: (0.0, 0.0, 700.0) if k >= 3 else None)])
    frames = play(eyes, 8)
    assert [len(hands) for hands in frames] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert {hand.id for hands in frames for hand in hands} == {1}
    np.testing.assert_allclose(frames[-1][0].joints_xyz, hand_at(0, 0, 700), atol=0.01)


def test_a_flash_of_the_detector_is_no_hand() -> None:
    eyes = ScriptedEyes([Actor(still(0), overlooked=lambda k: k % 2 == 1)])
    assert not any(play(eyes, 12))


@pytest.mark.parametrize("hallucinated", [False, True])
@pytest.mark.parametrize("leaves_at", [20, 21, 23, 25])
def test_a_hand_that_vanishes_is_gone_within_five_frames(leaves_at: int, hallucinated: bool) -> None:
    eyes = ScriptedEyes(
        [Actor(lambda k: (0.0, 0.0, 700.0) if k < leaves_at else None, hallucinated=hallucinated)]
    )
    frames = play(eyes, leaves_at + 10)
    assert frames[leaves_at - 1]
    assert not any(frames[leaves_at + 1 :])  # its joints float in the air


def test_a_hand_that_walks_out_of_the_image_is_gone_within_five_frames() -> None:
    eyes = ScriptedEyes([Actor(lambda k: (40.0 * max(0, k - 10), 0.0, 700.0))])
    frames = play(eyes, 60)
    outside = next(
        k for k in range(60) if (CAMERA.project(hand_at(40 * max(0, k - 10), 0, 700))[:, 0] > 320).all()
    )
    assert frames[15]
    assert not any(frames[outside + 5 :])


def test_a_track_left_behind_on_a_wall_is_dropped() -> None:
    """The surface holds up its joints and the network is sure of them, but the detector sees nothing."""

    class OnTheWall(ScriptedEyes):
        def frame(self, index: int, stamp_us: int | None = None) -> Frame:
            made = super().frame(index, stamp_us)
            return replace(made, depth=np.minimum(made.depth, 690).astype(np.uint16))

    eyes = OnTheWall([Actor(lambda k: (0.0, 0.0, 700.0) if k < 30 else None, hallucinated=True)])
    frames = play(eyes, 45)
    assert frames[29]
    assert not any(frames[30 + TRACK_DETECT_EVERY + 2 :])


def test_a_track_ends_where_the_network_sees_no_hand() -> None:
    gone_at = 20
    actor = Actor(
        still(0), presence=lambda k: 8.0 if k < gone_at else -6.0, overlooked=lambda k: k >= gone_at
    )
    frames = play(ScriptedEyes([actor]), 30)
    assert len(frames[gone_at - 1]) == 1
    assert not frames[gone_at]


def test_a_hand_that_is_clearly_there_outlasts_a_detector_that_misses_it() -> None:
    clear, unclear = (
        Actor(still(0), presence=lambda k, odds=odds: odds, overlooked=lambda k: k >= 20)  # type: ignore[misc]
        for odds in (8.0, None)
    )
    assert not play(ScriptedEyes([unclear]), 31)[-1]
    frames = play(ScriptedEyes([clear]), 90)
    assert len(frames[30]) == 1
    assert not frames[-1]  # it is believed in the end


def test_touching_palms_are_two_hands_and_one_hand_is_one() -> None:
    def near(x: float) -> Path3D:
        return lambda k: (x if k > 20 else 6 * x, 0.0, 700.0)

    two = ScriptedEyes([Actor(near(-15.0), "left"), Actor(near(15.0), "right")], tells_side=True)
    assert [len(hands) for hands in play(two, 50)[25:]] == [2] * 25


def test_a_track_that_slides_onto_another_hand_ends() -> None:
    """When the left hand goes, the network reads the right one in its crop."""
    eyes = ScriptedEyes(
        [Actor(still(0)), Actor(lambda k: (90.0, 0.0, 700.0) if k < 20 else None, side="left")]
    )
    frames = play(eyes, 40)
    assert [len(frames[k]) for k in (19, 26, 39)] == [2, 1, 1]
    assert ids_by_actor(eyes, frames)[39] == [ids_by_actor(eyes, frames)[19][0], None]


def test_a_hand_that_comes_back_at_once_has_its_old_id() -> None:
    gone = range(20, 32)
    eyes = ScriptedEyes([Actor(lambda k: None if k in gone else (0.0, 0.0, 700.0))])
    frames = play(eyes, 60)
    assert not frames[25]
    assert {hand.id for hands in frames for hand in hands} == {1}
    back = 30 + round(30 * TRACK_MEMORY_S)
    later = ScriptedEyes([Actor(lambda k: None if 20 <= k < back else (0.0, 0.0, 700.0))])
    assert {hand.id for hands in play(later, back + 20) for hand in hands} == {1, 2}


@pytest.mark.parametrize("room", [{}, {"max_hands": 1}])
def test_a_hand_that_was_followed_for_long_has_its_old_id_too(room: dict[str, int]) -> None:
    leaves = 60 + round(30 * TRACK_MEMORY_S)  # the detector need not look as long as there is no room
    gone = range(leaves, leaves + 12)
    eyes = ScriptedEyes([Actor(lambda k: None if k in gone else (0.0, 0.0, 700.0))])
    frames = play(eyes, leaves + 40, **room)
    assert not frames[leaves + 8]
    assert {hand.id for hands in frames for hand in hands} == {1}


def test_a_blank_frame_ends_nothing_for_long() -> None:
    eyes = ScriptedEyes([Actor(still(0))])
    tracker = Tracker(HAND_21)
    ids = []
    for k in range(30):
        frame = eyes.frame(k)
        if k == 15:
            frame = replace(frame, depth=np.zeros_like(frame.depth))
        ids.append([hand.id for hand in tracker(frame, eyes)])
    assert ids[14] == ids[20] == [1]


# --- Which is which ----------------------------------------------------------------------------------------


@settings(max_examples=8)
@given(
    st.permutations(range(4)),
    st.lists(st.floats(-400, 400), min_size=4, max_size=4, unique=True),
)
def test_ids_do_not_depend_on_the_order_of_detections(order: list[int], speeds: list[float]) -> None:

    def swaying(n: int, speed: float) -> Path3D:
        return lambda k: ((n - 1.5) * 190 + 40 * float(np.sin(speed * k / 1000)), speed * k / 300, 900.0)

    sides: tuple[Handedness, ...] = ("left", "right", "left", "right")
    actors = [Actor(swaying(n, speed), sides[n]) for n, speed in enumerate(speeds)]
    plain, shuffled = ScriptedEyes(actors), ScriptedEyes(actors, order=order)
    first, second = play(plain, 20), play(shuffled, 20)
    ids = ids_by_actor(plain, first)
    assert ids == ids_by_actor(shuffled, second)
    assert sorted(i for i in ids[-1] if i) == [1, 2, 3, 4]


@settings(max_examples=20)
@given(
    speed=st.floats(200, 1500),
    gap=st.floats(170, 500),
    sides=st.tuples(st.sampled_from(["left", "right"]), st.sampled_from(["left", "right"])),
    hidden=st.booleans(),
)
def test_hands_that_cross_in_the_image_keep_their_ids(
    speed: float, gap: float, sides: tuple[Handedness, Handedness], hidden: bool
) -> None:
    step, frames = speed / 30, 30

    def crosses(k: int) -> bool:
        return hidden and abs((k - frames / 2) * step) < 60

    eyes = ScriptedEyes(
        [
            Actor(lambda k: ((k - frames / 2) * step, 0.0, 700.0), sides[0]),
            Actor(lambda k: ((frames / 2 - k) * step, 0.0, 700.0 + gap), sides[1], overlooked=crosses),
        ]
    )
    ids = ids_by_actor(eyes, play(eyes, frames))
    seen = [{row[k] for row in ids if row[k]} for k in (0, 1)]
    assert len(seen[0]) == len(seen[1]) == 1
    assert seen[0] != seen[1]


@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), max_hands=st.none() | st.integers(1, 3), miss=st.floats(0, 0.6))
def test_hands_are_never_more_than_allowed_nor_twice_the_same(
    seed: int, max_hands: int | None, miss: float
) -> None:
    random = np.random.default_rng(seed)
    chance, start = random.random((3, 60)), random.uniform((-150, -150, 650), (150, 150, 950), (3, 3))
    path = start[:, None] + random.normal(0, 12, (3, 60, 3)).cumsum(axis=1)

    def wanderer(n: int) -> Actor:
        return Actor(
            lambda k: tuple(path[n, k]) if chance[n, k // 12 * 12] > 0.2 else None,
            overlooked=lambda k: bool(chance[n, k] < miss),
        )

    actors = [wanderer(n) for n in range(3)]
    for hands in play(ScriptedEyes(actors), 60, **({} if max_hands is None else {"max_hands": max_hands})):
        ids = [hand.id for hand in hands]
        assert None not in ids
        assert len(set(ids)) == len(ids) <= (max_hands or 3)
        for hand in hands:
            assert np.isfinite(hand.joints_xyz).all()
            assert 0 <= hand.score <= 1
            assert (hand.box[:2] <= hand.box[2:]).all()


# --- The detector ------------------------------------------------------------------------------------------


def test_the_detector_runs_when_it_must() -> None:
    eyes = ScriptedEyes([Actor(lambda k: (0.0, 0.0, 700.0) if k >= 5 else None)])
    play(eyes, 60)
    ran = [k for k, _ in eyes.looks]
    assert ran[:7] == list(range(7))  # nobody there, then a new hand to be confirmed
    assert set(np.diff(ran[6:])) == {TRACK_DETECT_EVERY}


def test_the_detector_rests_when_there_is_no_room() -> None:
    eyes = ScriptedEyes([Actor(still(-100)), Actor(still(100))])
    frames = play(eyes, 60, max_hands=2)
    assert len(frames[-1]) == 2
    assert [k for k, _ in eyes.looks] == [0, 1]


@pytest.mark.parametrize("room", [{}, {"max_hands": 1}])
def test_scores_stay_while_the_detector_does_not_look(room: dict[str, int]) -> None:
    frames = play(ScriptedEyes([Actor(still(0))]), 300, **room)
    assert [hands[0].score for hands in frames[1:]] == pytest.approx([0.9] * 299)


def test_scores_fall_each_time_the_detector_overlooks_a_hand() -> None:
    looks_at = 1 + TRACK_DETECT_EVERY
    eyes = ScriptedEyes([Actor(still(0), overlooked=lambda k: k == looks_at)])
    scores = [hands[0].score for hands in play(eyes, looks_at + 2)[1:]]
    assert scores[-3:] == pytest.approx([0.9, 0.9 * TRACK_SCORE_DECAY, 0.9])


def test_all_hands_are_read_in_one_batch() -> None:
    eyes = ScriptedEyes([Actor(still(-150), "left"), Actor(still(0)), Actor(still(150))])
    play(eyes, 20)
    assert eyes.read_sides[0] == 6  # both sides of three new hands
    assert eyes.read_sides[-1] == 3


# --- Left and right ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_side_is_found_without_a_detector_that_tells(side: Handedness) -> None:
    eyes = ScriptedEyes([Actor(still(0), side, detected_as=lambda _: None)])
    assert {hand.handedness for hands in play(eyes, 20) for hand in hands} == {side}


def test_a_wrong_first_side_is_put_right_once() -> None:
    eyes = ScriptedEyes([Actor(still(0), "left", detected_as=lambda k: "right" if k < 1 else "left")])
    sides = [hands[0].handedness for hands in play(eyes, 60)[1:]]
    assert sides[-1] == "left"
    assert sum(a != b for a, b in pairwise(sides)) <= 1


def test_a_network_for_both_sides_is_asked_once_for_each_hand() -> None:
    eyes = ScriptedEyes([Actor(still(0), "left")], one_sided=False)
    hands = play(eyes, 20)[-1]
    assert set(eyes.read_sides) == {1}
    assert hands[0].handedness == "left"


def test_a_network_that_tells_the_side_reads_known_hands_once() -> None:
    wrong = Actor(still(0), "left", detected_as=lambda k: "right" if k < 12 else None)
    eyes = ScriptedEyes([wrong], tells_side=True)
    frames = play(eyes, 30)
    assert frames[-1][0].handedness == "left"
    assert set(eyes.read_sides[1:]) == {1}


def test_a_hand_of_unknown_side_is_read_as_both() -> None:
    unclear = Actor(still(0), "right", detected_as=lambda _: None)
    eyes = ScriptedEyes([unclear], tells_side=True, told=SIDE_UNCLEAR / 2, mirrors_tell=False)
    play(eyes, 10)
    assert set(eyes.read_sides) == {2}


# --- Time --------------------------------------------------------------------------------------------------


def test_fast_hands_are_looked_for_where_they_will_be() -> None:
    eyes = ScriptedEyes([Actor(lambda k: (-400.0 + 100.0 * max(0, k - 4) * (k < 12), 0.0, 900.0))])
    frames = play(eyes, 12)  # 3 m/s: two crops further after three frames
    assert {hand.id for hands in frames[1:] for hand in hands} == {1}
    assert all(len(hands) == 1 for hands in frames[1:])


def test_dropped_frames_are_bridged() -> None:
    eyes = ScriptedEyes([Actor(lambda k: (-200.0 + 20 * k, 0.0, 900.0))])
    tracker = Tracker(HAND_21)
    ids = {hand.id for k in [0, 1, 2, 3, 7, 8, 12, 13, 17, 18] for hand in tracker(eyes.frame(k), eyes)}
    assert ids == {1}


def test_another_video_begins_anew() -> None:
    eyes = ScriptedEyes([Actor(still(0))])
    for stamps in ([0, 33_333, 66_666, 0, 33_333], [0, 33_333, 66_666, 5_000_000, 5_033_333]):
        tracker = Tracker(HAND_21)
        hands = [tracker(eyes.frame(k, stamp), eyes) for k, stamp in enumerate(stamps)]
        assert [[hand.id for hand in found] for found in hands] == [[], [1], [1], [], [2]]


def test_videos_too_slow_to_follow_show_each_frame_for_itself() -> None:
    eyes = ScriptedEyes([Actor(still(0)), Actor(still(200))])
    tracker = Tracker(HAND_21)
    hands = [tracker(eyes.frame(k, stamp_us=600_000 * k), eyes) for k in range(5)]
    assert [len(found) for found in hands] == [0, 0, 2, 2, 2]
    ids = [hand.id for found in hands for hand in found]
    assert len(set(ids)) == len(ids)
    tracker, stamps = Tracker(HAND_21), [0, 510, 1000, 1510, 2000, 2510, 3000]
    hands = [tracker(eyes.frame(k, 1000 * stamp), eyes) for k, stamp in enumerate(stamps)]
    assert all(hands[3:])


def test_sources_without_a_clock_are_followed() -> None:
    eyes = ScriptedEyes([Actor(lambda k: (10.0 * k, 0.0, 700.0))])
    tracker = Tracker(HAND_21)
    hands = [tracker(eyes.frame(k, stamp_us=0), eyes) for k in range(20)]
    assert all([hand.id for hand in found] == [1] for found in hands[1:])


def test_filtered_joints_tremble_less() -> None:
    random = np.random.default_rng(0)
    places = random.normal((0, 0, 700), 0.15, (90, 3))  # the mean of 21 joints that tremble by a millimetre
    eyes = ScriptedEyes([Actor(lambda k: tuple(places[k]))])
    spread = {}
    for smooth in (False, True):
        tracker = Tracker(HAND_21)
        found = [tracker(eyes.frame(k), eyes, smooth) for k in range(90)][30:]
        spread[smooth] = np.stack([hands[0].joints_xyz for hands in found]).std(axis=0).mean()
    assert spread[True] < 0.5 * spread[False]


# --- Signs of a lost hand ----------------------------------------------------------------------------------


def test_a_hand_that_was_lost_is_looked_for_more_often() -> None:
    eyes = ScriptedEyes([Actor(still(-150)), Actor(lambda k: None if 20 <= k < 30 else (150.0, 0.0, 700.0))])
    frames = play(eyes, 40)
    ran = [k for k, _ in eyes.looks if 21 < k < 30]
    assert set(np.diff(ran)) == {TRACK_SEARCH_EVERY}
    assert [hand.id for hand in frames[36]] == [hand.id for hand in frames[19]]
