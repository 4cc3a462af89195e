"""What the model and `generate` return: values by name, as attribute, key or index."""

from __future__ import annotations

from typing import Any


class ModelOutput(dict[str, Any]):
    """Values by name; those that are None are left out, as in `transformers`, and are None as attributes."""

    _names: tuple[str, ...] = ()

    def __init__(self, **values: Any) -> None:
        """Take values of the names that the class has."""
        super().__init__({name: value for name in self._names if (value := values.get(name)) is not None})

    def __getattr__(self, name: str) -> Any:
        if name in self._names:
            return self.get(name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}; it has {', '.join(self._names)}")

    def __getitem__(self, key: str | int | slice) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the values."""
        return (*self.values(),)


class CausalLMOutput(ModelOutput):
    """The result of calling the model.

    Attributes:
        loss: the mean loss of the labels; None without labels.
        logits: (B, T, V) float32.
        attentions, hidden_states: None.
    """

    _names = ("loss", "logits", "attentions", "hidden_states")

    def __getattr__(self, name: str) -> Any:
        if name == "past_key_values":
            raise AttributeError(
                "CausalLMOutput has no past_key_values: pass all ids each time, or continue a text with generate()"
            )
        return super().__getattr__(name)


class GenerateOutput(ModelOutput):
    """The result of `generate` with `return_dict_in_generate`.

    Attributes:
        sequences: (N, L) int64, what `generate` returns by itself.
        scores: for each generated token (N, V) float32, after all processing: what it was chosen from. None unless
            `output_scores` was asked for. Rows that have ended are 0.
        logits: the same before processing; None unless `output_logits` was asked for.
        attentions, hidden_states: None.
    """

    _names = ("sequences", "scores", "logits", "attentions", "hidden_states")
