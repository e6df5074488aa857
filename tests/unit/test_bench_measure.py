"""Points, jobs and measurements, and the figures that are made of them."""

import pytest

from partisan.bench.measure import (
    Job,
    Measurement,
    MeasurementFailed,
    Point,
    geometric_mean,
    percentiles_us,
)


def test_a_job_survives_its_line() -> None:
    job = Job(Point("hol", 1, 16, "one_channel"), 0.25)
    assert Job.parse(job.line()) == job


def test_a_job_is_seven_words_and_its_seconds_a_float_for_erlang() -> None:
    words = Job(Point("oneway", 16, 1024), 2).line().split()
    assert words == ["oneway", "16", "1024", "default", "16", "64", "2.000"]


def test_a_measurement_survives_its_line() -> None:
    result = Measurement(1000.0, None, 12.5, None)
    assert Measurement.parse(result.line()) == result


@pytest.mark.parametrize("line", ["", "{", "[1]", '{"messages_per_second": 1}', '{"surprise": 1}', "3"])
def test_a_line_that_is_no_measurement_is_refused(line: str) -> None:
    with pytest.raises(MeasurementFailed):
        Measurement.parse(line)


def test_percentiles_are_of_the_nearest_rank_and_in_microseconds() -> None:
    assert percentiles_us([i * 1000 for i in range(100, 0, -1)]) == (50.0, 99.0)
    assert percentiles_us([7000]) == (7.0, 7.0)
    assert percentiles_us([]) == (None, None)


def test_a_stream_has_a_rate_and_no_latency() -> None:
    result = Measurement.of_stream(Point("oneway", 1, 1024), 500, 2.0)
    assert result == Measurement(250.0, 256_000.0, None, None)


def test_bursts_shrink_as_messages_grow() -> None:
    assert [Point("oneway", 1, octets).burst for octets in (16, 1024, 16384, 8 << 20)] == [64, 64, 4, 1]


def test_every_latency_is_recorded_with_one_actor_or_large_messages() -> None:
    assert Point("echo", 1, 16).stride == 1
    assert Point("echo", 128, 8 << 20).stride == 1
    assert Point("echo", 128, 16).stride > 1


def test_the_geometric_mean_of_a_half_and_a_double_is_one() -> None:
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
