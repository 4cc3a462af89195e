"""The interface of the `transformers` library, for code that was written for it: change the import, keep the rest.

    from santacoder.hf import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("santacoder-q4_k_m.gguf")
    model = AutoModelForCausalLM.from_pretrained("santacoder-q4_k_m.gguf")
    inputs = tokenizer("def print_hello_world():", return_tensors="np")
    print(tokenizer.decode(model.generate(**inputs)[0]))

As in `transformers`, `generate` chooses from all rows of the embedding. That includes infilling markers and padding,
which the rest of this library never chooses, and <fim-pad> does not end a sequence, as it does elsewhere here.

A checkpoint is a GGUF file, a folder or hub repository that holds one, or one in the format of `transformers`, which is
converted once. Only `return_tensors="pt"` needs PyTorch. `pipeline`, streamers and the classes of logits processors and
stopping criteria are here, too; those of `transformers` work as well.

Differences from `transformers`:

- Everything runs on the CPU in the precision of the file; logits are float32. There are no gradients.
- The tokenizer pads on the left, with the end of text, until told otherwise.
- Masked positions are not run: a row of a padded batch gives the same bytes as the same row by itself.
- Hooks are asked for one row at a time, and each row ends by itself.
- Arguments are taken at values that turn a feature off. One that would change the result and is not supported is an
  error that names it.
"""

from __future__ import annotations

from santacoder.hf.config import ModelConfig
from santacoder.hf.encoding import BatchEncoding
from santacoder.hf.generation_config import GenerationConfig
from santacoder.hf.hooks import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from santacoder.hf.model import AutoModelForCausalLM, CausalLM
from santacoder.hf.output import CausalLMOutput, GenerateOutput
from santacoder.hf.pipeline import TextGenerationPipeline, pipeline
from santacoder.hf.streamers import BaseStreamer, TextIteratorStreamer, TextStreamer
from santacoder.hf.tensors import set_seed
from santacoder.hf.tokenizer import AutoTokenizer, CodeTokenizer

__all__ = [
    "AutoModelForCausalLM",
    "AutoTokenizer",
    "BaseStreamer",
    "BatchEncoding",
    "CausalLM",
    "CausalLMOutput",
    "CodeTokenizer",
    "GenerateOutput",
    "GenerationConfig",
    "LogitsProcessor",
    "LogitsProcessorList",
    "ModelConfig",
    "StoppingCriteria",
    "StoppingCriteriaList",
    "TextGenerationPipeline",
    "TextIteratorStreamer",
    "TextStreamer",
    "pipeline",
    "set_seed",
]
