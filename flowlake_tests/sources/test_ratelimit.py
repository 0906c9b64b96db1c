import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlake.sources.errors import CircuitOpen
from flowlake.sources.ratelimit import AdaptiveSlots, CircuitBreaker, TokenBucket, full_jitter
from flowlake_tests.sources.helpers import JumpingClock


def taken_at(bucket: TokenBucket, clock: JumpingClock, count: int) -> list[float]:
    async def take() -> list[float]:
        times = []
        for _ in range(count):
            await bucket.take()
            times.append(clock.seconds)
        return times

    return asyncio.run(take())


@given(rate=st.floats(0.05, 200), burst=st.integers(1, 50), count=st.integers(1, 120))
def test_no_window_holds_more_requests_than_burst_plus_rate(rate: float, burst: int, count: int):
    clock = JumpingClock()
    times = taken_at(TokenBucket(rate, burst, clock.timing), clock, count)
    for first, start in enumerate(times):
        for last in range(first, len(times)):
            assert last - first + 1 <= burst + (times[last] - start) * rate + 1e-6


def test_the_first_burst_does_not_wait():
    clock = JumpingClock()
    assert taken_at(TokenBucket(2, 5, clock.timing), clock, 5) == [0.0] * 5


def test_after_the_burst_requests_come_at_the_rate():
    clock = JumpingClock()
    assert taken_at(TokenBucket(2, 1, clock.timing), clock, 4) == pytest.approx([0, 0.5, 1.0, 1.5])


def test_a_pause_holds_everybody_and_is_followed_by_no_burst():
    clock = JumpingClock()
    bucket = TokenBucket(2, 5, clock.timing)
    bucket.pause(10)
    assert taken_at(bucket, clock, 3) == pytest.approx([10.0, 10.5, 11.0])


def test_a_shorter_pause_does_not_cut_a_longer_one():
    clock = JumpingClock()
    bucket = TokenBucket(2, 5, clock.timing)
    bucket.pause(10)
    bucket.pause(1)
    assert taken_at(bucket, clock, 1) == pytest.approx([10.0])


def test_a_pause_that_begins_during_the_wait_moves_the_turn_behind_it():
    clock = JumpingClock()
    bucket = TokenBucket(1, 1, clock.timing)
    original = clock.sleep

    async def sleep_and_pause(seconds: float) -> None:
        await original(seconds)
        if len(clock.slept) == 1:
            bucket.pause(20)

    clock.sleep = sleep_and_pause  # type: ignore[method-assign]
    bucket = TokenBucket(1, 1, clock.timing)
    assert taken_at(bucket, clock, 2) == pytest.approx([0.0, 21.0])


def test_every_threshold_of_failures_pauses_twice_as_long_and_the_last_opens_the_circuit():
    breaker = CircuitBreaker(threshold=2, trips=3, cooldown_seconds=1.0)
    pauses = []
    for _ in range(6):
        breaker.check()
        pauses.append(breaker.failed(RuntimeError("down")))
    assert pauses == [0, 1, 0, 2, 0, 4]
    with pytest.raises(CircuitOpen, match=r"6 times in a row.*down"):
        breaker.check()


def test_a_success_closes_the_count():
    breaker = CircuitBreaker(threshold=2, trips=1, cooldown_seconds=1.0)
    breaker.failed(RuntimeError("down"))
    breaker.succeeded()
    breaker.failed(RuntimeError("down"))
    breaker.check()


@given(attempt=st.integers(1, 60), base=st.floats(0.01, 5), cap=st.floats(0.01, 60), share=st.floats(0, 1))
def test_back_off_never_exceeds_its_cap_nor_its_exponential(attempt: int, base: float, cap: float, share: float):
    delay = full_jitter(attempt, base, cap, lambda low, high: low + share * (high - low))
    assert 0 <= delay <= min(cap, base * 2 ** (attempt - 1))


async def most_at_once(slots: AdaptiveSlots, callers: int) -> int:
    at_once = most = 0

    async def call() -> None:
        nonlocal at_once, most
        async with slots:
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0)
            at_once -= 1

    await asyncio.gather(*(call() for _ in range(callers)))
    return most


@given(most=st.integers(1, 40), callers=st.integers(1, 120))
def test_no_more_requests_are_in_flight_than_there_are_places(most: int, callers: int):
    assert asyncio.run(most_at_once(AdaptiveSlots(most), callers)) == min(most, callers)


async def refuse(slots: AdaptiveSlots, times: int) -> None:
    async with slots as window:
        for _ in range(times):
            slots.refused(window)


def test_refusals_of_one_window_halve_the_places_once():
    slots = AdaptiveSlots(16)
    asyncio.run(refuse(slots, 10))
    assert slots.limit == 8
    asyncio.run(refuse(slots, 1))
    assert slots.limit == 4
    assert slots.lowest == 4


def test_there_is_always_one_place():
    slots = AdaptiveSlots(2)
    for _ in range(5):
        asyncio.run(refuse(slots, 1))
    assert slots.limit == 1
    assert asyncio.run(most_at_once(slots, 5)) == 1


def test_good_answers_give_the_places_back_one_window_at_a_time():
    slots = AdaptiveSlots(16)
    asyncio.run(refuse(slots, 1))
    for answers in (8, 9, 10):
        before = slots.limit
        for _ in range(answers):
            slots.answered(0.1)
        assert slots.limit == before + 1
    for _ in range(1000):
        slots.answered(0.1)
    assert slots.limit == 16


def test_answers_that_become_slow_take_places_away():
    slots = AdaptiveSlots(10)
    for _ in range(10):
        slots.answered(0.2)
    for _ in range(10):
        slots.answered(1.0)
    assert slots.limit == 8


def test_a_caller_that_gives_up_loses_nobodys_place():
    async def scene() -> int:
        slots = AdaptiveSlots(1)
        async with slots:
            leaving = asyncio.ensure_future(slots.__aenter__())
            staying = asyncio.ensure_future(slots.__aenter__())
            await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.sleep(0)
        return await asyncio.wait_for(staying, 1)

    assert asyncio.run(scene()) == 0
