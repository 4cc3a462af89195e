"""Train the model on a GPU, in one call that fits into a lease of minutes.

    python gpu.py --corpus CORPUS --tokenizer tokenizer.json --start MODEL.gguf --short FILES... --out RUN --minutes 8

The rate warms up, stays, and falls to zero in the last --decay-share of the time. RUN/constant.pt is the state before
it fell, with the optimizer's, from which a later call goes on; RUN/decayed.pt has only the weights, which export.py
takes. What was trained on depends on the seed and the number of --feeders, processes that make the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

import heldout
from data import Mix, Position, Vocabulary
from feeders import Feeders, Recipe
from model import Model, Shape
from train import Optimizer, log


class Training:
    """A model on a device, its optimizer, and the rows."""

    def __init__(self, arguments: argparse.Namespace, shape: Shape) -> None:
        a = self.arguments = arguments
        self.device = torch.device(a.device)
        self.model = Model(shape)
        self.model.initialise(a.seed)
        state: dict[str, Any] = {}
        if (a.out / "constant.pt").exists():
            state = torch.load(a.out / "constant.pt", weights_only=True)
            self.model.load_state_dict(state["model"])
        elif a.start is not None:
            from start import read_weights

            self.model.load_state_dict(read_weights(a.start))
        self.model.to(self.device)
        self.optimizer = Optimizer(self.model, a.rate, a.muon_rate, a.weight_decay)
        if state:
            self.optimizer.load(state["optimizer"])
        self.step, self.tokens = state.get("step", 0), state.get("tokens", 0)
        positions = [Position(**position) for position in state.get("positions", [])] or [
            Position() for _ in range(a.feeders)
        ]
        mix = Mix(0.0, a.fim_rate, a.psm_rate, a.line_rate, a.piece_tokens, a.short_rate, a.short_fim_rate)
        recipe = Recipe(a.corpus, a.tokenizer, a.row_tokens + 1, mix, tuple(a.short))
        self.feeders = Feeders(recipe, a.seed, positions, a.batch_tokens // a.row_tokens)
        self._loss: Any = torch.compile(self.model.loss) if a.compile else self.model.loss

    def train_step(self, factor: float) -> torch.Tensor:
        """One step with the learning rates times `factor`; the mean loss in nats per token."""
        a = self.arguments
        batch = torch.from_numpy(self.feeders.next_batch()).to(self.device, torch.int64, non_blocking=True)
        parts = batch.split(max(1, a.micro_tokens // a.row_tokens))
        total = torch.zeros((), device=self.device)
        for part in parts:
            with torch.autocast(self.device.type, torch.bfloat16):
                loss = self._loss(part, a.guessed_weight) * (len(part) / len(batch))
            loss.backward()
            total += loss.detach()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step(factor)
        self.model.zero_grad()
        self.step += 1
        self.tokens += batch[:, 1:].numel()
        return total

    def save(self, path: Path, whole: bool) -> None:
        """Write the weights, and if it is the `whole` state what a later call needs to go on."""
        state: dict[str, Any] = {"shape": asdict(self.model.shape), "model": self.model.state_dict()}
        if whole:
            positions = [asdict(position) for position in self.feeders.positions]
            state |= {"optimizer": self.optimizer.state(), "positions": positions}
        state |= {"step": self.step, "tokens": self.tokens}
        state |= {"arguments": json.dumps(vars(self.arguments), default=str)}
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def evaluate(self) -> float:
        """Bits per byte of held-out Python, on the CPU."""
        texts = heldout.sample(self.arguments.corpus, int(self.arguments.sample_kb * 1000))
        copy = Model(self.model.shape)
        copy.load_state_dict({name: tensor.cpu() for name, tensor in self.model.state_dict().items()})
        return heldout.bits_per_byte(copy, Vocabulary(self.arguments.tokenizer), texts)


def train(training: Training) -> None:
    """Train until the time is over, then evaluate."""
    a = training.arguments
    a.out.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    end, first = begin + 60 * a.minutes, training.step
    fall = end - 60 * a.minutes * a.decay_share
    saved, counted, since = False, training.tokens, begin
    while (now := time.monotonic()) < end:
        if now >= fall and not saved:
            training.save(a.out / "constant.pt", whole=True)
            saved = True
        factor = min(1.0, (training.step - first + 1) / a.warmup, (end - now) / (end - fall))
        loss = training.train_step(factor)
        if training.step % a.log_steps == 0:
            elapsed = time.monotonic() - since
            speed = (training.tokens - counted) / elapsed
            log(
                f"step {training.step}: loss {loss.item():.4f}, {speed:.0f} tokens/s, "
                f"{training.tokens / 1e6:.1f}M tokens, epoch {training.feeders.epoch:.2f}, rate x{factor:.3f}"
            )
            counted, since = training.tokens, time.monotonic()
    training.save(a.out / "decayed.pt", whole=False)
    log(f"held-out {training.evaluate():.4f} bits per byte")


def parse() -> argparse.Namespace:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Train the model on a GPU; a later call goes on.")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoints")
    parser.add_argument("--start", type=Path, metavar="MODEL.gguf", help="as in train.py")
    parser.add_argument("--short", type=Path, nargs="*", default=[], metavar="FILE.jsonl", help="as in train.py")
    parser.add_argument("--minutes", type=float, default=8, help="of training (default: %(default)s)")
    parser.add_argument("--decay-share", type=float, default=0.4, help="of the time (default: %(default)s)")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--feeders", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    for name, kind, default in (
        ("layers", int, 4), ("width", int, 512), ("heads", int, 4), ("context", int, 1024), ("vocabulary", int, 4096),
        ("row-tokens", int, 512), ("batch-tokens", int, 131072), ("micro-tokens", int, 65536), ("seed", int, 1),
        ("rate", float, 2e-3), ("muon-rate", float, 4e-3), ("weight-decay", float, 0.1), ("warmup", int, 100),
        ("fim-rate", float, 0.6), ("psm-rate", float, 0.6), ("line-rate", float, 0.9), ("piece-tokens", int, 440),
        ("short-rate", float, 0.25), ("short-fim-rate", float, 0.3), ("guessed-weight", float, 4.0),
        ("log-steps", int, 50), ("sample-kb", float, 150),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=kind, default=default, help="as in train.py (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    """Train."""
    a = parse()
    train(Training(a, Shape(a.layers, a.width, a.heads, 4 * a.width, a.context, a.vocabulary)))


if __name__ == "__main__":
    main()
