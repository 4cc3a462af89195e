"""transformers in bfloat16, on random weights of the same shape, for `worker.py`."""

from __future__ import annotations

import torch
import transformers

from bench.peers.workloads import Stepper, Tokens


class Transformers(Stepper):
    """A checkpoint and the cache of the sequences in flight."""

    def __init__(self, checkpoint: str, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self._model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16).eval()
        self._cache = transformers.DynamicCache()
        self.vocabulary = int(self._model.config.vocab_size)

    def begin(self, prompt: Tokens, sequences: int, steps: int) -> None:
        self._cache = transformers.DynamicCache()
        if prompt.size:
            self._forward(torch.from_numpy(prompt)[None])
        if sequences > 1:
            self._cache.batch_repeat_interleave(sequences)

    def step(self, tokens: Tokens) -> None:
        self._forward(torch.from_numpy(tokens)[:, None])

    def versions(self) -> dict[str, str]:
        return {"transformers": transformers.__version__, "torch": torch.__version__, "weights": "bfloat16, random"}

    def _forward(self, ids: torch.Tensor) -> None:
        """Run ids (sequences, T) and keep the logits of each sequence's last token."""
        self._model(ids.long(), past_key_values=self._cache, use_cache=True, logits_to_keep=1)
