"""SantaCoder as an LLM of LangChain: in chains, in batches, as a stream (`pip install langchain-core`).

python examples/langchain_llm.py [MODEL]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from langchain_core.language_models.llms import LLM
from langchain_core.outputs import GenerationChunk

import santacoder


class SantaCoderLLM(LLM):
    """A model; `options` are keywords of `complete`, and so are those of a call."""

    model: Any
    options: dict[str, Any]

    @property
    def _llm_type(self) -> str:
        return "santacoder"

    def _call(self, prompt: str, stop: list[str] | None = None, run_manager: Any = None, **more: Any) -> str:
        text: str = self.model.complete(prompt, **{**self.options, **more, "stop": stop}).text
        return text

    def _stream(
        self, prompt: str, stop: list[str] | None = None, run_manager: Any = None, **more: Any
    ) -> Iterator[GenerationChunk]:
        for piece in self.model.stream(prompt, **{**self.options, **more, "stop": stop}):
            yield GenerationChunk(text=piece.text)


def main(name: str | None = None) -> None:
    """Complete, stream and run a batch with the model of this name, or with the packaged one."""
    with santacoder.load(name) as model:
        llm = SantaCoderLLM(model=model, options={"temperature": 0, "max_tokens": 32})
        print(llm.invoke("def add(a, b):"))
        print("".join(llm.stream("def add(a, b):", stop=["(a)"])))
        print(llm.batch(["def add(a, b):", "import os\n"], max_tokens=4))  # together, in one batch of the model


if __name__ == "__main__":
    main(*sys.argv[1:2])
