"""Train the tokenizer: byte-level BPE, split as SantaCoder's.

    python train_tokenizer.py --corpus CORPUS --out tokenizer.json

Each digit is a token, the rest is split as GPT-2 does, every byte has a token. The five special tokens come last, in
SantaCoder's order. The files are chosen and ordered by their paths' SHA-256, so the result depends on the corpus
alone.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL_TOKENS = ("<|endoftext|>", "<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>")
MAX_TOKEN_LENGTH = 32  # bytes


def sample(corpus: Path, size: int) -> Iterator[str]:
    """Training files of at least `size` bytes in all, chosen by hash."""
    paths = (corpus / "train.txt").read_text().splitlines()
    for path in sorted(paths, key=lambda path: hashlib.sha256(path.encode()).digest()):
        data = (corpus / "files" / path).read_bytes()
        yield data.decode()
        size -= len(data)
        if size <= 0:
            return


def train(texts: Iterator[str], vocabulary: int) -> Tokenizer:
    """Return a tokenizer of `vocabulary` tokens, the special ones included."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=MAX_TOKEN_LENGTH,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in SPECIAL_TOKENS])
    return tokenizer


def main() -> None:
    """Parse the command line, train, print how well it compresses held-out files."""
    parser = argparse.ArgumentParser(description="Train the byte-level BPE tokenizer.")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="tokenizer.json to write")
    parser.add_argument("--vocabulary", type=int, default=8192, help="tokens, the special ones included")
    parser.add_argument("--sample-mb", type=float, default=40, help="training text to learn from, MB")
    arguments = parser.parse_args()
    tokenizer = train(sample(arguments.corpus, int(arguments.sample_mb * 1e6)), arguments.vocabulary)
    if tokenizer.get_vocab_size() != arguments.vocabulary:
        parser.error(f"the sample only taught {tokenizer.get_vocab_size()} tokens")
    tokenizer.save(str(arguments.out))
    held_out = (arguments.corpus / "heldout.txt").read_text().splitlines()
    texts = [(arguments.corpus / "files" / path).read_text() for path in held_out if path.startswith("python/")]
    tokens = sum(len(encoding.ids) for encoding in tokenizer.encode_batch(texts))
    print(f"{sum(len(text.encode()) for text in texts) / tokens:.3f} bytes per token of held-out Python")


if __name__ == "__main__":
    main()
