"""A minimal program that completes with llama.cpp; the prompt comes from standard input.

    echo "def fib(n):" | python bench/peers/complete_llama_cpp.py MODEL

`processes.py` measures it beside `santacoder complete`.
"""

from __future__ import annotations

import argparse
import sys

from llama_cpp import Llama


def main() -> None:
    """Complete greedily, and print each token at once."""
    parser = argparse.ArgumentParser(description="Complete standard input with llama.cpp.")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-tokens", type=int, default=1)
    arguments = parser.parse_args()
    threads = arguments.threads
    llama = Llama(arguments.model, n_threads=threads, n_threads_batch=threads, n_ctx=2048, verbose=False)
    prompt = sys.stdin.read()
    for part in llama(prompt, max_tokens=arguments.max_tokens, temperature=0, stream=True):
        print(part["choices"][0]["text"], end="", flush=True)
    print()


if __name__ == "__main__":
    main()
