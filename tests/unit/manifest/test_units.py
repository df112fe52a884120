from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bb_jupyter.manifest import Limits, format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("512m", 512 * 2**20),
        ("4g", 4 * 2**30),
        ("4GB", 4 * 2**30),
        ("1.5GiB", 3 * 2**29),
        (" 10 kib ", 10240),
        ("2T", 2 * 2**40),
        ("7b", 7),
    ],
)
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "g", "-1g", "0", "0.1b", "1e9", "nan", "inf", "4x", "4 g b", "0x10", "٤g", "9" * 99]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("30m", 1800), ("1h30m", 5400), ("1h 30m", 5400), ("250ms", 0.25), ("2D", 172800)],
)
def test_durations_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "abc", "0", "0s", "-5", "nan", "inf", "1e3", "30m1h", "5m5m", "1h30", "5 minutes", "9" * 400, "٣s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_the_message_says_what_is_accepted() -> None:
    with pytest.raises(ValueError) as refused:
        parse_duration("abc")
    assert str(refused.value) == "not a duration: 'abc' (write 90, 30s, 5m or 1h30m)"


@given(st.integers(1, 2**63 - 1) | st.builds(lambda n, p: n * 1024**p, st.integers(1, 5000), st.integers(0, 4)))
def test_a_written_size_reads_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(1, 10**12).map(lambda milliseconds: milliseconds / 1000))
def test_a_written_duration_reads_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text(max_size=30) | st.text("0123456789.kmgtib hs", max_size=12))
def test_any_text_is_a_number_or_a_value_error(text: str) -> None:
    for parse in (parse_size, parse_duration):
        try:
            assert parse(text) > 0
        except ValueError as error:
            assert str(error).isprintable()


def test_formats() -> None:
    assert format_size(4 * 2**30) == "4 GiB"
    assert format_size(3 * 2**29) == "1.5 GiB"
    assert format_size(100 * 2**20) == "100 MiB"
    assert format_duration(5400) == "1h30m"
    assert format_duration(0) == "0s"


def test_limits_take_numbers_and_text() -> None:
    limits = Limits.model_validate({"cpus": "1.5", "memory": "4g", "pids": "512", "timeout": "30m", "disk": 2**30})
    assert limits == Limits(cpus=1.5, memory=4 * 2**30, pids=512, timeout=1800, disk=2**30)


@pytest.mark.parametrize("field", ["cpus", "memory", "pids", "timeout", "disk"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "0", "-1", "nan", "many", [1]])
def test_limits_refuse_what_is_no_amount(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Limits.model_validate({field: value})


def test_limits_merge_and_narrow() -> None:
    own = Limits(cpus=2, memory=2**30)
    over = Limits(cpus=4, pids=10)
    assert own.merged(over) == Limits(cpus=4, memory=2**30, pids=10)
    assert own.narrowed(over) == Limits(cpus=2, memory=2**30, pids=10)
    assert over.narrowed(own) == Limits(cpus=2, memory=2**30, pids=10)


def test_limits_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Limits().cpus = 1  # type: ignore[misc]
