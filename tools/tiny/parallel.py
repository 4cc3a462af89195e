"""Gradients from several processes of one thread each, which take parts of a batch as they become free.

Threads that share every operation wait for the slowest one hundreds of times in a step, which costs most of the speed
where other programs use the cores; processes wait once.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import Tensor

from model import Model


class Shared:
    """What the processes see: the weights, one set of gradients and one loss for each process, the batch."""

    def __init__(self, model: Model, processes: int, rows: int, length: int) -> None:
        context = mp.get_context("spawn")
        self.model = model.share_memory()
        self.gradients = [[torch.zeros_like(p).share_memory_() for p in model.parameters()] for _ in range(processes)]
        self.losses = torch.zeros(processes).share_memory_()
        self.batch = torch.zeros(rows, length, dtype=torch.int64).share_memory_()
        self.taken = context.Value("i", 0)
        self.ending = context.Value("i", 0)
        self.begin = [context.Semaphore(0) for _ in range(processes)]
        self.done = context.Semaphore(0)

    def take(self) -> int:
        """Return the number of the next part that nobody took yet."""
        with self.taken.get_lock():
            self.taken.value += 1
            return int(self.taken.value) - 1


def compute(number: int, shared: Shared, micro_rows: int, loss: Callable[[Tensor], Tensor], pause: Path | None) -> None:
    """Sum the gradients of the parts that this process gets to."""
    gradients = shared.gradients[number]
    for parameter, gradient in zip(shared.model.parameters(), gradients, strict=True):
        parameter.grad = gradient.zero_()
    parts = shared.batch.split(micro_rows)
    total = 0.0
    while (part := shared.take()) < len(parts):
        while pause is not None and pause.exists():
            time.sleep(1)
        mean = loss(parts[part]) / len(parts)
        mean.backward()
        total += mean.item()
    shared.losses[number] = total


@dataclass(frozen=True)
class Method:
    """How the processes compute the loss."""

    compiled: bool = False
    float32: bool = False  # instead of matrix products in bfloat16
    guessed_weight: float = 1.0  # see Model.loss


def make_loss(model: Model, method: Method) -> Callable[[Tensor], Tensor]:
    """Return the loss of some rows."""
    function: Any = torch.compile(model.loss) if method.compiled else model.loss

    def loss(rows: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=not method.float32):
            result: Tensor = function(rows, method.guessed_weight)
        return result

    return loss


def serve(number: int, shared: Shared, micro_rows: int, method: Method, pause: Path | None) -> None:
    """Live as a process beside the main one, which it does not outlive."""
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)
    torch.set_num_threads(1)
    loss = make_loss(shared.model, method)
    parent = os.getppid()
    while os.getppid() == parent:
        if shared.begin[number].acquire(timeout=10):
            if shared.ending.value:
                return
            compute(number, shared, micro_rows, loss, pause)
            shared.done.release()


class Team:
    """The main process and its helpers."""

    def __init__(
        self, model: Model, processes: int, rows: int, micro_rows: int, length: int, method: Method, pause: Path | None
    ) -> None:
        self.shared = Shared(model, processes, rows, length)
        self._micro_rows, self._pause, self._processes = micro_rows, pause, processes
        self._loss = make_loss(model, method)
        torch.set_num_threads(1)
        for number in range(1, processes):
            arguments = (number, self.shared, micro_rows, method, pause)
            mp.get_context("spawn").Process(target=serve, args=arguments, daemon=True).start()

    def close(self) -> None:
        """End the helpers, which ignore the signals that end the main process."""
        self.shared.ending.value = 1
        for semaphore in self.shared.begin[1:]:
            semaphore.release()

    def gradients(self, batch: Tensor, meanwhile: Callable[[], None]) -> float:
        """Set the gradients of the mean loss of a batch; the loss. `meanwhile` runs while the helpers begin."""
        shared = self.shared
        shared.batch.copy_(batch)
        shared.taken.value = 0
        for semaphore in shared.begin[1:]:
            semaphore.release()
        meanwhile()
        compute(0, shared, self._micro_rows, self._loss, self._pause)
        for _ in range(1, self._processes):
            shared.done.acquire()
        for other in shared.gradients[1:]:
            torch._foreach_add_(shared.gradients[0], other)
        return float(shared.losses.sum())
