"""Hooks, streamers and what `generate` returns, by themselves; test_calls.py compares them with transformers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import santacoder
from santacoder.hf import (
    BaseStreamer,
    CausalLM,
    CodeTokenizer,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
    TextStreamer,
)

PROMPTS = ["def print_hello_world():", "x", "import os\n\nprint("]


@pytest.fixture(scope="module")
def batch(tokenizer: CodeTokenizer) -> Any:
    return tokenizer(PROMPTS, padding=True, return_tensors="np")


def keep(input_ids: Any, scores: Any) -> Any:
    return scores


class Recorder(BaseStreamer):
    """Notes all that it gets."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.ended = 0

    def put(self, value: Any) -> None:
        self.values.append(value.tolist())

    def end(self) -> None:
        self.ended += 1


class TestHooks:
    def test_what_they_get(self, model: CausalLM, batch: Any) -> None:
        seen: list[list[int]] = []

        def processor(input_ids: Any, scores: Any) -> Any:
            assert (input_ids.dtype, scores.dtype) == (np.int64, np.float32)
            assert scores.shape == (1, 512)
            seen.append(input_ids[0].tolist())
            input_ids[:] = 0  # only a copy
            return scores

        rows = model.generate(**batch, logits_processor=[processor], max_new_tokens=4, eos_token_id=[]).tolist()
        length = batch.input_ids.shape[1]
        assert sorted(seen) == sorted(row[: length + i] for row in rows for i in range(4))
        assert rows == model.generate(**batch, max_new_tokens=4, eos_token_id=[]).tolist()

    def test_tensors(self, model: CausalLM, tokenizer: CodeTokenizer) -> None:
        torch = pytest.importorskip("torch")
        kinds = set()

        def processor(input_ids: Any, scores: Any) -> Any:
            kinds.add((input_ids.dtype, scores.dtype, tuple(scores.shape)))
            return torch.where(scores == scores.max(), -torch.inf, scores)

        inputs = tokenizer(PROMPTS[0], return_tensors="pt")
        options: dict[str, Any] = {"logits_processor": [processor], "max_new_tokens": 3, "output_scores": True}
        output = model.generate(**inputs, **options, return_dict_in_generate=True)
        assert kinds == {(torch.int64, torch.float32, (1, 512))}
        assert [step.shape for step in output.scores] == [(1, 512)] * 3
        assert [int(step.argmax()) for step in output.scores] == output.sequences[0, -3:].tolist()

    def test_rows_do_not_depend_on_each_other(self, model: CausalLM, tokenizer: CodeTokenizer, batch: Any) -> None:
        def criterion(input_ids: Any, scores: Any) -> Any:
            return bool((input_ids[0, -2:] % 2 == 0).all())

        def processor(input_ids: Any, scores: Any) -> Any:
            scores[0, int(input_ids[0, -1])] -= 3
            return scores

        options: dict[str, Any] = {"logits_processor": [processor], "stopping_criteria": [criterion]}
        options |= {"max_new_tokens": 16, "eos_token_id": []}
        for more in ({}, {"do_sample": True, "seed": 4, "num_return_sequences": 3}):
            rows = model.generate(**batch, **options, **more)
            count, width = len(rows) // len(PROMPTS), batch.input_ids.shape[1]
            for i, prompt in enumerate(PROMPTS):
                lone = model.generate(**tokenizer(prompt, return_tensors="np"), **options, **more)
                padding = width - int(batch.attention_mask[i].sum())
                for one, other in zip(lone, rows[i * count : (i + 1) * count, padding:], strict=True):
                    assert other[: len(one)].tolist() == one.tolist()
                    assert not other[len(one) :].any()

    def test_a_hook_that_keeps_all_changes_nothing(self, model: CausalLM, batch: Any) -> None:
        options: dict[str, Any] = {"do_sample": True, "seed": 3, "num_return_sequences": 2, "max_new_tokens": 12}
        options |= {"repetition_penalty": 1.2, "temperature": 0.9}
        expected = model.generate(**batch, **options).tolist()
        assert model.generate(**batch, **options, logits_processor=[keep]).tolist() == expected
        never: Callable[..., bool] = lambda input_ids, scores: False  # noqa: E731
        assert model.generate(**batch, **options, stopping_criteria=[never]).tolist() == expected

    def test_they_run_one_at_a_time(self, model: CausalLM, batch: Any) -> None:
        running = threading.Lock()

        def processor(input_ids: Any, scores: Any) -> Any:
            assert running.acquire(blocking=False)
            try:
                return scores * 1
            finally:
                running.release()

        model.generate(**batch, logits_processor=[processor], max_new_tokens=8, do_sample=True, num_return_sequences=4)

    def test_criteria_are_asked_after_each_token(self, model: CausalLM, batch: Any) -> None:
        lengths: list[int] = []

        def criterion(input_ids: Any, scores: Any) -> Any:
            assert scores is None
            lengths.append(input_ids.shape[1])
            return np.array([input_ids.shape[1] == 9])

        ids = batch.input_ids[:1, -5:]
        found = model.generate(ids, stopping_criteria=[criterion, criterion], max_new_tokens=20, eos_token_id=[])
        assert found.shape == (1, 9)
        assert lengths == [6, 6, 7, 7, 8, 8, 9, 9]
        lengths.clear()
        free = model.generate(ids, stopping_criteria=[criterion], max_new_tokens=3, eos_token_id=[])
        assert lengths == [6, 7, 8]
        lengths.clear()
        end = int(free[0, 6])
        model.generate(ids, stopping_criteria=[criterion], max_new_tokens=3, eos_token_id=end)
        assert lengths == ([6, 7] if free[0, 5] != end else [6])

    def test_criteria_get_scores(self, model: CausalLM, batch: Any) -> None:
        counts: list[int] = []

        def criterion(input_ids: Any, scores: Any) -> Any:
            counts.append(len(scores))
            assert {step.shape for step in scores} == {(1, 512)}
            return False

        options: dict[str, Any] = {"return_dict_in_generate": True, "output_scores": True, "max_new_tokens": 4}
        model.generate(batch.input_ids[:1], stopping_criteria=[criterion], eos_token_id=[], **options)
        assert counts == [1, 2, 3, 4]

    def test_an_empty_prompt(self, model: CausalLM) -> None:
        """Its row starts from the end of text, which is not a part of it."""
        ids, mask = np.array([[0, 0], [5, 6]]), np.array([[0, 0], [1, 1]])
        seen: list[list[int]] = []

        def processor(input_ids: Any, scores: Any) -> Any:
            seen.append(input_ids[0].tolist())
            return scores

        options: dict[str, Any] = {"attention_mask": mask, "max_new_tokens": 2, "eos_token_id": []}
        found = model.generate(ids, logits_processor=[processor], **options).tolist()
        assert found == model.generate(ids, **options).tolist()
        assert sorted(seen) == sorted(row[:length] for row in found for length in (2, 3))

    def test_token_healing(self, model: CausalLM, tokenizer: CodeTokenizer) -> None:
        seen = []

        def processor(input_ids: Any, scores: Any) -> Any:
            seen.append(input_ids[0].tolist())
            return scores

        inputs = tokenizer("def print_he", return_tensors="np")
        options: dict[str, Any] = {"token_healing": True, "max_new_tokens": 4, "eos_token_id": []}
        found = model.generate(**inputs, **options, logits_processor=[processor])
        assert found.tolist() == model.generate(**inputs, **options).tolist()
        assert len(seen[0]) < inputs.input_ids.shape[1]
        assert all(ids == found[0, : len(ids)].tolist() for ids in seen)

    def test_lists(self) -> None:
        scores = np.ones((1, 3), dtype=np.float32)
        assert LogitsProcessorList([lambda ids, s: s + 1, lambda ids, s: s * 2])(None, scores).tolist() == [[4, 4, 4]]
        asked: list[int] = []

        def first(input_ids: Any, scores: Any) -> bool:
            asked.append(1)
            return True

        def second(input_ids: Any, scores: Any) -> bool:
            asked.append(2)
            return False

        assert StoppingCriteriaList([first, second])(None, None) is True
        assert StoppingCriteriaList([second])(None, None) is False
        assert asked == [1, 2, 2]
        assert StoppingCriteriaList()(None, None) is False
        for base in (LogitsProcessor(), StoppingCriteria()):
            with pytest.raises(NotImplementedError, match=r"does not define __call__$"):
                base(None, None)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"logits_processor": keep}, "logits_processor is <function keep"),
            ({"logits_processor": [5]}, "logits_processor is [5], but it must be a list of functions"),
            ({"stopping_criteria": "x"}, "stopping_criteria is 'x', but it must be a list of functions"),
            (
                {"logits_processor": [lambda ids, s: None]},
                "a logits processor returned None, but it must return scores",
            ),
            (
                {"logits_processor": [lambda ids, s: s[0]]},
                "a logits processor returned scores of the shape (512,), but",
            ),
            ({"stopping_criteria": [lambda ids, s: np.array([True, False])]}, "a stopping criterion returned (2,) val"),
            ({"bad_words_ids": [[]]}, "bad_words_ids is [[]], but it must be a list of lists of token ids, none of"),
            ({"bad_words_ids": [5]}, "bad_words_ids is [5], but it must be a list of lists of token ids, none of them"),
            ({"bad_words_ids": [[512]]}, "a token id of bad_words_ids is 512, but it must be an integer in 0..511"),
            ({"suppress_tokens": 5}, "suppress_tokens is 5, but it must be a list of token ids"),
            ({"suppress_tokens": [-1]}, "a token id of suppress_tokens is -1, but it must be an integer in 0..511"),
            ({"min_new_tokens": -1}, "min_new_tokens is -1, but it must be an integer of 0 or more"),
            ({"min_length": 1.5}, "min_length is 1.5, but it must be an integer of 0 or more"),
        ],
    )
    def test_bad_hooks(self, model: CausalLM, batch: Any, options: dict[str, Any], message: str) -> None:
        with pytest.raises(santacoder.InvalidRequestError) as error:
            model.generate(**batch, **options)
        assert str(error.value).startswith(message)

    def test_errors_are_the_hooks_own(self, model: CausalLM, batch: Any) -> None:
        def broken(input_ids: Any, scores: Any) -> Any:
            raise KeyError("mine")

        for options in ({"logits_processor": [broken]}, {"stopping_criteria": [broken]}):
            with pytest.raises(KeyError, match="mine"):
                model.generate(**batch, **options)
            with pytest.raises(KeyError, match="mine"):
                model.generate(batch.input_ids[:1], streamer=Recorder(), **options)
        assert model.generate(**batch).shape[0] == 3

    def test_one_minimum_overrides_the_other(self, model: CausalLM, batch: Any) -> None:
        ids = batch.input_ids[:1]
        end = int(model.generate(ids, max_new_tokens=1)[0, -1])
        options: dict[str, Any] = {"eos_token_id": end, "max_new_tokens": 9, "min_new_tokens": 2}
        with pytest.warns(UserWarning, match=r"^min_length has no effect beside min_new_tokens$") as caught:
            both = model.generate(ids, min_length=ids.shape[1] + 8, **options)
        assert caught[0].filename == __file__
        assert both.tolist() == model.generate(ids, **options).tolist()
        assert end not in both[0, ids.shape[1] : ids.shape[1] + 2]

    def test_nothing_is_left(self, model: CausalLM, batch: Any) -> None:
        with pytest.raises(santacoder.SantaCoderError, match="banned all tokens at position"):
            model.generate(**batch, suppress_tokens=list(range(512)))


class TestStreamers:
    @pytest.mark.parametrize("options", [{}, {"do_sample": True, "seed": 2}, {"logits_processor": [keep]}])
    def test_tokens(self, model: CausalLM, batch: Any, options: dict[str, Any]) -> None:
        streamer = Recorder()
        ids = batch.input_ids[:1]
        found = model.generate(ids, streamer=streamer, max_new_tokens=9, **options)
        assert streamer.values == [ids.tolist(), *([token] for token in found[0, ids.shape[1] :].tolist())]
        assert found.tolist() == model.generate(ids, max_new_tokens=9, **options).tolist()
        assert streamer.ended == 1

    def test_a_criterion_ends_the_stream(self, model: CausalLM, batch: Any) -> None:
        streamer = Recorder()
        ids = batch.input_ids[:1]
        stop: Callable[..., bool] = lambda input_ids, scores: input_ids.shape[1] >= ids.shape[1] + 3  # noqa: E731
        found = model.generate(ids, streamer=streamer, stopping_criteria=[stop], eos_token_id=[])
        assert found.shape[1] == ids.shape[1] + 3
        assert streamer.values[1:] == [[token] for token in found[0, -3:].tolist()]
        assert streamer.ended == 1

    def test_one_row(self, model: CausalLM, batch: Any) -> None:
        message = r"^a streamer takes one row, but there are 3 prompts and num_return_sequences is 1$"
        with pytest.raises(santacoder.InvalidRequestError, match=message):
            model.generate(**batch, streamer=Recorder())
        with pytest.raises(santacoder.InvalidRequestError, match=r"^token_healing is on, but a streamer cannot take"):
            model.generate(batch.input_ids[:1], streamer=Recorder(), token_healing=True)

    def test_text(self, tokenizer: CodeTokenizer, capsys: pytest.CaptureFixture[str]) -> None:
        """A character comes when its last byte does; one that stays unfinished comes at the end."""
        text = "a = '旧é'<|endoftext|>"
        tokens = tokenizer.encode(text)
        streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True, timeout=1)
        streamer.put(np.array([[5, 6]]))
        for token in tokens:
            streamer.put(np.array([token]))
        streamer.put(np.array([tokenizer.encode("旧")[0]]))
        streamer.end()
        pieces = list(streamer)
        assert "".join(pieces) == "a = '旧é'\ufffd"
        assert "\ufffd" not in "".join(pieces[:-1])
        assert all(len(piece) == 1 for piece in pieces if piece in ("旧", "é"))
        printer = TextStreamer(tokenizer)
        for _ in range(2):  # a streamer may be used again
            printer.put(np.array([tokens]))
            printer.end()
        assert capsys.readouterr().out == f"{text}\n" * 2
        with pytest.raises(santacoder.InvalidRequestError, match=r"^a streamer takes one row, but there are 2$"):
            printer.put(np.array([[1], [2]]))

    def test_timeout(self, tokenizer: CodeTokenizer) -> None:
        with pytest.raises(queue.Empty):
            next(TextIteratorStreamer(tokenizer, timeout=0.01))


class TestOutput:
    def test_forms(self, model: CausalLM, batch: Any) -> None:
        options: dict[str, Any] = {"return_dict_in_generate": True, "max_new_tokens": 3}
        plain = model.generate(**batch, **options)
        assert list(plain) == ["sequences"]
        assert (plain.scores, plain.logits, plain.attentions) == (None, None, None)
        assert plain["sequences"] is plain.sequences is plain[0] is plain.to_tuple()[0]
        both = model.generate(**batch, **options, output_scores=True, output_logits=True)
        assert list(both) == ["sequences", "scores", "logits"]
        with pytest.raises(AttributeError, match=r"^GenerateOutput has no attribute 'beams'; it has sequences"):
            both.beams  # noqa: B018
        with pytest.raises(AttributeError, match=r"^CausalLMOutput has no past_key_values: pass all ids each time"):
            model(batch.input_ids[:1, -2:]).past_key_values  # noqa: B018

    def test_steps_after_the_end_are_0(self, model: CausalLM, batch: Any) -> None:
        width = batch.input_ids.shape[1]
        free = model.generate(**batch, max_new_tokens=8, eos_token_id=[])[:, width:]
        end = int(free[0, 1])
        options: dict[str, Any] = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}
        output = model.generate(**batch, max_new_tokens=8, eos_token_id=end, pad_token_id=9, **options)
        assert len(output.scores) == len(output.logits) == output.sequences.shape[1] - width
        for i, row in enumerate(output.sequences[:, width:].tolist()):
            count = row.index(end) + 1 if end in row else len(row)
            for step, token in enumerate(row):
                logits = output.logits[step][i]
                np.testing.assert_array_equal(output.scores[step][i], logits)
                assert logits.any() == (step < count)
                assert not logits.any() or logits.argmax() == token
        assert len({row.index(end) for row in output.sequences[:, width:].tolist() if end in row}) >= 1

    def test_transition_scores(self, model: CausalLM, batch: Any) -> None:
        options: dict[str, Any] = {"return_dict_in_generate": True, "output_scores": True, "max_new_tokens": 5}
        ids, scores = model.generate(**batch, **options, eos_token_id=[]).to_tuple()
        found = model.compute_transition_scores(ids, scores)
        assert found.tolist() == [[float(scores[t][i].max()) for t in range(5)] for i in range(3)]
        normal = model.compute_transition_scores(ids, scores, normalize_logits=True)
        expected = model.engine.score(ids[0].tolist()).logprobs[-5:]  # the first row has no padding
        np.testing.assert_allclose(normal[0], np.array(expected, dtype=np.float64), atol=1e-4)
        with pytest.raises(santacoder.InvalidRequestError, match=r"^sequences is array.*, but it must be ids \(N, 5"):
            model.compute_transition_scores(ids[:, :4], scores)
        with pytest.raises(santacoder.InvalidRequestError, match=r"^beam_indices is 1, but compute_transition_scores"):
            model.compute_transition_scores(ids, scores, 1)  # type: ignore[arg-type]

    def test_time_is_up(self, model: CausalLM, batch: Any) -> None:
        found = model.generate(**batch, max_time=0, eos_token_id=[])
        assert found.tolist() == batch.input_ids.tolist()
        streamer = Recorder()
        model.generate(batch.input_ids[:1], max_time=0.0, streamer=streamer)
        assert (len(streamer.values), streamer.ended) == (1, 1)
        endless = model.generate(**batch, max_time=float("inf"), eos_token_id=[])
        assert endless.tolist() == model.generate(**batch, eos_token_id=[]).tolist()
