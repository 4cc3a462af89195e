"""Streamers: `generate` gives them the prompt and each token, and they make text of it as it becomes final."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Queue
from typing import Any

from santacoder.errors import InvalidRequestError

_UNFINISHED = "\ufffd"  # what `decode` writes for a character of which bytes are missing


class BaseStreamer:
    """What `generate` calls for the one row that it generates."""

    def put(self, value: Any) -> None:
        """Take ids: first the prompt (1, T), then each generated token (1,), arrays or tensors."""
        raise NotImplementedError(f"{type(self).__name__} does not define put")

    def end(self) -> None:
        """Take note that there are no more."""
        raise NotImplementedError(f"{type(self).__name__} does not define end")


class TextStreamer(BaseStreamer):
    """Prints text as soon as its characters are complete; override `on_finalized_text` to do something else."""

    def __init__(self, tokenizer: Any, skip_prompt: bool = False, **decode_kwargs: Any) -> None:
        """Start without text.

        Args:
            tokenizer: the model's.
            skip_prompt: leave the prompt out.
            decode_kwargs: arguments of `tokenizer.decode`, such as `skip_special_tokens`.
        """
        self.tokenizer = tokenizer
        self.skip_prompt = skip_prompt
        self.decode_kwargs = decode_kwargs
        self.next_tokens_are_prompt = True
        self.token_cache: list[int] = []  # those whose text is not out yet

    def put(self, value: Any) -> None:
        """Take ids, and pass on the text that they complete.

        Raises:
            InvalidRequestError: there are several rows.
        """
        if len(value.shape) > 1:
            if value.shape[0] > 1:
                raise InvalidRequestError(f"a streamer takes one row, but there are {value.shape[0]}")
            value = value[0]
        prompt, self.next_tokens_are_prompt = self.next_tokens_are_prompt, False
        if prompt and self.skip_prompt:
            return
        self.token_cache.extend(value.tolist())
        text = self.tokenizer.decode(self.token_cache, **self.decode_kwargs)
        if text.endswith(_UNFINISHED):
            text = ""
        else:
            self.token_cache.clear()
        self.on_finalized_text(text)

    def end(self) -> None:
        """Pass on what is left."""
        text = self.tokenizer.decode(self.token_cache, **self.decode_kwargs) if self.token_cache else ""
        self.token_cache.clear()
        self.next_tokens_are_prompt = True
        self.on_finalized_text(text, stream_end=True)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Print text, and a line break at the end."""
        print(text, flush=True, end="\n" if stream_end else "")


class TextIteratorStreamer(TextStreamer):
    """An iterator over the text, for a thread other than the one that generates."""

    def __init__(
        self, tokenizer: Any, skip_prompt: bool = False, timeout: float | None = None, **decode_kwargs: Any
    ) -> None:
        """Start without text, as a `TextStreamer` does.

        After `timeout` seconds, waiting for text raises `queue.Empty`; None waits as long as it takes.
        """
        super().__init__(tokenizer, skip_prompt, **decode_kwargs)
        self.timeout = timeout
        self.text_queue: Queue[str | None] = Queue()
        self.stop_signal = None

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Put text in the queue, and a mark at the end."""
        self.text_queue.put(text, timeout=self.timeout)
        if stream_end:
            self.text_queue.put(self.stop_signal, timeout=self.timeout)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        text = self.text_queue.get(timeout=self.timeout)
        if text is None:
            raise StopIteration
        return text
