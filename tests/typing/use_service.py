"""What services use, as their authors write it; checked by mypy and pyright, never run."""

from typing_extensions import assert_type

from santacoder import Completion, Counters, Limits, QueueFullError, QueueTimeoutError, SantaCoder, TokenLogprobs


def limits(model: SantaCoder) -> None:
    model.limits = Limits(max_running=32, max_waiting=64, queue_timeout=60, prefixes=16, cache_bytes=1 << 30)
    assert_type(model.limits, Limits)
    assert_type(model.limits.max_waiting, int | None)
    assert_type(model.limits.queue_timeout, float | None)
    try:
        model.check_room()
    except (QueueFullError, QueueTimeoutError) as error:
        print(error)

    Limits(5)  # type: ignore[call-arg]
    Limits(max_queue=5)  # type: ignore[call-arg]
    model.limits.max_running = 5  # type: ignore[misc]
    model.limits = 5  # type: ignore[assignment]


def counters(model: SantaCoder) -> None:
    counters = model.counters()
    assert_type(counters, Counters)
    assert_type((counters.running, counters.waiting, counters.steps), tuple[int, int, int])
    assert_type(counters.prompt_speed, float | None)
    assert_type(counters.stalled_seconds, float)
    counters.running = 5  # type: ignore[misc]


def results(model: SantaCoder) -> None:
    completion = model.complete("a", max_tokens=0, prompt_logprobs=2, line_deadline=0.25, min_indent=4, clip=True)
    assert_type(completion.prompt_logprobs, list[TokenLogprobs | None] | None)
    assert_type((completion.end_token, completion.stop_text), tuple[int | None, str | None])
    assert_type(completion.end_logprobs, TokenLogprobs | None)
    assert_type(completion.mean_logprob, float | None)
    assert_type((completion.dropped, completion.timings.cached_tokens), tuple[int, int])
    for piece in model.stream("a"):
        assert_type(piece.completion, Completion | None)
        assert_type(piece.prompt_logprobs, tuple[TokenLogprobs | None, ...] | None)
