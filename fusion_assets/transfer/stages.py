"""Two stages side by side: while one batch is proven and uploaded, the next is copied.

What belongs here: the two threads, the short queue between them, and that they end together. What does not: what they
do with a batch (`small`, `large`, `readback`, `kept`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence

from fusion_assets.transfer.crew import Handover, StoppedError
from fusion_assets.transfer.kept import prove_kept
from fusion_assets.transfer.large import CopiedLarge, copy_large
from fusion_assets.transfer.plan import Batch, KeptBatch, LargeBatch, SmallBatch
from fusion_assets.transfer.progress import REPORT_SECONDS
from fusion_assets.transfer.readback import prove_large
from fusion_assets.transfer.session import Session
from fusion_assets.transfer.small import CopiedSmall, copy_small, prove_small

_BATCHES_BETWEEN = 2

Copied = CopiedSmall | CopiedLarge | KeptBatch


def run_stages(session: Session, batches: Iterable[Batch], recorded: Collection[str]) -> None:
    """Copy and prove all batches; returns, or raises, only when no thread of ours works any more.

    Args:
        session: The transfer.
        batches: In the order to work on.
        recorded: Paths of the sidecar the NAS copy has; empty if it has none.

    Raises:
        BaseException: The first reason for which any thread stopped, or what interrupted this one.
    """
    between: Handover[Copied] = Handover(_BATCHES_BETWEEN, session.stop)

    def copy_all() -> None:
        for batch in batches:
            between.put(_copy(session, batch))
        between.put(None)

    def prove_all() -> None:
        if session.archive:
            with session.meter.timing("prepare"):
                session.archive.prepare(recorded)
        for batch in between:
            _prove(session, batch)

    _watch(session, [_start(session, "copy", copy_all), _start(session, "prove", prove_all)])
    if session.stop.error:
        raise session.stop.error


def _watch(session: Session, threads: Sequence[threading.Thread]) -> None:
    """Wait for the threads and tell the progress; an interruption here stops them."""
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(REPORT_SECONDS)
                session.meter.report()
    except BaseException as error:
        session.stop.fail(error)
        raise
    finally:
        for thread in threads:
            thread.join()


def _start(session: Session, name: str, work: Callable[[], None]) -> threading.Thread:
    def stopping_all() -> None:
        try:
            work()
        except StoppedError:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised where the transfer was started
            session.stop.fail(error)

    thread = threading.Thread(target=stopping_all, name=f"transfer-{name}", daemon=True)
    thread.start()
    return thread


def _copy(session: Session, batch: Batch) -> Copied:
    match batch:
        case SmallBatch(files):
            return copy_small(session, files)
        case LargeBatch(files):
            return copy_large(session, files)
        case KeptBatch():
            return batch


def _prove(session: Session, batch: Copied) -> None:
    match batch:
        case CopiedSmall():
            prove_small(session, batch)
        case CopiedLarge():
            prove_large(session, batch)
        case KeptBatch():
            prove_kept(session, batch)
