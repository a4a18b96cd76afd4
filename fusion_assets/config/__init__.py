"""config.toml -> Config: the state a lab declares for its studies, checked once, at the border.

What belongs here: the sections, their defaults and limits, where the file is looked for, and the one clear error a
wrong file gives, also when its places are not apart. What does not: opening any of them (that is `resources`).
"""

from fusion_assets.config.lab import Config, ConfigError, refuse_shared_places
from fusion_assets.config.loading import CONFIG_VARIABLE, USER_CONFIG_DIR, find_config, load_config, parse_config
from fusion_assets.config.sections import (
    BackupSection,
    CleanupSection,
    Event,
    NotifySection,
    S3Section,
    SchedulesSection,
    SensorsSection,
    SmbSection,
)

__all__ = [
    "CONFIG_VARIABLE",
    "USER_CONFIG_DIR",
    "BackupSection",
    "CleanupSection",
    "Config",
    "ConfigError",
    "Event",
    "NotifySection",
    "S3Section",
    "SchedulesSection",
    "SensorsSection",
    "SmbSection",
    "find_config",
    "load_config",
    "parse_config",
    "refuse_shared_places",
]
