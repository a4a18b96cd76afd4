"""What is true of one study, each fact as a condition: True, False or Unknown, with a reason and a message.

Pure: facts in, conditions out. Unknown is never False: what could not be observed stops an action, it never starts one.
The shape follows Kubernetes' conditions (status, CamelCase reason, message for a person). Gathering the facts is
`observe`'s business, deciding what to do about them is `plan`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from resources.errors import ResourceError, described


class Status(StrEnum):
    """The three values a condition can have."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Name(StrEnum):
    """The conditions of a study, in the order in which they come true."""

    UNLOCKED = "Unlocked"
    IDLE = "Idle"
    VALIDATED = "Validated"
    ON_TRUENAS = "OnTruenas"
    ON_S3 = "OnS3"
    RECORDED = "Recorded"
    SOURCE_RELEASED = "SourceReleased"


@dataclass(frozen=True, slots=True)
class Condition:
    """One fact about a study.

    Attributes:
        status: Whether it holds; Unknown when it could not be observed.
        reason: One CamelCase word for programs and for grouping.
        message: One sentence for a person; may be empty when the reason says it all.
    """

    status: Status
    reason: str
    message: str = ""

    @property
    def is_true(self) -> bool:
        """Whether it was observed to hold."""
        return self.status is Status.TRUE

    def to_json(self) -> dict[str, str]:
        """The fixed JSON form: ``{"status", "reason", "message"}``."""
        return {"status": self.status.value, "reason": self.reason, "message": self.message}


Conditions = Mapping[Name, Condition]


def true(reason: str, message: str = "") -> Condition:
    """A condition observed to hold."""
    return Condition(Status.TRUE, reason, message)


def false(reason: str, message: str = "") -> Condition:
    """A condition observed not to hold."""
    return Condition(Status.FALSE, reason, message)


def unknown(reason: str, message: str = "") -> Condition:
    """A condition that could not be observed."""
    return Condition(Status.UNKNOWN, reason, message)


@dataclass(frozen=True, slots=True)
class Unseen:
    """Stands where a fact could not be observed: the listing failed, the server was away.

    Attributes:
        error: What went wrong.
    """

    error: ResourceError

    @property
    def why(self) -> str:
        """The error's own words, for the condition's message."""
        return described(self.error)
