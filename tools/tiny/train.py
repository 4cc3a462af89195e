"""Train the model on a CPU; start, resume and finish with the same command.

    python train.py --corpus CORPUS --tokenizer tokenizer.json --out RUN
    python train.py --corpus CORPUS --tokenizer tokenizer.json --out RUN --decay-steps 400

The learning rate warms up and then stays, so that training may go on for as long as one likes: RUN/constant.pt is
the latest state. With --decay-steps the rate falls to zero from there and RUN/decayed-STEP.pt is the model to
export; constant.pt stays as it was, and a longer training resumes from it. Where the time is given rather than the
number of steps, --finish-at ends either phase, and with --decay-minutes the rate falls to zero by then. SIGTERM writes
a checkpoint and ends the process (status 143); while the file named by --pause-file exists, training sleeps.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import heldout
from data import Mix, Position, Rows, ShortTexts, Vocabulary
from model import Model, Shape
from parallel import Method, Team


@dataclass(frozen=True)
class Schedule:
    """The learning rate relative to its peak: warm-up, constant, and from `decay_start` linearly to zero."""

    warmup: int
    decay_start: int | None = None
    decay_steps: int = 0
    finish: float = math.inf  # seconds since the epoch
    decay_seconds: float = 0.0  # before `finish`

    def __call__(self, step: int) -> float:
        """Return the factor for the step of this number, counted from 0."""
        factor = min(1.0, (step + 1) / self.warmup)
        if self.decay_seconds:
            factor *= min(1.0, max(0.0, self.finish - time.time()) / self.decay_seconds)
        elif self.decay_start is not None:
            factor *= max(0.0, 1 - (step - self.decay_start) / self.decay_steps)
        return factor

    @property
    def end(self) -> int | None:
        """The step at which training is over."""
        return self.decay_start + self.decay_steps if self.decay_start is not None and self.decay_steps else None


class Optimizer:
    """Muon for the matrices of the layers, AdamW for embeddings, norms and biases, one factor for both rates."""

    def __init__(self, model: Model, rate: float, muon_rate: float, weight_decay: float) -> None:
        named = dict(model.named_parameters())
        matrices = [p for name, p in named.items() if name.startswith("blk.") and p.ndim == 2]
        tables = [p for name, p in named.items() if not name.startswith("blk.") and p.ndim == 2]
        vectors = [p for p in named.values() if p.ndim == 1]
        groups = [{"params": tables, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        adamw = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=True)
        # Scaled so that its updates are as large as AdamW's would be at the same rate.
        muon = torch.optim.Muon(
            matrices, lr=muon_rate, momentum=0.95, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self._all: list[tuple[torch.optim.Optimizer, float]] = [(adamw, rate), (muon, muon_rate)]

    def step(self, factor: float) -> None:
        """Apply the gradients; `factor` scales the learning rates."""
        for optimizer, rate in self._all:
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()

    def state(self) -> list[dict[str, Any]]:
        """Return what a checkpoint keeps."""
        return [optimizer.state_dict() for optimizer, _ in self._all]

    def load(self, state: list[dict[str, Any]]) -> None:
        """Take the state of a checkpoint; the rates stay those of the command line."""
        for (optimizer, _), part in zip(self._all, state, strict=True):
            optimizer.load_state_dict(part)


class Trainer:
    """The state of a training, and one step of it."""

    def __init__(self, arguments: argparse.Namespace, shape: Shape) -> None:
        self.arguments = arguments
        self.model = Model(shape)
        self.model.initialise(arguments.seed)
        self.optimizer = Optimizer(self.model, arguments.rate, arguments.muon_rate, arguments.weight_decay)
        self.vocabulary = Vocabulary(arguments.tokenizer)
        self.short_texts = ShortTexts(arguments.short, self.vocabulary) if arguments.short else None
        self.step = 0
        self.tokens = 0
        self.stopped = stop_flag()
        self.seconds = 0.0
        self.bits: list[tuple[int, float]] = []
        self.schedule = Schedule(arguments.warmup, finish=arguments.finish_at)
        self.open_rows(Position())
        self._pending: Tensor | None = None
        self._team: Team | None = None

    def open_rows(self, position: Position) -> None:
        """Continue the stream of training rows at a position."""
        a = self.arguments
        length = a.row_tokens or self.model.shape.context
        mix = Mix(
            a.function_rate, a.fim_rate, a.psm_rate, a.line_rate, a.piece_tokens, a.short_rate, a.short_fim_rate
        )  # fmt: skip
        self.rows = Rows(a.corpus, self.vocabulary, length + 1, a.seed, position, mix, self.short_texts)
        self.position = Position(**asdict(position))
        self.batch_rows, self.micro_rows = a.batch_tokens // length, max(1, a.micro_tokens // length)

    def save(self, path: Path) -> None:
        """Write a checkpoint in one go: a crash leaves the former one. The rows' position stands for all randomness."""
        state = {
            "shape": asdict(self.model.shape),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state(),
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "position": asdict(self.position),
            "bits": self.bits,
            "arguments": json.dumps(vars(self.arguments), default=str),
        }
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def start(self, path: Path) -> None:
        """Begin with the weights of a GGUF file."""
        from start import read_weights

        self.model.load_state_dict(read_weights(path))
        log(f"begins with the weights of {path}")

    def load(self, path: Path) -> None:
        """Continue from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load(state["optimizer"])
        self.step, self.tokens = state["step"], state["tokens"]
        self.seconds, self.bits = state["seconds"], state["bits"]
        self.open_rows(Position(**state["position"]))
        log(f"resumed {path} at step {self.step}")

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Matrix products in bfloat16, or not."""
        return torch.autocast("cpu", torch.bfloat16, enabled=not self.arguments.float32)

    def train_step(self) -> float:
        """One step; the mean loss in nats per token."""
        a = self.arguments
        if self._team is None:
            length = a.row_tokens or self.model.shape.context
            method = Method(a.compile, a.float32, a.guessed_weight)
            self._team = Team(self.model, a.threads, self.batch_rows, self.micro_rows, length + 1, method, a.pause_file)
        batch = self._next() if self._pending is None else self._pending
        self.position = Position(**asdict(self.rows.position))
        total = self._team.gradients(batch, self._prepare)
        torch.set_num_threads(a.threads)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step(self.schedule(self.step))
        torch.set_num_threads(1)
        self.step += 1
        self.tokens += batch[:, 1:].numel()
        return total

    def close(self) -> None:
        """End what `train_step` started."""
        if self._team is not None:
            self._team.close()

    def _next(self) -> Tensor:
        return torch.from_numpy(self.rows.batch(self.batch_rows))

    def _prepare(self) -> None:
        self._pending = self._next()

    def evaluate(self, texts: list[str]) -> float:
        """Bits per byte of the texts."""
        torch.set_num_threads(self.arguments.threads)
        with self.autocast():
            bits = heldout.bits_per_byte(self.model, self.vocabulary, texts)
        torch.set_num_threads(1)
        self.bits.append((self.step, bits))
        return bits


def log(line: str) -> None:
    """Print at once, with the time."""
    print(time.strftime("%H:%M:%S"), line, flush=True)


def moment(text: str) -> float:
    """Seconds since the epoch of a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


def wait_while(path: Path | None, stopped: list[int]) -> None:
    """Sleep for as long as the file exists and no signal arrived."""
    if path is not None and path.exists() and not stopped:
        log(f"paused: {path} exists")
        while path.exists() and not stopped:
            time.sleep(1)
        log("goes on")


def stop_flag() -> list[int]:
    """Return a list that is empty until SIGTERM or SIGINT arrives."""
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: received.append(number))
    return received


def prepare(trainer: Trainer) -> Path:
    """Continue where the folder says, set the schedule; the checkpoint to write from now on."""
    a = trainer.arguments
    a.out.mkdir(parents=True, exist_ok=True)
    constant: Path = a.out / "constant.pt"
    if constant.exists():
        trainer.load(constant)
    elif a.start is not None:
        trainer.start(a.start)
    if not a.decay_steps and not a.decay_minutes:
        return constant
    start = trainer.step
    trainer.schedule = Schedule(a.warmup, start, a.decay_steps, a.finish_at, 60 * a.decay_minutes)
    decayed: Path = a.out / f"decayed-{start}.pt"
    if decayed.exists():
        trainer.load(decayed)
    return decayed


def train(trainer: Trainer, checkpoint: Path) -> None:
    """Train until the schedule or a signal ends it."""
    a = trainer.arguments
    texts = heldout.sample(a.corpus, int(a.sample_kb * 1000))
    stopped = trainer.stopped
    saved = started = time.monotonic()
    losses, counted = [], trainer.tokens
    end = trainer.schedule.end or a.max_steps
    while trainer.step < end and time.time() < a.finish_at and not stopped:
        wait_while(a.pause_file, stopped)
        before = time.monotonic()
        losses.append(trainer.train_step())
        now = time.monotonic()
        trainer.seconds += now - before
        if trainer.step % a.log_steps == 0:
            speed = (trainer.tokens - counted) / (now - started)
            log(
                f"step {trainer.step}: loss {sum(losses) / len(losses):.4f}, {speed:.0f} tokens/s, "
                f"{trainer.tokens / 1e6:.2f}M tokens, epoch {trainer.rows.epoch:.3f}, "
                f"rate x{trainer.schedule(trainer.step - 1):.3f}"
            )
            losses, started, counted = [], time.monotonic(), trainer.tokens
        if trainer.step % a.eval_steps == 0 or trainer.step == end:
            log(f"step {trainer.step}: held-out {trainer.evaluate(texts):.4f} bits per byte")
            losses, started, counted = [], time.monotonic(), trainer.tokens
        if now - saved > a.save_seconds:
            trainer.save(checkpoint)
            saved = now
    trainer.save(checkpoint)
    log(f"step {trainer.step}: wrote {checkpoint} after {trainer.seconds:.0f} s in all")
    if stopped:
        raise SystemExit(128 + stopped[0])  # so that a chain of phases does not go on


def parse() -> argparse.Namespace:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Train the model on a CPU; resumes by itself.")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoints")
    parser.add_argument(
        "--start", type=Path, metavar="MODEL.gguf", help="weights to begin with where there is no checkpoint"
    )
    parser.add_argument(
        "--short", type=Path, nargs="*", default=[], metavar="FILE.jsonl", help="short texts, each trained on whole"
    )
    parser.add_argument("--short-rate", type=float, default=0.5, help="part of the rows that hold short texts")
    parser.add_argument(
        "--short-fim-rate", type=float, default=0.3, help="part of the short texts rearranged for fill-in-the-middle"
    )
    parser.add_argument("--pause-file", type=Path, help="training sleeps while this file exists")
    parser.add_argument(
        "--decay-steps", type=int, default=0, help="lower the rate to zero over so many steps, then end"
    )
    parser.add_argument(
        "--finish-at", type=moment, default=math.inf, metavar="YYYY-MM-DDTHH:MM", help="end at this time, UTC"
    )
    parser.add_argument(
        "--decay-minutes", type=float, default=0, help="lower the rate to zero over so many minutes before --finish-at"
    )
    parser.add_argument("--max-steps", type=int, default=1 << 40, help="end of the constant phase (default: none)")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument(
        "--row-tokens", type=int, help="tokens in a row: less is faster at first (default: the context)"
    )
    parser.add_argument(
        "--function-rate", type=float, default=0.0, help="part of the rows that hold short functions (default: none)"
    )
    parser.add_argument(
        "--fim-rate", type=float, default=0.5, help="part of the pieces rearranged for fill-in-the-middle"
    )
    parser.add_argument("--psm-rate", type=float, default=0.5, help="part of these in the order prefix, suffix, middle")
    parser.add_argument(
        "--line-rate", type=float, default=1 / 3, help="part of these whose middle is one line (default: a third)"
    )
    parser.add_argument("--piece-tokens", type=int, help="most tokens of a piece of a document (default: the row)")
    parser.add_argument(
        "--guessed-weight", type=float, default=1.0, help="how much the loss of a middle's token counts"
    )
    parser.add_argument("--batch-tokens", type=int, default=16384, help="tokens of a step")
    parser.add_argument("--micro-tokens", type=int, default=4096, help="tokens computed at once")
    parser.add_argument("--rate", type=float, default=2e-3, help="AdamW's peak learning rate")
    parser.add_argument("--muon-rate", type=float, default=4e-3, help="Muon's peak learning rate")
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--warmup", type=int, default=100, help="steps")
    parser.add_argument("--float32", action="store_true", help="no bfloat16 in matrix products")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample-kb", type=float, default=150, help="held-out Python to evaluate on")
    parser.add_argument("--log-steps", type=int, default=20)
    parser.add_argument("--eval-steps", type=int, default=250)
    parser.add_argument("--save-seconds", type=float, default=180)
    return parser.parse_args()


def main() -> None:
    """Train."""
    a = parse()
    torch.set_num_threads(a.threads)
    shape = Shape(a.layers, a.width, a.heads, 4 * a.width, a.context, a.vocabulary)
    trainer = Trainer(a, shape)
    parameters = sum(p.numel() for p in trainer.model.parameters())
    log(f"{parameters / 1e6:.2f}M parameters, {a.batch_tokens} tokens per step, {a.threads} threads")
    try:
        train(trainer, prepare(trainer))
    finally:
        trainer.close()


if __name__ == "__main__":
    main()
