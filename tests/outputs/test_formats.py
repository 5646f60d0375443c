"""Formats that are asserted."""

from __future__ import annotations

import pytest

from headrace.outputs import formats


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date", ["2026-02-28"], ["2026-02-30", "20260228", "2026-2-3", "", "２０２６-01-01"]),
        ("time", ["10:00:00", "10:00:00Z", "10:00:00.5+02:00", "10:00:00z"], ["25:00:00", "10:00", "x"]),
        ("date-time", ["2026-02-28T10:00:00Z", "2026-02-28 10:00:00"], ["2026-02-28", "2026-02-30T10:00:00", "T"]),
        ("duration", ["P1D", "PT5M", "P1Y2M3DT4H5M6.5S", "P2W"], ["P", "PT", "1D", "P1S"]),
        ("email", ["a@b"], ["ab"]),
        ("ipv4", ["127.0.0.1"], ["127.0.0.256", "::1"]),
        ("ipv6", ["::1"], ["127.0.0.1"]),
        ("uuid", ["12345678-1234-1234-1234-123456789aBc"], ["12345678"]),
    ],
)  # fmt: skip
def test_formats(name: str, good: list[str], bad: list[str]) -> None:
    for text in good:
        assert formats.CHECKS[name](text), text
        assert formats.CHECKER.conforms(text, name)
    for text in bad:
        assert not formats.CHECKS[name](text), text
        assert not formats.CHECKER.conforms(text, name)


def test_others_refuse_nothing() -> None:
    assert formats.CHECKER.conforms("nonsense", "hostname")
    assert formats.CHECKER.conforms(5, "date")
