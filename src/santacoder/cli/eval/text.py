"""`santacoder eval bpb | ppl | kl`: how well a model predicts text."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from santacoder import load
from santacoder.cli import options
from santacoder.errors import InvalidRequestError

if TYPE_CHECKING:
    from santacoder.model import SantaCoder
    from santacoder.scoring.perplexity import Divergence, Likelihood, Progress

#: Of a checkpoint that is converted to compare others with.
REFERENCE_TYPE = "f32"

Row = dict[str, Any]  # one file's or the total's results, as JSON has them


class Column(NamedTuple):
    """One column of a table: the key of its values, its title, and how to format them."""

    key: str
    title: str
    format: str


BPB_COLUMNS = (
    Column("bytes", "bytes", "d"),
    Column("tokens", "tokens", "d"),
    Column("bits", "bits", ".1f"),
    Column("bits_per_byte", "bits/byte", ".4f"),
    Column("perplexity", "perplexity", ".3f"),
)
XZ_COLUMNS = (Column("xz_bits_per_byte", "xz bits/byte", ".4f"), Column("xz_ratio", "ratio", ".4f"))
PPL_COLUMNS = (Column("tokens", "tokens", "d"), Column("perplexity", "perplexity", ".4f"))
KL_COLUMNS = (
    Column("tokens", "tokens", "d"),
    Column("mean_kl", "mean KL (nats)", ".6f"),
    Column("perplexity", "perplexity", ".4f"),
    Column("reference_perplexity", "reference", ".4f"),
    Column("perplexity_ratio", "ratio", ".5f"),
    Column("top1_agreement", "top-1 agreement", ".4f"),
)


@dataclass(frozen=True)
class Text:
    """A file to measure."""

    name: str
    text: str


# Likelihood: bpb, ppl.


def add_ppl_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that every measurement of text has."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="a UTF-8 text; each is measured separately")
    parser.add_argument("--files-from", metavar="LIST", help="read more names from a file, one per line; - is stdin")
    parser.add_argument(
        "--stride", type=int, metavar="N",
        help="tokens that each window of a long text scores (default: half of the context)",
    )  # fmt: skip
    options.add_model(parser)
    options.add_threads(parser)
    options.add_json(parser)


def add_bpb_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `bpb`."""
    add_ppl_arguments(parser)
    parser.add_argument("--xz", action="store_true", help="compare with xz -9e, file by file")


def run_bpb(args: argparse.Namespace) -> None:
    """Print the bits per byte."""
    columns = BPB_COLUMNS + XZ_COLUMNS if args.xz else BPB_COLUMNS
    _measure_likelihood(args, columns, args.xz)


def run_ppl(args: argparse.Namespace) -> None:
    """Print the perplexity per token."""
    _measure_likelihood(args, PPL_COLUMNS, xz=False)


def _measure_likelihood(args: argparse.Namespace, columns: Sequence[Column], xz: bool) -> None:
    texts = read_texts(args)
    path = options.model_path(args)
    from santacoder.scoring.perplexity import Likelihood, check_stride, measure_likelihood, xz_bytes

    with load(path, args.threads, args.context) as model:
        stride = check_stride(args.stride, model.context)
        parts = _for_each(
            texts, model, lambda text, progress: measure_likelihood(model, text, stride, progress=progress)
        )
        report: Row = {"model": path, "context": model.context, "stride": stride}
    sizes = [xz_bytes(text.text.encode()) if xz else None for text in texts]
    rows = [_likelihood_row(part, size) for part, size in zip(parts, sizes, strict=True)]
    total = _likelihood_row(Likelihood.total(parts), sum(size or 0 for size in sizes) if xz else None)
    _print_report(args, report, columns, texts, rows, total)


def _likelihood_row(likelihood: Likelihood, xz_size: int | None) -> Row:
    row: Row = {
        "bytes": likelihood.n_bytes,
        "tokens": likelihood.n_tokens,
        "bits": likelihood.bits,
        "bits_per_byte": likelihood.bits_per_byte,
        "perplexity": likelihood.perplexity,
    }
    if xz_size is not None:
        row["xz_bits_per_byte"] = 8 * xz_size / likelihood.n_bytes
        row["xz_ratio"] = likelihood.bits / (8 * xz_size)
    return row


# Divergence: kl.


def add_kl_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kl`."""
    add_ppl_arguments(parser)
    parser.add_argument(
        "-r",
        "--reference",
        required=True,
        metavar="PATH|REPO[:FILE]",
        help="the model to compare with, such as F32, to which a checkpoint is converted",
    )


def run_kl(args: argparse.Namespace) -> None:
    """Print the divergence from the reference."""
    texts = read_texts(args)
    found = replace(options.model_options(args), type=None, default_type=REFERENCE_TYPE, revision=None)
    reference_path = options.resolve_model(args.reference, found)
    path = options.model_path(args)
    from santacoder.scoring.perplexity import Divergence, check_stride, measure_divergence

    with load(reference_path, args.threads, args.context) as reference, load(path, args.threads, args.context) as model:
        context = min(model.context, reference.context)
        stride = check_stride(args.stride, context)
        parts = _for_each(
            texts, model, lambda text, progress: measure_divergence(model, reference, text, stride, progress=progress)
        )
    report = {"model": path, "reference": reference_path, "context": context, "stride": stride}
    rows = [_divergence_row(part) for part in parts]
    _print_report(args, report, KL_COLUMNS, texts, rows, _divergence_row(Divergence.total(parts)))


def _divergence_row(divergence: Divergence) -> Row:
    return {
        "tokens": divergence.n_tokens,
        "mean_kl": divergence.mean_kl,
        "perplexity": divergence.perplexity,
        "reference_perplexity": divergence.reference_perplexity,
        "perplexity_ratio": divergence.perplexity_ratio,
        "top1_agreement": divergence.top1_agreement,
    }


# Shared by all measurements.


def read_texts(args: argparse.Namespace) -> list[Text]:
    """Read and check all files, before anything slow begins.

    Raises:
        UsageError: none is named.
        OSError: one cannot be read.
        InvalidRequestError: one is empty or not UTF-8.
    """
    names = list(args.files)
    if args.files_from is not None:
        names += _read_list(args.files_from)
    if not names:
        raise options.UsageError("there is nothing to measure: pass FILES or --files-from LIST")
    texts = []
    for name in names:
        text = options.read_text(name)
        if not text:
            raise InvalidRequestError(f"{name} is empty: there is nothing to measure")
        texts.append(Text(name, text))
    return texts


def _read_list(name: str) -> list[str]:
    text = options.read_stdin() if name == "-" else options.read_text(name)
    return [line.strip() for line in text.splitlines() if line.strip()]


def _for_each(texts: Sequence[Text], model: SantaCoder, measure: Callable[[str, Progress], Any]) -> list[Any]:
    """Call `measure` on every text, and show the progress through all of them."""
    from santacoder._util.progress import progress_bar

    with progress_bar(sum(_count_tokens(model, text) for text in texts), "tokens", lines=True) as bar:
        return [measure(text.text, bar.update) for text in texts]


def _count_tokens(model: SantaCoder, text: Text) -> int:
    from santacoder.scoring.perplexity import text_tokens

    try:
        return len(text_tokens(model.tokenizer, text.text)) - 1
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{text.name}: {error}") from None


def _print_report(
    args: argparse.Namespace,
    report: Row,
    columns: Sequence[Column],
    texts: Sequence[Text],
    rows: Sequence[Row],
    total: Row,
) -> None:
    """Print a table, or one JSON document."""
    if args.json:
        files = [{"file": text.name, **row} for text, row in zip(texts, rows, strict=True)]
        options.print_json({**report, "files": files, "total": total})
        return
    lines = [[column.title for column in columns]]
    lines += [[format(row[column.key], column.format) for column in columns] for row in (*rows, total)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    names = ["file", *(text.name for text in texts), "total"]
    for cells, name in zip(lines, names, strict=True):
        line = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        shown = name.encode("utf-8", "backslashreplace").decode()  # names may be invalid Unicode
        options.write(f"{line}  {shown}\n")
