"""A validator whose sign watermark is lost must not vote until nothing it may have signed still matters.

It starts when both watermark slots are bad or missing (or one is, and the journal is not above the good
one). T is the highest tip among the reports of a quorum of other validators at its start; voting resumes
once height T + 2 is decided, with a new watermark. Meanwhile the node follows and decides, and signs nothing.
"""

from __future__ import annotations

from primitives.validators import ValidatorSet


class Quarantine:
    """Collects tips and knows when it ends."""

    def __init__(self, active: bool) -> None:
        self.active = active
        self._tips: dict[bytes, int] = {}
        self.ends_at: int | None = None

    def report(self, validator: bytes, height: int, validators: ValidatorSet, own_key: bytes | None) -> None:
        """Note another validator's tip; a quorum of them (all others in a tiny set) fixes the end."""
        if self.ends_at is not None or validator == own_key or validator not in validators:
            return
        self._tips[validator] = max(height, self._tips.get(validator, 0))
        if len(self._tips) >= min(validators.quorum, validators.size - 1):
            self.ends_at = max(self._tips.values()) + 2

    def end_if_decided(self, decided_height: int) -> bool:
        """True once, when the decided height ends the quarantine."""
        if not self.active or self.ends_at is None or decided_height < self.ends_at:
            return False
        self.active = False
        return True
