import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cameras.pairing import TimedImage, pair_by_time

PERIOD_US = 33_333


def _image(is_depth: bool, number: int, shift_us: int = 0) -> TimedImage:
    return TimedImage(is_depth, number * PERIOD_US + shift_us, np.array([[number]], np.uint16))


def _pairs(images: list[TimedImage]) -> list[tuple[int, int | None]]:
    return [
        (int(depth.image[0, 0]), None if ir is None else int(ir[0, 0])) for depth, ir in pair_by_time(images)
    ]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(-8000, 8000)), max_size=40),
    st.integers(-5, 5),
)
def test_no_depth_is_lost_and_partners_are_of_the_same_time(
    present: list[tuple[bool, bool, int]], lag: int
) -> None:
    """Any images may be missing, and one kind may lie some frames behind the other in the file."""
    placed = []
    for number, (depth, ir, shift) in enumerate(present):
        if depth:
            placed.append((number, _image(True, number)))
        if ir:
            placed.append((number + lag, _image(False, number, shift)))
    images = [image for _, image in sorted(placed, key=lambda item: item[0])]
    expected = [(k, k if ir else None) for k, (depth, ir, _) in enumerate(present) if depth]
    assert _pairs(images) == expected


def test_images_are_handed_out_as_soon_as_their_partner_is_known() -> None:
    read: list[TimedImage] = []

    def images():  # type: ignore[no-untyped-def]
        for number in range(3):
            for is_depth in (True, False):
                read.append(_image(is_depth, number))
                yield read[-1]

    next(pair_by_time(images()))
    assert len(read) == 2


def test_depth_waits_no_longer_once_later_infrared_is_there() -> None:
    read: list[TimedImage] = []

    def images():  # type: ignore[no-untyped-def]
        for image in (_image(True, 0), _image(False, 1), *(_image(True, number) for number in range(1, 9))):
            read.append(image)
            yield image

    depth, ir = next(pair_by_time(images()))
    assert (depth.timestamp_us, ir, len(read)) == (0, None, 2)


def test_infrared_that_stops_holds_only_a_second_of_depth_back() -> None:
    taken = 0

    def images():  # type: ignore[no-untyped-def]
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield _image(True, number)

    next(pair_by_time(images()))
    assert taken <= 40


def test_infrared_without_depth_is_left_out() -> None:
    assert _pairs([_image(False, 0), _image(False, 1), _image(True, 1), _image(False, 2)]) == [(1, 1)]
    assert _pairs([_image(False, 0)]) == []
