"""The file of the mailbox, changed by several processes at once."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from fusion_assets.notify.queue import Queue
from tests.notify.mail_lab import AT

_ADD = """
    import sys
    from pathlib import Path
    from fusion_assets.config import Event
    from fusion_assets.notify.letter import Message
    from fusion_assets.notify.queue import Queue
    from tests.notify.mail_lab import AT
    queue = Queue(Path(sys.argv[1]))
    new = 0
    for number in range(100):
        causes = {f"c{number}": "1", f"of {sys.argv[2]} {number}": "1"}
        added = queue.add(Event.DIGEST, causes, lambda new: Message("s", "t"), keep=None, now=AT)
        new += f"c{number}" in added.new
    print(new)
"""


def test_several_processes_at_once_lose_nothing_and_tell_nothing_twice(tmp_path: Path) -> None:
    file = tmp_path / "mailbox.sqlite"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_ADD), str(file), str(number)], stdout=subprocess.PIPE, text=True
        )
        for number in range(4)
    ]
    told = [int(each.communicate(timeout=120)[0]) for each in running]
    assert sum(told) == 100
    assert len(Queue(file).waiting(AT)) == 400
