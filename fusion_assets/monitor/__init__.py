"""The acquisition software's log: errors found in it, once each, with the sample and cycle they happened to.

What belongs here: what lines mean, which blocks are one error, and reading on in a log that grows, is locked or is
rotated. What does not: mails (`notify`); the room knows nothing of them, and whoever calls it posts what it found.
"""

from fusion_assets.monitor.blocks import Block, Context
from fusion_assets.monitor.groups import ErrorGroup
from fusion_assets.monitor.patterns import Patterns, compile_patterns
from fusion_assets.monitor.place import LogPlace, open_log
from fusion_assets.monitor.state import MonitorState
from fusion_assets.monitor.tail import Tailed, read_new_blocks, take_look

__all__ = [
    "Block",
    "Context",
    "ErrorGroup",
    "LogPlace",
    "MonitorState",
    "Patterns",
    "Tailed",
    "compile_patterns",
    "open_log",
    "read_new_blocks",
    "take_look",
]
