"""`santacoder serve`: how it starts, what it writes, and how it ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from santacoder.server.settings import SETTINGS, Settings
from tests.support.command_line import fails
from tests.support.needs import needs_trusted_files
from tests.support.paths import FILE
from tests.support.stored_blocks import block_paths
from tests.support.waiting import HANG


@contextmanager
def started(*args: str, warning: str = "", **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run the command, and yield its process and port once it can answer; first it has to print the warning, if any."""
    command = [sys.executable, "-m", "santacoder", "serve", "--port", "0", "--threads", "1", *args]
    env = {**os.environ, "SANTACODER_MODEL": str(FILE), **environment}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=env) as process:
        try:
            assert process.stderr is not None
            if warning:
                assert warning in process.stderr.readline().decode()
            line = process.stderr.readline().decode()
            found = re.fullmatch(rf"santacoder: {FILE.stem} at http://127\.0\.0\.1:(\d+)\n", line)
            assert found, line
            yield process, int(found[1])
        finally:
            process.kill()


def completion(port: int, prompt: list[int]) -> tuple[str, int]:
    """The text after a prompt, and how many of its tokens some cache held."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG)
    connection.request("POST", "/v1/completions", json.dumps({"prompt": prompt, "max_tokens": 5, "seed": 1}))
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer["choices"][0]["text"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def ask(port: int, prompt: str, path: str = "/v1/completions", **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG)
    body = json.dumps({"prompt": prompt, "max_tokens": 3})
    connection.request("POST", path, body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_project(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    with started("--project", str(tmp_path)) as (_, port):
        assert ask(port, "x =") == 200


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_its_life(number: int, status: int) -> None:
    with started("--api-key", "secret-key") as (process, port):
        assert ask(port, "private text", Authorization="Bearer secret-key") == 200
        assert ask(port, "private text", path="/v1/completions?q=private", Authorization="Bearer wrong-key") == 401
        process.send_signal(number)
        assert process.wait(HANG) == status
        assert process.stderr is not None
        log = process.stderr.read().decode()
    first, second = log.splitlines()
    assert re.fullmatch(r"\S+ [0-9a-f]{16} POST /v1/completions 200 \d+ ms \d+/\d+/\d+ tokens (length|stop)", first), (
        log
    )
    assert re.fullmatch(r"\S+ [0-9a-f]{16} POST /v1/completions 401 \d+ ms 0/0/0 tokens rejected", second), log


def test_a_second_signal_ends_it_at_once() -> None:
    with started("--quiet") as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG)
        body = {"prompt": "a", "max_tokens": 100_000, "n": 64, "ignore_eos": True, "stream": True, "temperature": 3}
        connection.request("POST", "/v1/completions", json.dumps(body))
        assert connection.getresponse().status == 200
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert process.wait(HANG) in (-signal.SIGTERM, -signal.SIGINT)
        connection.close()


def test_keys(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("one\n\n  two  \n")
    with started("--api-key-file", str(tmp_path / "keys"), SANTACODER_API_KEY="three") as (_, port):
        for key in ("one", "two", "three"):
            assert ask(port, "a", **{"X-Api-Key": key}) == 200
        assert ask(port, "a") == 401


def test_keys_that_are_empty(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("\n \n")
    assert fails("serve", "--api-key", "", status=2).startswith("--api-key is empty")
    assert "holds no key" in fails("serve", "--api-key-file", str(tmp_path / "keys"), status=2)
    assert "No such file" in fails("serve", "--api-key-file", str(tmp_path / "none"))


def test_a_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    message = fails("serve", "--port", "0", "--model", str(tmp_path / "bad.gguf"))
    assert str(tmp_path / "bad.gguf") in message


def test_a_port_that_is_taken() -> None:
    with started() as (_, port):
        assert fails("serve", "--port", str(port)) == (
            f"cannot listen at 127.0.0.1, port {port}: Address already in use"
        )


def test_other_machines_need_a_key() -> None:
    message = fails("serve", "--host", "0.0.0.0", status=2)
    assert message.startswith("0.0.0.0 can be reached from other machines: set a key")


def test_wrong_values() -> None:
    assert fails("serve", "--max-queue", "-1").startswith("max_queue is -1, but it must be an integer in 0..")
    assert fails("serve", "--top-p", "2") == "top_p is 2.0, but it must be a number in 0..1"
    assert fails("serve", "--port", "70000", status=2).startswith("--port is 70000, but it must be in 0..65535")


PROMPT = list(range(100, 230))


@needs_trusted_files
class TestPrefixCache:
    def test_prompts_outlive_the_server(self, tmp_path: Path) -> None:
        """By default in the user's cache, or in the folder that an option or the variable names."""
        ways: list[tuple[Path, list[str], dict[str, str]]] = [
            (tmp_path / "a" / "prefixes", [], {"SANTACODER_CACHE": str(tmp_path / "a")}),
            (tmp_path / "b", ["--prefix-cache", str(tmp_path / "b"), "--prefix-cache-bytes", "1000000"], {}),
            (tmp_path / "c", [], {"SANTACODER_PREFIX_CACHE": str(tmp_path / "c")}),
        ]
        for folder, arguments, environment in ways:
            found = []
            for _ in range(2):
                with started("--no-packed", *arguments, **environment) as (process, port):
                    found.append(completion(port, PROMPT))
                    process.send_signal(signal.SIGTERM)
                    assert process.wait(HANG) == 0
            assert found == [(found[0][0], 0), (found[0][0], 128)]
            assert len(block_paths(folder)) == 2

    def test_without_it(self, tmp_path: Path) -> None:
        ways: list[tuple[list[str], str]] = [(["--no-prefix-cache"], ""), ([], "0")]
        for arguments, value in ways:
            environment = {"SANTACODER_CACHE": str(tmp_path / "a"), "SANTACODER_PREFIX_CACHE": value}
            with started("--no-packed", *arguments, **environment) as (process, port):
                assert completion(port, PROMPT)[1] == 0
                process.send_signal(signal.SIGTERM)
                assert process.wait(HANG) == 0
        assert not (tmp_path / "a").exists()

    def test_the_usual_folder_that_cannot_be_used(self, tmp_path: Path) -> None:
        """A note says so, and the server runs."""
        (tmp_path / "prefixes").write_bytes(b"")
        with started(SANTACODER_CACHE=str(tmp_path)) as (process, port):
            assert completion(port, PROMPT)[1] == 0
            assert process.stderr is not None
            note = process.stderr.readline().decode()
        usual = str(tmp_path / "prefixes")
        assert note == (
            f"santacoder: prompts are kept in memory only: prefix_cache is True, in {usual!r}, but it is not a folder\n"
        )

    def test_a_folder_that_was_named_and_cannot_be_used(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        path = str(tmp_path / "file")
        told = fails("serve", "--port", "0", "--prefix-cache", path)
        assert told == f"prefix_cache is {path!r}, but it is not a folder"
        for number in ("0", "-5"):
            told = fails("serve", "--port", "0", "--prefix-cache-bytes", number)
            assert told == f"prefix_cache_bytes is {number}, but it must be an integer of 1 or more"


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("santacoder.server.", "starlette", "uvicorn"))]:
        if name != "santacoder.server.settings":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    message = fails("serve", "--port", "0")
    assert "pip install 'santacoder[serve]'" in message
    assert "starlette" in message


def test_every_setting_has_a_flag_or_another_way() -> None:
    without = {name for name, setting in SETTINGS.items() if "help" not in setting.metadata}
    assert without == {"api_keys", "model_file", "host"}
    assert Settings().temperature is None  # then the model's file is asked


@needs_trusted_files
@pytest.mark.parametrize("flags", [(), ("--no-packed",)])
def test_packed_weights(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """They are kept in the cache, unless that is not wanted or not possible; the server starts in any case."""
    with started(*flags, SANTACODER_CACHE=str(tmp_path)):
        pass
    assert len([*tmp_path.glob("packed/*.panels")]) == (not flags)
    (tmp_path / "file").touch()
    warning = "" if flags else f"not shared with other processes: {tmp_path}/file/packed: Not a directory"
    with started(*flags, warning=warning, SANTACODER_CACHE=str(tmp_path / "file")):
        pass
