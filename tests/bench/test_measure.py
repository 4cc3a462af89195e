"""`santacoder bench`: what it reports, not how fast anything is."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from santacoder import InvalidRequestError
from santacoder._native import ffi, lib
from santacoder._util.peak_memory import peak_bytes
from santacoder.bench.measure import BenchConfig, bench_context, benchmark
from santacoder.cli import main
from santacoder.engine.isa import LEVELS, available
from santacoder.engine.loading import open_transformer
from tests.support.gguf_builder import tiny_builder
from tests.support.paths import DATA, FILE

SPEED = {
    "tokens", "sequences", "depth", "tokens_per_second", "runs", "limit", "limit_percent", "limit_percent_runs",
}  # fmt: skip


def run(capsys: pytest.CaptureFixture[str], *args: str, model: Path = FILE) -> str:
    """Standard output of a bench that succeeds."""
    assert main(["bench", "-m", str(model), *args]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def fails(capsys: pytest.CaptureFixture[str], *args: str, status: int = 1, model: Path = FILE) -> str:
    """The one line of a bench that fails."""
    assert main(["bench", "-m", str(model), *args]) == status
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err.removeprefix("santacoder: ").rstrip("\n")


def check_numbers(value: Any) -> None:
    """Every number of a report, at any depth, is finite and not negative."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            check_numbers(item)
    elif not isinstance(value, str):
        assert math.isfinite(value)
        assert value >= 0


def check_speed(speed: dict[str, Any], tokens: int, sequences: int, depth: int, limit: str, runs: int) -> None:
    assert set(speed) == SPEED
    assert (speed["tokens"], speed["sequences"], speed["depth"], speed["limit"]) == (tokens, sequences, depth, limit)
    assert len(speed["runs"]) == len(speed["limit_percent_runs"]) == runs
    assert min(speed["runs"]) > 0
    assert speed["tokens_per_second"] == pytest.approx(np.median(speed["runs"]))
    assert min(speed["limit_percent_runs"]) > 0
    assert speed["limit_percent"] == pytest.approx(np.median(speed["limit_percent_runs"]))


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("-p", "32", "-n", "8", "-d", "100", "-b", "1,3", "-r", "2", "-t", "1", "--context", "200")
    report = json.loads(run(capsys, "--json", *options))
    check_numbers(report)
    check_speed(report.pop("prompt"), 32, 1, 0, "dot", 2)
    check_speed(report.pop("generation"), 8, 1, 1, "read", 2)
    check_speed(report.pop("generation_at_depth"), 8, 1, 100, "read", 2)
    one, three = report.pop("batches")
    check_speed(one, 8, 1, 128, "dot", 2)
    check_speed(three, 24, 3, 128, "dot", 2)
    load, memory, limits = report.pop("load"), report.pop("memory"), report.pop("limits")
    assert len(load["runs"]) == 2
    assert min(load["runs"]) > 0
    assert memory["file_bytes"] == FILE.stat().st_size
    assert memory["peak_bytes"] > memory["weights_bytes"] > 1_000_000
    assert memory["peak_to_file"] == pytest.approx(memory["peak_bytes"] / memory["file_bytes"])
    # Two measurements around each run: two cases are limited by reads, three by dot products.
    assert (len(limits["read_runs"]), len(limits["dot_runs"])) == (2 * 2 * 2, 2 * 2 * 3)
    assert min(limits["read_bytes_per_second"], limits["dot_ops_per_second"]) > 0
    share, work = report.pop("python_share"), report.pop("work")
    assert 0 < share["percent"] < 100
    assert set(share) == {"percent", "forward_percent", "sampling_percent", "step_seconds", "runs"}
    # Two layers of 256, one KV head of 64, an MLP of 1024, and 512 tokens.
    macs = 2 * (256 * (256 + 2 * 64) + 256 * 256 + 2 * 256 * 1024)
    assert (work["layer_ops"], work["head_ops"]) == (2 * macs, 2 * 512 * 256)
    assert 0 < work["weight_bytes"] < memory["weights_bytes"]
    costs = report.pop("step_costs")
    assert [cost["rows"] for cost in costs] == [1, 2, 4, 8, 16]
    assert [cost["cost"] for cost in costs] == pytest.approx([cost["seconds"] / costs[0]["seconds"] for cost in costs])
    waiting = report.pop("waiting")
    assert set(waiting) == {"phases", "waits", "yields", "sleeps", "losses"}
    assert waiting["phases"] > 100
    assert waiting["waits"] == 0  # a single thread never waits
    assert report == {"model": "random", "isa": lib_isa(), "threads": 1, "context": 200, "runs": 2}


def lib_isa() -> str:
    return next(name for name, level in LEVELS.items() if level == lib.sc_isa_best())


def test_table_fits_a_small_context(capsys: pytest.CaptureFixture[str]) -> None:
    first, *lines = run(capsys, "-r", "1", "-t", "2").splitlines()
    assert first == f"random, {lib_isa()}, 2 threads, median of 1 runs"
    costs = lines.pop(4)
    assert costs.startswith("step ")
    assert re.findall(r"(\d+): \d+\.\d\d", costs) == ["1", "2", "4", "8", "16"]
    assert [line[:35].split() for line in lines] == [
        ["prompt", "254", "tokens"],
        ["generation", "64", "tokens"],
        ["generation", "after", "192", "64", "tokens"],
        ["batch", "of", "16", "256", "tokens"],
        ["reads"],
        ["dot", "products"],
        ["load"],
        ["peak", "memory"],
        ["python", "share"],
        ["threads"],
    ]
    assert [line[35:].split()[1] for line in lines] == [*["tokens/s"] * 4, "GB/s", "TOPS", "s", "MiB", "%", "k"]
    assert all("% of reads" in line for line in lines[1:3])
    assert all("% of dot products" in line for line in (lines[0], lines[3]))


def test_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    assert fails(capsys, "-r", "0") == "--runs is 0, but it must be an integer of 1 or more"
    assert fails(capsys, "-p", "0") == "--prompt-tokens is 0, but it must be an integer in 1..254"
    assert fails(capsys, "-n", "255") == "--tokens is 255, but it must be an integer in 1..254"
    assert fails(capsys, "-n", "8", "-d", "249") == "--depth is 249, but it must be an integer in 1..248"
    assert fails(capsys, "-b", "2,257") == "--batch is 257, but it must be an integer in 1..256"
    assert fails(capsys, "--context", "2") == "the context is 2, but it must be an integer of 3 or more"
    message = "argument -b/--batch: '2,' is not N[,N...] (see santacoder bench --help)"
    assert fails(capsys, "-b", "2,", status=2) == message


@pytest.mark.parametrize("context", [3, 4, 17, 100, 2048])
def test_the_default_config_fits_any_context(context: int) -> None:
    config = BenchConfig.fit(context)
    assert 1 <= config.prompt < context
    assert config.depth + config.tokens <= context
    assert config == BenchConfig.fit(context, config.prompt, config.tokens, config.depth, config.batches, config.runs)


def test_the_default_config_of_a_large_context() -> None:
    assert BenchConfig.fit(2048) == BenchConfig(2048, prompt=512, tokens=64, depth=1536, batches=(16,), runs=3)
    with pytest.raises(InvalidRequestError, match="--runs is True"):
        BenchConfig.fit(2048, runs=True)


def test_smallest_context_and_float_weights(tmp_path: Path) -> None:
    builder = tiny_builder()
    path = tmp_path / "tiny.gguf"
    path.write_bytes(builder.build())
    report = benchmark(path, BenchConfig.fit(3, runs=1, batches=(2,)), threads=1)
    assert (report.prompt.tokens, report.generation.tokens) == (1, 1)
    assert report.batches[0].tokens == 2
    assert report.prompt.limit_percent > 0
    assert [cost.rows for cost in report.step_costs] == [1, 2]


@pytest.mark.parametrize("isa", available())
def test_on_every_instruction_set(monkeypatch: pytest.MonkeyPatch, isa: str) -> None:
    monkeypatch.setenv("SANTACODER_ISA", isa)
    path = DATA / "mqa-q8_0.gguf"
    config = BenchConfig.fit(bench_context(path), prompt=8, tokens=2, depth=4, batches=(2,), runs=1)
    report = benchmark(path, config, threads=2)
    assert report.isa == isa
    assert min(report.prompt.limit_percent, report.generation.limit_percent) > 0


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("isa", available())
def test_limits_do_all_the_work(isa: str, threads: int) -> None:
    team = ffi.gc(lib.sc_team_new(threads), lib.sc_team_free)
    memory = np.random.default_rng(0).integers(0, 2**32, (3 << 18) + 64 * 5, dtype=np.uint32)  # 3 pieces and a bit
    for size in (memory.nbytes, memory.nbytes - 4, 256, 255, 0):
        words = memory[: size // 256 * 64]
        expected = int(words.sum(dtype=np.uint64)) % 2**32
        assert lib.sc_peak_read(team, LEVELS[isa], ffi.from_buffer(memory), size) == expected
    round_sum = lib.SC_PEAK_MACS * 127 * 15 // 2  # weights 0..15 in turn, activations 127
    for rounds in (0, 1, 5):
        assert lib.sc_peak_dot(team, LEVELS[isa], rounds) == rounds * round_sum % 2**32


def test_bytes_of_a_step_leave_out_looked_up_rows() -> None:
    model, _ = open_transformer(FILE, threads=1)
    position = model.weights.matrices["position_embd.weight"]
    looked_up = lib.sc_matrix_bytes(position.format, position.rows, position.columns)
    assert model.step_bytes == model.weights_bytes - looked_up


def test_time_in_the_kernels_grows_with_steps() -> None:
    model, _ = open_transformer(FILE, threads=1)
    assert model.native_seconds == 0
    cache = model.new_cache()
    model.forward([1, 2, 3], cache)
    first = model.native_seconds
    model.forward([4], cache)
    assert 0 < first < model.native_seconds


def test_peak_memory_covers_an_allocation() -> None:
    block = np.ones(1 << 24, dtype=np.uint8)
    assert peak_bytes() > block.nbytes
