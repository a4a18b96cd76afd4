"""How much happens to a simulated lab in how much time.

What belongs here: numbers. What does not: what they are used for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

# In the order in which they tick, each after so many steps.
_STEPS = {"idle_studies": 1, "truenas_capacity": 2, "fusion_log": 1, "alerts": 1}


@dataclass(frozen=True)
class Settings:
    """How much happens in how much time.

    Attributes:
        days: Of the simulation.
        seed: Of everything that is left to chance.
        studies_a_day: That the instrument writes.
        errors_a_day: In its log.
        storm: Lines of an error storm.
        step: How much time passes between two looks at the lab.
    """

    days: int = 30
    seed: int = 1
    studies_a_day: float = 2.0
    errors_a_day: float = 4.0
    storm: int = 100_000
    step: timedelta = timedelta(hours=1)

    @property
    def idle_days(self) -> float:
        return self.days / 15

    @property
    def keep_days(self) -> float:
        """A quarter of the time and a few minutes: never just when somebody looks."""
        return self.days / 4 + 0.01

    @property
    def intervals(self) -> dict[str, timedelta]:
        """Between two ticks of each sensor."""
        return {name: steps * self.step for name, steps in _STEPS.items()}

    @property
    def a_day(self) -> timedelta:
        """What a day of a month is in the time there is."""
        return timedelta(days=self.days / 30)

    @property
    def threshold(self) -> float:
        """Percent of the NAS: more than the largest study."""
        return 25.0

    @property
    def nas_bytes(self) -> int:
        """Room for half of what is written: a study has 1.1 MB on the average."""
        return int(0.5 * self.days * self.studies_a_day * 1_100_000)
