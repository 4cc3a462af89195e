"""SantaCoder as an LLM of LlamaIndex: completions and streams (`pip install llama-index-core`).

python examples/llamaindex_llm.py [MODEL]
"""

from __future__ import annotations

import sys
from typing import Any

from llama_index.core.llms import CompletionResponse, CompletionResponseGen, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_completion_callback

import santacoder


class SantaCoderLLM(CustomLLM):
    """A model; `options` are keywords of `complete`, and so are those of a call."""

    model: Any
    options: dict[str, Any]

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex cuts its prompts by."""
        return LLMMetadata(context_window=self.model.context, model_name="santacoder")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **more: Any) -> CompletionResponse:
        """Complete a prompt."""
        return CompletionResponse(text=self.model.complete(prompt, **{**self.options, **more}).text)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **more: Any) -> CompletionResponseGen:
        """Complete a prompt piece by piece."""
        text = ""
        for piece in self.model.stream(prompt, **{**self.options, **more}):
            text += piece.text
            yield CompletionResponse(text=text, delta=piece.text)


def main(name: str | None = None) -> None:
    """Complete and stream with the model of this name, or with the packaged one."""
    with santacoder.load(name) as model:
        llm = SantaCoderLLM(model=model, options={"temperature": 0, "max_tokens": 32})
        print(llm.complete("def add(a, b):"))
        print("".join(part.delta or "" for part in llm.stream_complete("def add(a, b):", stop="(a)")))
        print(llm.metadata.context_window)


if __name__ == "__main__":
    main(*sys.argv[1:2])
