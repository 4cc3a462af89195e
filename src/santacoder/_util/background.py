"""Work behind the work: a thread that exists only while there are jobs for it."""

from __future__ import annotations

import _thread
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

Job = Callable[[], object]

_log: Final = logging.getLogger("santacoder")


class Background:
    """Runs jobs one after the other in a thread of its own, which ends when there are none.

    So nothing is left to stop at a fork or at the interpreter's end, which does not wait for the thread. An
    interruption of `submit` may leave a job that runs with the next one.
    """

    def __init__(self, niceness: int = 0) -> None:
        """Take how much the thread stands back behind others, where the system knows that of threads."""
        self._niceness = niceness
        self.after_fork()

    def after_fork(self) -> None:
        """Forget all jobs: the thread does not exist in a child."""
        self._lock = threading.Lock()
        self._bell = threading.Condition(self._lock)
        self._jobs: deque[tuple[Job, int]] = deque()
        self._works = False
        self._load = 0

    @property
    def load(self) -> int:
        """The sizes of all jobs that are not done."""
        return self._load

    def submit(self, job: Job, size: int = 0) -> bool:
        """Have a job run; return False if the system gives no thread: then it runs with the next one."""
        with self._lock:
            self._jobs.append((job, size))
            self._load += size
            if self._works:
                return True
        try:
            _thread.start_new_thread(self._run, ())  # an interruption of threading's own, in Python, breaks its locks
        except RuntimeError:
            return False
        return True

    def wait(self, seconds: float) -> bool:
        """Wait until all jobs are done; return False if that takes longer."""
        with self._lock:
            return self._bell.wait_for(lambda: not self._jobs and not self._works, seconds)

    def _run(self) -> None:
        if self._niceness and sys.platform == "linux":  # elsewhere it would be that of the process
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._niceness)
        with self._lock:
            if self._works:
                return
            self._works = True
        while True:
            with self._lock:
                if not self._jobs:  # not later: a job that comes then needs a new thread
                    self._works = False
                    self._bell.notify_all()
                    return
                job, size = self._jobs.popleft()
            try:
                job()
            except Exception:  # those that come after it have to run
                _log.exception("work in the background failed")
            finally:
                del job  # its memory
                with self._lock:
                    self._load -= size
