"""Findings: one thing that was looked at, how it is, and the next step where it is not well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """How a thing is."""

    OK = "ok"
    SKIPPED = "skipped"  # could not be looked at, and why
    WARNING = "warning"  # works, and should be different
    FAULT = "fault"  # does not work


@dataclass(frozen=True, slots=True)
class Finding:
    """check: what was looked at, a closed set of words. text: what was seen. mend: what to do."""

    check: str
    state: State
    text: str
    mend: str = ""

    def as_dict(self) -> Mapping[str, str]:
        """The finding as JSON shows it."""
        shape = {"check": self.check, "state": self.state.value, "text": self.text}
        return shape | ({"mend": self.mend} if self.mend else {})


@dataclass(slots=True)
class Report:
    """Findings as they are made. facts: what one check learnt and another needs."""

    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def ok(self, check: str, text: str) -> None:
        self.findings.append(Finding(check, State.OK, text))

    def skipped(self, check: str, why: str, mend: str = "") -> None:
        self.findings.append(Finding(check, State.SKIPPED, why, mend))

    def warn(self, check: str, text: str, mend: str) -> None:
        self.findings.append(Finding(check, State.WARNING, text, mend))

    def fault(self, check: str, text: str, mend: str) -> None:
        self.findings.append(Finding(check, State.FAULT, text, mend))

    def count(self, state: State) -> int:
        """How many findings are in a state."""
        return sum(finding.state is state for finding in self.findings)
