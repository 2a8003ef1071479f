"""The periods that limits are for: their windows follow each other by the calendar in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

_MONTH_S = 2_592_000
_YEAR_S = 31_536_000


@dataclass(frozen=True, slots=True)
class Period:
    """A period; ``length_s`` is what its windows count as, whatever the calendar makes of them."""

    name: str
    length_s: int

    def window_at(self, moment: float) -> tuple[float, float]:
        """Return when the window of a moment begins and ends, in seconds since the epoch."""
        if self.length_s < _MONTH_S:
            start = moment // self.length_s * self.length_s
            return start, start + self.length_s
        return self._calendar_window(datetime.fromtimestamp(int(moment), UTC))

    def _calendar_window(self, moment: datetime) -> tuple[float, float]:
        year, month = moment.year, moment.month
        if self.length_s == _YEAR_S:
            start, end = (year, 1), (year + 1, 1)
        else:
            start, end = (year, month), (year + month // 12, month % 12 + 1)
        return _midnight(*start), _midnight(*end)


def _midnight(year: int, month: int) -> float:
    return datetime(year, month, 1, tzinfo=UTC).timestamp()


PERIODS = (
    Period("second", 1),
    Period("minute", 60),
    Period("hour", 3600),
    Period("day", 86_400),
    Period("month", _MONTH_S),
    Period("year", _YEAR_S),
)
"""All of them, the shortest first."""
