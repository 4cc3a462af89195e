"""Each published layout becomes a GGUF file that computes what the original implementation does."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support import checkpoint_builder as builder
from tests.support import reference
from tests.support.gguf_builder import MERGES, SPECIALS
from tests.support.needs import needs_any_names
from tests.support.paths import DATA, distributed

pytest.importorskip("safetensors")

import santacoder
from santacoder.cli import main
from santacoder.conversion.convert import convert
from santacoder.gguf.reader import GGUFFile
from santacoder.quantize import quantize
from santacoder.quantize.mixes import MIXES
from santacoder.text.tokenizer import FimMode

EXPECTED = DATA / "checkpoint-logits.npz"
TOKENS = builder.tokens()
ROWS = list(builder.STORED)
LIMIT = 1e-9  # mean KL divergence from the original, in units of nats

layouts = pytest.mark.parametrize("layout", builder.LAYOUTS)


def expected(layout: str) -> NDArray[np.float32]:
    """The original's logits of the positions ROWS."""
    with np.load(distributed(EXPECTED)) as arrays:
        rows: NDArray[np.float32] = arrays[layout]
    return rows


def converted(folder: Path, layout: str = "split", type: str = "f32", **options: Any) -> Path:
    out = folder / "m.gguf"
    convert(builder.write_checkpoint(folder / "checkpoint", layout, **options), out, type)
    return out


def exact(path: Path) -> NDArray[np.float64]:
    """The logits of the positions ROWS by an independent forward pass in float64."""
    return reference.forward(*reference.load(path), TOKENS)[ROWS]


@layouts
def test_the_weights_are_the_originals(tmp_path: Path, layout: str) -> None:
    assert reference.mean_kl(expected(layout), exact(converted(tmp_path, layout))) < 1e-12


def test_recommended_sampling_is_written_and_kept(tmp_path: Path) -> None:
    """By `convert` from generation_config.json, whose wrong values are ignored, and by `quantize`."""
    folder = builder.write_checkpoint(tmp_path / "checkpoint", "split")
    values = {"temperature": 0.1, "top_k": 40, "top_p": 2.0, "repetition_penalty": 1, "do_sample": True}
    builder.write_json(folder / "generation_config.json", values)
    whole, small = tmp_path / "f16.gguf", tmp_path / "q8.gguf"
    with pytest.warns(UserWarning, match=r"^generation_config\.json: top_p is 2\.0, but it must be a number in 0\.\.1"):
        convert(folder, whole, "f16")
    quantize(whole, small, "q8_0")
    expected = {"temp": (np.float32(0.1), 6), "top_k": (40, 5), "penalty_repeat": (1.0, 6)}  # FLOAT32, INT32
    for path in (whole, small):
        with GGUFFile.open(path) as file:
            found, kinds = file.metadata, file.metadata.kinds
            keys = [key for key in found if key.startswith("general.sampling.")]
            assert {key.rpartition(".")[2]: (found[key], kinds[key]) for key in keys} == expected
        with santacoder.load(path, threads=1) as model:
            assert model.config.sampling_defaults == {"temperature": 0.1, "top_k": 40, "repetition_penalty": 1.0}


@layouts
def test_the_model_computes_what_the_original_does(tmp_path: Path, layout: str) -> None:
    with santacoder.load(converted(tmp_path, layout), threads=1) as model:
        many, one = model.logits(TOKENS)[ROWS], model.logits(TOKENS[:1])
    assert reference.mean_kl(expected(layout), many) < LIMIT
    assert reference.mean_kl(expected(layout)[:1], one) < LIMIT


def test_one_wrong_detail_is_seen(tmp_path: Path) -> None:
    """Any mistake of a conversion costs far more than this limit."""
    weights, config = reference.load(converted(tmp_path, "linear-mha"))
    right = expected("linear-mha")
    width, size = builder.WIDTH, builder.HEAD_DIM

    def divergence(name: str, change: Callable[[Any], Any]) -> float:
        wrong = {key: change(value) if key.endswith(name) else value for key, value in weights.items()}
        return reference.mean_kl(right, reference.forward(wrong, config, TOKENS)[ROWS])

    assert divergence("attn_output.weight", np.transpose) > 1e-3  # square: its shape tells nothing
    assert divergence("attn_qkv.bias", lambda b: np.roll(b, size)) > 1e-3
    keys_last = [*range(width), *range(2 * width, 3 * width), *range(width, 2 * width)]
    assert divergence("attn_qkv.weight", lambda w: w[keys_last]) > 1e-3
    assert divergence("ffn_norm.weight", lambda w: w * 1.001) > 1e-9


@pytest.mark.parametrize(
    ("type_name", "limit"), [("f16", 1e-5), ("bf16", 1e-3), ("q8_0", 1e-3)]
)  # fmt: skip
def test_types(tmp_path: Path, type_name: str, limit: float) -> None:
    path = converted(tmp_path, type=type_name)
    with GGUFFile.open(path) as file:
        types = {name: info.type_name for name, info in file.tensors.items()}
        assert file.metadata["general.file_type"] == MIXES[type_name].file_type
    matrices = [name for name, kind in types.items() if kind == type_name.upper()]
    assert len(matrices) == 1 + 4 * builder.LAYERS
    assert "token_embd.weight" in matrices
    assert types["position_embd.weight"] == "F32"
    assert {types[name] for name in types if name not in matrices} == {"F32"}
    assert 0 < reference.mean_kl(expected("split"), exact(path)) < limit
    with santacoder.load(path, threads=1) as model:
        assert reference.mean_kl(exact(path), model.logits(TOKENS)[ROWS]) < 1e-3


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_half_precision_checkpoints(tmp_path: Path, kind: str) -> None:
    """Nothing is lost on the way to f32, nor to the type that the checkpoint has."""
    full = builder.weights("linear-mqa")
    half = {
        name: values.astype(np.float16) if kind == "F16" else builder.bfloat16(values) for name, values in full.items()
    }
    widened = {
        name: values.astype(np.float32)
        if values.dtype == np.float16
        else (values.astype(np.uint32) << 16).view(np.float32)
        for name, values in half.items()
    }
    weights, _ = reference.load(converted(tmp_path, "linear-mqa", tensors=half))
    np.testing.assert_array_equal(weights["token_embd.weight"], widened["transformer.wte.weight"])
    np.testing.assert_array_equal(weights["blk.1.ffn_up.weight"], widened["transformer.h.1.mlp.c_fc.weight"])
    convert(tmp_path / "checkpoint", tmp_path / "same.gguf", kind.lower())
    reader = gguf.GGUFReader(tmp_path / "same.gguf")
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    assert tensors["blk.0.attn_qkv.weight"].tobytes() == half["transformer.h.0.attn.c_attn.weight"].tobytes()


def test_too_large_for_f16(tmp_path: Path) -> None:
    tensors = builder.weights("split")
    tensors["transformer.h.1.mlp.c_fc.weight"][3, 4] = 7e4
    with pytest.raises(
        santacoder.ModelFormatError, match=r"^tensor blk\.1\.ffn_up\.weight holds a value that is too large for F16"
    ):
        converted(tmp_path, type="f16", tensors=tensors)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@layouts
@pytest.mark.parametrize("change", ["buffers", "no prefix", "only lm_head", "lm_head too"])
def test_harmless_differences(tmp_path: Path, layout: str, change: str) -> None:
    """Mask buffers, a missing prefix, a tied output matrix stored as well or instead of the embedding."""
    tensors = builder.weights(layout)
    if change == "buffers":
        tensors |= builder.buffers()
    elif change == "no prefix":
        tensors = {name.removeprefix("transformer."): values for name, values in (tensors | builder.buffers()).items()}
    else:
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
        if change == "only lm_head":
            del tensors["transformer.wte.weight"]
    path = converted(tmp_path, layout, tensors=tensors)
    plain = converted(tmp_path / "plain", layout)
    assert weights_digest(path) == weights_digest(plain)


def weights_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with GGUFFile.open(path) as file:
        for info in file.tensors.values():
            digest.update(repr((info.name, info.shape, info.type_name)).encode())
            digest.update(file.data(info).tobytes())
    return digest.hexdigest()


def test_an_untied_output_matrix(tmp_path: Path) -> None:
    tensors = builder.weights("linear-mqa")
    head = builder.noise((builder.VOCABULARY, builder.WIDTH), 7)
    tensors["lm_head.weight"] = head
    for changes in ({}, {"tie_word_embeddings": False}):
        path = converted(tmp_path / str(len(changes)), "linear-mqa", tensors=tensors, changes=changes)
        weights, _ = reference.load(path)
        np.testing.assert_array_equal(weights["output.weight"], head)
        with santacoder.load(path, threads=1) as model:
            assert not model.config.tied_embeddings


def test_no_n_inner_means_four_times_the_width(tmp_path: Path) -> None:
    tensors = builder.weights("split")
    for i in range(builder.LAYERS):
        name = f"transformer.h.{i}.mlp"
        tensors[f"{name}.c_fc.weight"] = builder.noise((builder.WIDTH, 4 * builder.WIDTH), i)
        tensors[f"{name}.c_fc.bias"] = builder.noise((4 * builder.WIDTH,), i)
        tensors[f"{name}.c_proj.weight"] = builder.noise((4 * builder.WIDTH, builder.WIDTH), i)
    path = converted(tmp_path, tensors=tensors, changes={"n_inner": None})
    with GGUFFile.open(path) as file:
        assert file.metadata["starcoder.feed_forward_length"] == 4 * builder.WIDTH


def test_shards(tmp_path: Path) -> None:
    path = converted(tmp_path)
    folder = builder.write_checkpoint(tmp_path / "sharded")
    (folder / "model.safetensors").unlink()
    write_shards(folder, builder.weights("split"))
    convert(folder, tmp_path / "s.gguf", "f32")
    assert weights_digest(tmp_path / "s.gguf") == weights_digest(path)
    with GGUFFile.open(tmp_path / "s.gguf") as file:
        files = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
        assert file.metadata["santacoder.source.files"] == files
        sums = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files]
        assert file.metadata["santacoder.source.sha256"] == sums


def write_shards(folder: Path, tensors: builder.Tensors) -> dict[str, str]:
    """Two files and their index; the index's map."""
    names = list(tensors)
    places: dict[str, str] = {}
    for number, part in ((1, names[::2]), (2, names[1::2])):
        file = f"model-0000{number}-of-00002.safetensors"
        (folder / file).write_bytes(builder.safetensors({name: tensors[name] for name in part}))
        places |= dict.fromkeys(part, file)
    builder.write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})
    return places


def test_pytorch_files(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = converted(tmp_path)
    state = {name: torch.from_numpy(values) for name, values in (builder.weights("split") | builder.buffers()).items()}
    state["lm_head.weight"] = state["transformer.wte.weight"]
    folder = builder.write_checkpoint(tmp_path / "torch")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    convert(folder, tmp_path / "t.gguf", "f32")
    assert weights_digest(tmp_path / "t.gguf") == weights_digest(path)
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)  # before PyTorch 1.6
    convert(folder, tmp_path / "old.gguf", "f32")
    assert weights_digest(tmp_path / "old.gguf") == weights_digest(path)
    torch.save({name: tensor.bfloat16() for name, tensor in state.items()}, folder / "pytorch_model.bin")
    convert(folder, tmp_path / "b.gguf", "bf16")
    half = {name: builder.bfloat16(state[name].bfloat16().float().numpy()) for name in state}
    reader = gguf.GGUFReader(tmp_path / "b.gguf")
    data = next(tensor.data for tensor in reader.tensors if tensor.name == "token_embd.weight")
    assert data.tobytes() == half["transformer.wte.weight"].tobytes()


def test_no_file_named_like_a_folder(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="this names a folder, not a file to write"):
        convert(tmp_path, f"{tmp_path}/new/")
    assert not (tmp_path / "new").exists()


def test_no_pickle_is_run(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    folder = builder.write_checkpoint(tmp_path / "torch")
    (folder / "model.safetensors").unlink()
    torch.save({"transformer.wte.weight": Evil(tmp_path / "owned")}, folder / "pytorch_model.bin")
    with pytest.raises(santacoder.ModelFormatError, match=r"^pytorch_model\.bin: PyTorch's safe loader refuses it"):
        convert(folder, tmp_path / "m.gguf")
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "m.gguf").exists()


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.mkdir, (self.path,)


def test_safetensors_come_first(tmp_path: Path) -> None:
    folder = builder.write_checkpoint(tmp_path / "both")
    (folder / "pytorch_model.bin").write_bytes(b"junk")
    convert(folder, tmp_path / "m.gguf")
    with GGUFFile.open(tmp_path / "m.gguf") as file:
        assert file.metadata["santacoder.source.files"] == ["model.safetensors"]


def test_metadata(tmp_path: Path) -> None:
    path = converted(tmp_path)
    checkpoint = tmp_path / "checkpoint"
    with GGUFFile.open(path) as file:
        metadata: dict[str, Any] = {
            key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in file.metadata.items()
        }
        assert file.tensors.keys() == reference_names()
    assert metadata.pop("tokenizer.huggingface.json") == (checkpoint / "tokenizer.json").read_text()
    tokens, types = metadata.pop("tokenizer.ggml.tokens"), metadata.pop("tokenizer.ggml.token_type")
    assert tokens[262:] == [*SPECIALS, "[PAD267]", "[PAD268]", "[PAD269]", "[PAD270]"]
    assert types == [1] * 262 + [3] * 5 + [5] * 4
    assert metadata.pop("starcoder.attention.layer_norm_epsilon") == pytest.approx(1e-5)
    assert metadata == {
        "general.architecture": "starcoder",
        "general.type": "model",
        "general.name": "checkpoint",
        "general.file_type": 0,
        "general.quantization_version": 2,
        "general.license": "bigcode-openrail-m",
        "starcoder.context_length": 256,
        "starcoder.embedding_length": 64,
        "starcoder.feed_forward_length": 192,
        "starcoder.block_count": 2,
        "starcoder.attention.head_count": 4,
        "starcoder.attention.head_count_kv": 1,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "starcoder",
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.bos_token_id": 262,
        "tokenizer.ggml.eos_token_id": 262,
        "tokenizer.ggml.unknown_token_id": 262,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.fim_pre_token_id": 263,
        "tokenizer.ggml.fim_mid_token_id": 264,
        "tokenizer.ggml.fim_suf_token_id": 265,
        "tokenizer.ggml.fim_pad_token_id": 266,
        "santacoder.converter": f"santacoder {santacoder.__version__}",
        "santacoder.source.files": ["model.safetensors"],
        "santacoder.source.sha256": [hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()],
    }


def reference_names() -> set[str]:
    """The tensors of a model of two layers."""
    parts = ("attn_norm", "attn_qkv", "attn_output", "ffn_norm", "ffn_up", "ffn_down")
    layers = {f"blk.{i}.{part}.{kind}" for i in range(2) for part in parts for kind in ("weight", "bias")}
    return layers | {"token_embd.weight", "position_embd.weight", "output_norm.weight", "output_norm.bias"}


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense: [a, b]\n---\n", "a, b"),
        ("---\nlicense: 3\n---\n", None),
        ("---\n: : [\n---\n", None),
        ("# Card", None),
        ("\udcff", None),
    ],
)
def test_licence(tmp_path: Path, card: str, licence: str | None) -> None:
    folder = builder.write_checkpoint(tmp_path / "c")
    (folder / "README.md").write_text(card, "utf-8", "surrogateescape")
    convert(folder, tmp_path / "m.gguf")
    with GGUFFile.open(tmp_path / "m.gguf") as file:
        assert file.metadata.get("general.license") == licence


@needs_any_names
def test_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff-x"))
    convert(builder.write_checkpoint(folder), tmp_path / "m.gguf")
    with GGUFFile.open(tmp_path / "m.gguf") as file:
        assert file.metadata["general.name"] == "?-x"


def test_the_same_file_twice(tmp_path: Path) -> None:
    first, second = converted(tmp_path), converted(tmp_path / "again")
    assert first.read_bytes() == second.read_bytes()


def test_memory_of_one_tensor(tmp_path: Path) -> None:
    """Of 25 MB in 52 matrices, the largest of 2 MB, never more than a few are held."""
    layers, width = 12, 256
    tensors: builder.Tensors = {}
    shapes = {"wte": (builder.VOCABULARY, width), "wpe": (256, width)}
    for name, shape in shapes.items():
        tensors[f"{name}.weight"] = builder.noise(shape, 1)
    for i in range(layers):
        for name, n_in, n_out in (
            ("attn.c_attn", width, 320),
            ("attn.c_proj", width, width),
            ("mlp.c_fc", width, 1024),
            ("mlp.c_proj", 1024, width),
        ):
            tensors[f"h.{i}.{name}.weight"] = builder.noise((n_in, n_out), i)
            tensors[f"h.{i}.{name}.bias"] = builder.noise((n_out,), i)
        for norm in ("ln_1", "ln_2"):
            tensors |= {f"h.{i}.{norm}.{part}": builder.noise((width,), i) for part in ("weight", "bias")}
    tensors |= {f"ln_f.{part}": builder.noise((width,), 0) for part in ("weight", "bias")}
    changes = {"n_layer": layers, "n_embd": width, "n_head": 8, "n_inner": None}
    folder = builder.write_checkpoint(tmp_path / "c", "fused", tensors=tensors, changes=changes)
    total = (folder / "model.safetensors").stat().st_size
    assert total > 25e6
    del tensors
    convert(folder, tmp_path / "warm.gguf", "f32")  # so that imports are not measured
    tracemalloc.start()
    convert(folder, tmp_path / "m.gguf", "f32")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6  # 1 MB read, transposed and checked in pieces of 1 M values; 1 MB of header


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = builder.write_checkpoint(tmp_path / "c")
    out = tmp_path / "m.gguf"
    arguments = ["convert", str(folder), "--out", str(out), "--type", "f32"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"{out}: {out.stat().st_size} bytes\n"
    assert reference.mean_kl(expected("split"), exact(out)) < 1e-12
    before = out.read_bytes()
    assert main(arguments) == 1
    assert capsys.readouterr().err == f"santacoder: {out}: the file exists; --force (force=True) overwrites it\n"
    assert out.read_bytes() == before
    assert main([*arguments, "--force", "--type", "f16"]) == 0
    assert out.read_bytes() != before
    assert main([*arguments[:-2], "--type", "q3"]) == 2


def test_threads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They change no byte, and are checked before anything is written."""
    folder, files = builder.write_checkpoint(tmp_path / "c"), []
    for threads in ("1", "3"):
        out = tmp_path / threads
        assert main(["convert", str(folder), "--out", str(out), "--type", "q4_k_m", "--threads", threads]) == 0
        files.append(out.read_bytes())
    assert files[0] == files[1]
    capsys.readouterr()
    assert main(["convert", str(folder), "--out", str(tmp_path / "none"), "-t", "0"]) == 1
    message = "threads is 0, but it must be an integer in 1..1024"
    assert capsys.readouterr().err == f"santacoder: {message}\n"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("options", [[], ["--no-fim"]])
def test_infill_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    folder, out = builder.write_checkpoint(tmp_path / "c"), tmp_path / "m.gguf"
    assert main(["convert", str(folder), "--out", str(out), *options]) == 0
    status = main(["infill", "--model", str(out), "--prefix", "a", "--suffix", "b", "-n", "2"])
    assert status == (1 if options else 0)
    assert ("has no fill-in-the-middle tokens" in capsys.readouterr().err) == bool(options)


@pytest.mark.parametrize("mode", ["psm", "spm"])
def test_order_of_infilling_by_command(tmp_path: Path, mode: FimMode) -> None:
    """It goes into the file, stays there when that is quantised, and `infill` takes it."""
    folder, out, small = builder.write_checkpoint(tmp_path / "c"), tmp_path / "m.gguf", tmp_path / "q.gguf"
    assert main(["convert", str(folder), "--out", str(out), "--fim-mode", mode]) == 0
    quantize(out, small, "q8_0")
    with santacoder.load(small, threads=1) as model:
        assert model.tokenizer.fim_mode == mode
        orders: tuple[Literal["auto", "psm", "spm"], ...] = ("auto", "psm", "spm")
        greedy: dict[str, Any] = {"temperature": 0, "max_tokens": 8, "ignore_eos": True, "token_healing": False}
        auto, psm, spm = (model.infill("a", "b", mode=m, **greedy) for m in orders)
    assert psm.tokens != spm.tokens
    assert auto.tokens == (psm if mode == "psm" else spm).tokens


def test_without_safetensors(tmp_path: Path) -> None:
    """Other parts of the package do not need it, and the error names what is missing."""
    folder = builder.write_checkpoint(tmp_path / "c")
    code = (
        "import sys; sys.modules['safetensors'] = None; from santacoder.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "convert", str(folder), "--out", str(tmp_path / "m.gguf")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    message = "model.safetensors needs the package safetensors: install it (pip install 'santacoder[convert]')"
    assert (done.returncode, done.stderr) == (1, f"santacoder: {message}\n")
