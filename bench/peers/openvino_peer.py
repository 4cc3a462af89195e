"""OpenVINO in int8, on random weights of the same shape, for `worker.py`.

It runs the stateful model that optimum-intel exports and OpenVINO GenAI generates with. That model computes the logits
of every token of a prompt, where GenAI keeps the last token's only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino

from bench.peers.random_checkpoint import vocabulary
from bench.peers.workloads import Stepper, Tokens


class OpenVINO(Stepper):
    """An exported checkpoint; the cache of the sequences in flight is its state."""

    def __init__(self, folder: str, threads: int) -> None:
        model = openvino.Core().compile_model(
            Path(folder) / "openvino_model.xml",
            "CPU",
            {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"},
        )
        self._request = model.create_infer_request()
        self._inputs = {name for port in model.inputs for name in port.names}
        self._depth = 0
        self._order = np.zeros(1, np.int32)  # which sequence of the step before each row continues
        self.vocabulary = vocabulary(Path(folder))

    def begin(self, prompt: Tokens, sequences: int, steps: int) -> None:
        self._request.reset_state()
        self._depth = 0
        self._order = np.zeros(1, np.int32)
        if prompt.size:
            self._forward(prompt[None])
        self._order = np.zeros(sequences, np.int32)

    def step(self, tokens: Tokens) -> None:
        self._forward(tokens[:, None])
        self._order = np.arange(tokens.size, dtype=np.int32)

    def versions(self) -> dict[str, str]:
        return {"openvino": openvino.__version__, "weights": "int8, random"}

    def _forward(self, ids: Tokens) -> None:
        """Run ids (sequences, T) and compute the logits of all."""
        sequences, count = ids.shape
        positions = np.arange(self._depth, self._depth + count, dtype=np.int64)
        self._depth += count
        values = {
            "input_ids": ids.astype(np.int64),
            "attention_mask": np.ones((sequences, self._depth), np.int64),
            "position_ids": np.tile(positions, (sequences, 1)),
            "beam_idx": self._order,
        }
        self._request.infer({name: value for name, value in values.items() if name in self._inputs})
