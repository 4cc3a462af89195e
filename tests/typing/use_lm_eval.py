"""The model of lm-evaluation-harness as users write it; checked by mypy and pyright, never run."""

from typing_extensions import assert_type

import santacoder
from santacoder.integrations.lm_eval import SantaCoderLM


def evaluate() -> None:
    with santacoder.load() as model:
        lm = SantaCoderLM(model, seed=1, max_gen_toks=64, batch_size=8)
        SantaCoderLM("m.gguf", threads=2, context=512)
        SantaCoderLM()
        assert_type(lm.model, santacoder.SantaCoder)
        assert_type((lm.eot_token_id, lm.max_length), tuple[int, int])
        assert_type(lm.tok_encode("def f():"), list[int])
        assert_type(lm.loglikelihood([], disable_tqdm=True), list[tuple[float, bool]])
        assert_type(lm.loglikelihood_rolling([]), list[float])
        assert_type(lm.generate_until([]), list[str])

        SantaCoderLM(5)  # type: ignore[arg-type]
        SantaCoderLM(model, seed="1")  # type: ignore[arg-type]
        lm.generate_until()  # type: ignore[call-arg]
