"""Callers' functions that take part in choosing tokens: what they see, what they may do, what they change."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import santacoder
from santacoder.decoding.logprobs import log_softmax
from tests.support.samples import CODE, facts

OPTIONS: dict[str, Any] = {"max_tokens": 12, "temperature": 1.0, "seed": 3, "ignore_eos": True}
Ids = NDArray[np.int32]
Logits = NDArray[np.float32]


class Recorder:
    """A processor that keeps what it is given, and changes nothing."""

    def __init__(self) -> None:
        self.ids: list[Ids] = []
        self.logits: list[Logits] = []

    def __call__(self, token_ids: Ids, logits: Logits) -> None:
        self.ids.append(token_ids)
        self.logits.append(logits)


def only(*tokens: int) -> Callable[[Ids, Logits], None]:
    """A processor that bans all other tokens."""

    def processor(_: Ids, logits: Logits) -> None:
        kept = logits[list(tokens)].copy()
        logits.fill(-math.inf)
        logits[list(tokens)] = kept

    return processor


class TestLogitsProcessor:
    @pytest.mark.parametrize("lookup", [False, True])
    def test_it_is_asked_once_before_each_token(self, model: santacoder.SantaCoder, lookup: bool) -> None:
        """With all tokens before it, and the model's own logits; drafts change nothing."""
        seen = Recorder()
        ids = model.tokenizer.encode(CODE + CODE)
        options = OPTIONS | {"max_tokens": 40, "temperature": 0, "lookup": lookup}
        found = model.complete(ids, **options, repetition_penalty=1.5, logits_processor=seen)
        assert facts(found)[:3] == facts(model.complete(ids, **options, repetition_penalty=1.5))[:3]
        everything = [*ids, *found.tokens]
        assert [list(part) for part in seen.ids] == [everything[:end] for end in range(len(ids), len(everything))]
        assert np.array_equal(seen.logits, model.logits(everything[:-1])[len(ids) - 1 :])
        assert {part.dtype for part in (*seen.ids, *seen.logits)} == {np.dtype("int32"), np.dtype("float32")}

    def test_what_it_is_given_is_its_own(self, model: santacoder.SantaCoder) -> None:
        def processor(token_ids: Ids, _: Logits) -> None:
            token_ids.fill(0)

        assert facts(model.complete(CODE, **OPTIONS, logits_processor=processor)) == facts(
            model.complete(CODE, **OPTIONS)
        )

    def test_it_changes_the_choice_but_not_the_log_probabilities(self, model: santacoder.SantaCoder) -> None:
        ids = model.tokenizer.encode(CODE)
        found = model.complete(ids, **OPTIONS, logits_processor=only(40, 50), logprobs=3)
        assert set(found.tokens) == {40, 50}
        rows = model.logits([*ids, *found.tokens[:-1]])[len(ids) - 1 :]
        assert found.logprobs is not None
        assert [entry.logprob for entry in found.logprobs] == [
            log_softmax(row)[token] for row, token in zip(rows, found.tokens, strict=True)
        ]
        assert all(len(entry.top) == 3 for entry in found.logprobs)

    def test_other_options_come_after_it(self, model: santacoder.SantaCoder) -> None:
        """A bias decides between equals, a penalty sees what it made, and a bias cannot bring back what it banned."""

        def level(_: Ids, logits: Logits) -> Logits:
            logits.fill(-math.inf)
            logits[[40, 50, 60]] = 1.0
            return logits

        greedy = OPTIONS | {"max_tokens": 3, "temperature": 0, "token_healing": False, "logits_processor": level}
        assert model.complete("a", **greedy).tokens == [40, 40, 40]
        assert model.complete("a", **greedy, logit_bias={50: 1.0, 70: 100.0}).tokens == [50, 50, 50]
        assert model.complete("a", **greedy, presence_penalty=0.5).tokens == [40, 50, 60]
        assert model.complete("a", **greedy, logit_bias={40: -math.inf, 50: -1}).tokens == [60, 60, 60]

    def test_healed_text_stays_whatever_it_wants(self, model: santacoder.SantaCoder) -> None:
        """It may choose among the tokens that spell the text that was taken back, and if it bans them none is left."""
        plain = model.complete("def fi", **OPTIONS, logits_processor=Recorder())
        assert plain.healed
        assert facts(plain) == facts(model.complete("def fi", **OPTIONS))
        with pytest.raises(santacoder.NumericalError, match=r"^all tokens are banned at position \d+ that begin as "):
            model.complete("def fi", **OPTIONS, logits_processor=only(model.tokenizer.encode("\n")[0]))

    @pytest.mark.parametrize(
        ("processor", "message"),
        [
            (lambda _, logits: logits + 1, "returned an array of float32 with shape (512,) at position 1, but it "),
            (lambda _, logits: logits[:], "returned an array of float32 with shape (512,) at position 1, but it "),
            (lambda _, __: [1.0], "returned a list at position 1, but it must change the logits in place and return "),
            (lambda _, __: False, "returned a bool at position 1, but it must "),
            (lambda _, logits: logits.put(7, math.nan), "set the logit of token 7 at position 1 to nan, but it must"),
            (lambda _, logits: logits.put(7, math.inf), "set the logit of token 7 at position 1 to inf, but it must"),
            (lambda _, logits: logits.fill(-math.inf), "banned all tokens at position 1, but at least one must"),
            (lambda _, logits: setattr(logits, "shape", (2, 256)), "made an array of float32 with shape (2, 256) of"),
            (lambda _, logits: setattr(logits, "dtype", np.int32), "made an array of int32 with shape (512,) of the "),
            (lambda _, logits: logits.resize(3, refcheck=False), "made an array of float32 with shape (3,) of the "),
            (lambda _, __: {"b": 1}["a"], "raised KeyError at position 1: 'a'"),
            (lambda _: None, "raised TypeError at position 1: "),
        ],
    )  # fmt: skip
    @pytest.mark.filterwarnings("ignore:Setting the (shape|dtype).*:DeprecationWarning")
    def test_what_it_may_not_do(self, model: santacoder.SantaCoder, processor: Any, message: str) -> None:
        with pytest.raises(santacoder.HookError) as error:
            model.complete([5], **OPTIONS, logits_processor=processor)
        assert str(error.value).startswith(f"logits_processor {message}")
        assert len(str(error.value)) < 250
        assert "\n" not in str(error.value)

    def test_its_exception_is_the_cause(self, model: santacoder.SantaCoder) -> None:
        mine = ValueError("first\nsecond")

        def processor(token_ids: Ids, _: Logits) -> None:
            if token_ids.size == 5:
                raise mine

        with pytest.raises(santacoder.HookError) as error:
            model.complete([5, 6], **OPTIONS, logits_processor=processor)
        assert error.value.__cause__ is mine
        assert str(error.value) == r"logits_processor raised ValueError at position 5: first\nsecond"

    def test_a_broken_models_logits_are_not_its_fault(
        self, model: santacoder.SantaCoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = model._scheduler.engine
        forward_batch = engine.forward_batch
        monkeypatch.setattr(
            engine, "forward_batch", lambda *arguments: forward_batch(*arguments) * np.float32(math.nan)
        )
        with pytest.raises(santacoder.NumericalError, match=r"^the logits of position 1 hold a NaN or an infinity$"):
            model.complete([5], **OPTIONS, logits_processor=Recorder())


class TestStopping:
    def test_it_sees_the_text_as_it_grows(self, model: santacoder.SantaCoder) -> None:
        seen: list[str] = []

        def stopping(text: str) -> bool:
            seen.append(text)
            return False

        found = model.complete(CODE, **OPTIONS, stopping=stopping, echo=True)
        texts = [piece.text for piece in model.stream(CODE, **OPTIONS)]
        assert seen == ["".join(texts[:end]) for end in range(1, len(texts))]  # the last piece ends the text anyway
        assert facts(found) == facts(model.complete(CODE, **OPTIONS, echo=True))

    def test_it_ends_the_text(self, model: santacoder.SantaCoder) -> None:
        whole = model.complete(CODE, **OPTIONS)
        found = model.complete(CODE, **OPTIONS, stopping=lambda text: len(text) >= 9, logprobs=0)
        assert found.finish_reason == "stop"
        assert whole.text.startswith(found.text)
        assert len(found.text) >= 9
        assert found.tokens == whole.tokens[: len(found.tokens)]
        assert len(found.tokens) < len(whole.tokens)
        assert found.logprobs is not None
        assert [entry.token for entry in found.logprobs] == found.tokens
        *_, last = model.stream(CODE, **OPTIONS, stopping=lambda text: np.bool_(len(text) >= 9))  # type: ignore[arg-type, return-value]
        assert (last.text, last.finish_reason) == ("", "stop")

    def test_text_that_was_held_back_is_not_part(self, model: santacoder.SantaCoder) -> None:
        """A stop string may have begun when the function says that the text ends."""
        whole = model.complete(CODE, **OPTIONS).text
        stop = whole[4:7] + "\0"
        found = model.complete(CODE, **OPTIONS, stop=stop, stopping=lambda text: len(text) >= 2)
        assert found.text == whole[: len(found.text)]
        assert len(found.text) >= 2

    @pytest.mark.parametrize(
        ("stopping", "message"),
        [
            (lambda _: None, "stopping returned None, but it must return True or False"),
            (lambda text: text, "stopping returned '"),
            (lambda _: 1, "stopping returned 1, but it must return True or False"),
            (lambda _: 1 // 0, "stopping raised ZeroDivisionError: integer division or modulo by zero"),
            (lambda: True, "stopping raised TypeError: "),
        ],
    )
    def test_what_it_may_not_do(self, model: santacoder.SantaCoder, stopping: Any, message: str) -> None:
        with pytest.raises(santacoder.HookError) as error:
            model.complete(CODE, **OPTIONS, stopping=stopping)
        assert str(error.value).startswith(message)

    def test_both_together(self, model: santacoder.SantaCoder) -> None:
        ids = model.tokenizer.encode("ab")
        found = model.complete([5], **OPTIONS, logits_processor=only(*ids), stopping=lambda text: "b" in text)
        assert "b" in found.text
        assert found.finish_reason == "stop"
