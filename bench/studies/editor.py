"""How soon does an editor show a suggestion after a key? Vim with llama.vim, typing in a terminal.

    pip install pyte
    python bench/studies/editor.py MODEL --plugin LLAMA_VIM_FOLDER --tokens 1500

The text is the beginning of a module of the standard library. Two lines in its middle are taken out and typed again,
and after each key the script waits until a suggestion shows. The first one needs the whole text read. A later key is
either answered by the plugin, whose last suggestion went on with that key, or asks the server; a relay between the two
says which. The times contain the editor, curl and the relay, some milliseconds together.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import http.client
import importlib
import json
import os
import pty
import re
import select
import shutil
import signal
import statistics
import struct
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder of bench and tests

import santacoder
from bench.studies.server_clients import serving

ROWS, COLUMNS = 50, 140
PATIENCE = 5.0  # seconds until a key counts as one without a suggestion
READING = 60.0  # seconds until the first suggestion, for which the whole text is read
HINT = "ff772f"  # the color of suggestions in llama.vim
SETTINGS = """\
set nocompatible noswapfile nobackup shortmess+=IF noshowmode laststatus=0 noruler termguicolors t_RV= t_RS= t_RB= t_RF=
set runtimepath^={plugin}
let g:llama_config = {{'endpoint_fim': '{url}/infill', 'show_info': 0, 'ring_n_chunks': 0}}
"""


class Relay(ThreadingHTTPServer):
    """Passes requests on to the server on `port`, and keeps the line that each asked about."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Relayed)
        self.target = port
        self.lines: list[str] = []


class Relayed(BaseHTTPRequestHandler):
    """One request."""

    server: Relay

    def do_POST(self) -> None:
        """Pass it on."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.lines.append(json.loads(body)["prompt"])
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target)
        connection.request("POST", self.path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


class Terminal:
    """An editor in a terminal."""

    def __init__(self, command: list[str], folder: Path) -> None:
        pyte = importlib.import_module("pyte")
        self.screen: Any = pyte.Screen(COLUMNS, ROWS)
        self._stream: Any = pyte.ByteStream(self.screen)
        self.process, self._terminal = pty.fork()
        if not self.process:
            os.chdir(folder)
            os.environ.update(
                TERM="xterm-256color", COLORTERM="truecolor", HOME=str(folder), XDG_STATE_HOME=str(folder)
            )
            os.execvp(command[0], command)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.kill(self.process, signal.SIGWINCH)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._terminal, keys.encode())

    def wait(self, seconds: float, condition: Callable[[], bool] = lambda: False) -> bool:
        """Show what the editor writes until the condition holds, and return whether it did in time."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            if select.select([self._terminal], [], [], min(left, 0.002))[0]:
                data = os.read(self._terminal, 1 << 16)
                # Questions to the terminal, which pyte would print.
                self._stream.feed(re.sub(rb"\x1bP.*?\x1b\\|\x1b\[[>?=][0-9;%]*m", b"", data, flags=re.DOTALL))
                if condition():
                    return True
        return False

    def hint(self) -> str:
        """Return the suggestion that is shown, or ""."""
        rows = (self.screen.buffer[y] for y in range(ROWS))
        lines = ("".join(row[x].data for x in range(COLUMNS) if row[x].fg == HINT).rstrip() for row in rows)
        return "\n".join(line for line in lines if line)

    def shows(self, text: str) -> bool:
        """Return whether a line begins with a text, apart from its indentation."""
        return any(line.lstrip().startswith(text.strip()) for line in self.screen.display)

    def close(self) -> None:
        """End the editor."""
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)


def cut_text(model: santacoder.SantaCoder, tokens: int) -> tuple[list[str], list[str], list[str]]:
    """Return the lines before the gap, two lines to type, and the lines after, `tokens` tokens or a little less."""
    lines, count = list[str](), 0
    for line in Path(argparse.__file__).read_text(encoding="utf-8").splitlines()[100:]:
        count += len(model.tokenizer.encode(line + "\n"))
        if count > tokens:
            break
        lines.append(line)
    middle = next(
        i for i in range(len(lines) // 2, len(lines)) if len(lines[i].strip()) > 20 < len(lines[i + 1].strip())
    )
    return lines[:middle], lines[middle : middle + 2], lines[middle + 2 :]


def suggests(terminal: Terminal, line: str, old: str) -> bool:
    """Return whether a suggestion other than the old one stands behind a line."""
    return terminal.hint() not in ("", old) and terminal.shows(line)


def press_keys(terminal: Terminal, relay: Relay, text: str, pause: float) -> dict[str, list[float]]:
    """Type a text, and return the milliseconds to each suggestion by its source, and the waits in vain."""
    times: dict[str, list[float]] = {"first": [], "server": [], "plugin": [], "nobody": []}
    typed = ""
    for key in text:
        typed = (typed + key).rsplit("\n", 1)[-1]
        shown, asked, line = terminal.hint(), len(relay.lines), typed
        start = time.perf_counter()
        terminal.type("\r" if key == "\n" else key)
        patience = PATIENCE if times["first"] else READING
        came = terminal.wait(patience, partial(suggests, terminal, line, shown))
        spent = 1000 * (time.perf_counter() - start)
        kind = "server" if any(each.strip() == line.strip() for each in relay.lines[asked:]) else "plugin"
        times[("first" if not times["first"] else kind) if came else "nobody"].append(spent)
        terminal.wait(pause)
    return times


def main() -> None:
    """Measure, and print a line for each kind of key."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--plugin", required=True, type=Path, help="a clone of llama.vim")
    parser.add_argument("--editor", default="vim", help="vim or nvim (default: vim)")
    parser.add_argument("--tokens", type=int, default=1500, help="of the file (default: 1500)")
    parser.add_argument("--keys", type=int, help="typed at most (default: two lines)")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds after a suggestion shows (default: 0.2)")
    args = parser.parse_args()
    if shutil.which(args.editor) is None:
        raise SystemExit(f"the editor {args.editor} is not there")
    with santacoder.load(args.model) as model:
        before, typed, after = cut_text(model, args.tokens)
        tokens = len(model.tokenizer.encode("\n".join([*before, *after])))
    text = "\n".join(typed)[: args.keys]
    with tempfile.TemporaryDirectory() as name, serving(args.model) as served, Relay(served.port) as relay:
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        folder = Path(name)
        url = f"http://127.0.0.1:{relay.server_port}"
        (folder / "vimrc").write_text(SETTINGS.format(plugin=args.plugin.resolve(), url=url), encoding="utf-8")
        (folder / "text.py").write_text("\n".join([*before, "", *after]), encoding="utf-8")
        terminal = Terminal([args.editor, "-n", "-u", str(folder / "vimrc"), "text.py"], folder)
        try:
            terminal.wait(1.5)
            terminal.type(f"\r{len(before) + 1}Gzti")
            terminal.wait(0.5)
            times = press_keys(terminal, relay, text, args.pause)
        finally:
            terminal.close()
            relay.shutdown()
    print(f"{args.editor}, a file of {tokens} tokens, {len(text)} keys; milliseconds from key to suggestion")
    for kind, found in times.items():
        if found:
            tenth = sorted(found)[int(0.9 * len(found))]
            print(f"{kind:>7}: {len(found):3} keys, median {statistics.median(found):.0f}, 9 of 10 below {tenth:.0f}")


if __name__ == "__main__":
    main()
