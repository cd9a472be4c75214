"""No more connections at once than are allowed: who makes room, and who does not."""

from __future__ import annotations

import threading

import pytest

from deploy.host.places import Places


class Guest:
    def __init__(self, name: str, places: Places) -> None:
        self.name = name
        self.places = places
        self.stays = False
        self.closed = 0

    def close(self) -> None:
        self.closed += 1
        self.places.free(self)

    def work(self) -> None:
        self.places.begin(self)
        self.places.take(self)
        self.places.end(self)


@pytest.fixture
def places() -> Places:
    return Places(3)


@pytest.fixture
def guests(places: Places) -> list[Guest]:
    return [Guest(str(number), places) for number in range(5)]


def closed(guests: list[Guest]) -> list[int]:
    return [guest.closed for guest in guests]


def test_as_long_as_there_is_room_nobody_is_closed(guests: list[Guest]) -> None:
    for guest in guests[:3] * 3:
        guest.work()
    assert closed(guests) == [0] * 5


def test_who_had_his_turn_last_makes_room_so_that_the_next_phase_finds_the_first_ones_connected(
    guests: list[Guest],
) -> None:
    for guest in guests:
        guest.work()
    assert closed(guests) == [0, 0, 1, 1, 0]
    for guest in guests[:2]:
        guest.work()
    assert closed(guests) == [0, 0, 1, 1, 0]


def test_who_is_worked_on_or_stays_makes_no_room(places: Places, guests: list[Guest]) -> None:
    one, two, three, four, five = guests
    two.stays = True
    one.work()
    two.work()
    places.begin(three)
    places.take(three)
    four.work()
    assert closed(guests) == [1, 0, 0, 0, 0]
    places.begin(four)
    places.begin(five)
    places.take(five)  # more than there are places, rather than to wait for ever
    assert closed(guests) == [1, 0, 0, 0, 0]


def test_who_is_closed_leaves_his_place_to_another(guests: list[Guest]) -> None:
    for guest in guests[:3]:
        guest.work()
    guests[0].close()
    guests[3].work()
    assert closed(guests) == [1, 0, 0, 0, 0]


def test_who_is_being_closed_is_worked_on_only_afterwards(places: Places, guests: list[Guest]) -> None:
    closing, go_on, began = threading.Event(), threading.Event(), threading.Event()

    class Slow(Guest):
        def close(self) -> None:
            closing.set()
            assert go_on.wait(30)
            super().close()

    def work() -> None:
        slow.work()
        began.set()

    slow = Slow("slow", places)
    for guest in (*guests[:2], slow):
        guest.work()
    other = threading.Thread(target=guests[3].work)
    other.start()
    assert closing.wait(30)
    own = threading.Thread(target=work)
    own.start()
    assert not began.wait(0.2)
    go_on.set()
    for thread in (other, own):
        thread.join(30)
    assert began.is_set()


def test_so_many_are_worked_on_at_once_as_find_a_place_beside_those_who_stay(
    places: Places, guests: list[Guest]
) -> None:
    assert places.width(guests) == 3
    guests[0].stays = True
    guests[0].work()
    assert places.width(guests) == 2
    assert places.width(guests[1:]) == 2
    assert places.width(guests[:3]) == 3
    assert places.width(guests[1:3]) == 3
    lonely = Places(1)
    host = Guest("primary", lonely)
    host.stays = True
    host.work()
    assert lonely.width([host]) == 1
    assert lonely.width([Guest("other", lonely)]) == 1
