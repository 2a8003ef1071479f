"""How often a control plane asks the database on behalf of its data planes."""

from __future__ import annotations


class QuestionRate:
    """A bucket of questions: a few at once cost no wait, many are spread out."""

    def __init__(self, burst: int = 20, per_s: float = 50.0) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left = float(burst)
        self._at = 0.0

    def take(self, now: float) -> float:
        """Take a question out of the bucket; return how long to wait before asking it.

        :param now: by any clock that only goes forward, in seconds.
        """
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s) - 1
        self._at = now
        return max(0.0, -self._left / self._per_s)
