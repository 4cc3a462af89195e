"""`santacoder serve`: serve a model over HTTP."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Container
from typing import TYPE_CHECKING, Any

from santacoder.cli import options
from santacoder.errors import MissingPackageError
from santacoder.server.settings import LOOPBACK, SETTINGS, Settings
from santacoder.sources.packed import can_pack

if TYPE_CHECKING:
    from santacoder.model import SantaCoder

HELP = "serve completions and infilling over HTTP, as OpenAI's and llama.cpp's servers do"
EPILOG = """
Needs pip install 'santacoder[serve]'. The keys of --api-key are visible to other users of the machine; those of
--api-key-file and $SANTACODER_API_KEY are not. On SIGTERM or Ctrl-C, requests that run have --drain seconds to end; a
second signal ends the process at once.
"""
KEY_VARIABLE = "SANTACODER_API_KEY"
_METAVARS = {
    "alias": "NAME",
    "cors_origin": "ORIGIN",
    "allowed_host": "HOST",
    "attribution": "INDEX",
}


def add_arguments(parser: argparse.ArgumentParser, without: Container[str] = ()) -> None:
    """Declare the options, but for the settings `without`, which are off."""
    parser.epilog = EPILOG
    options.add_model(parser)
    options.add_threads(parser)
    if "project" not in without:
        options.add_project(parser)
    if "prefix_cache" not in without:
        options.add_prefix_cache(parser)
    parser.add_argument(
        "--no-packed", dest="packed", action="store_false",
        help="do not keep packed weights in the cache, but hold them in memory that no process shares",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8012, metavar="N", help="the port; 0 takes a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--api-key", action="append", default=[], metavar="KEY",
        help="a key that requests must have; repeatable; other users of this machine can see it",
    )  # fmt: skip
    parser.add_argument("--api-key-file", metavar="FILE", help="a file of such keys, one a line")
    parser.add_argument("--insecure", action="store_true", help="listen elsewhere than on loopback without a key")
    parser.add_argument("--quiet", action="store_true", help="log only what failed")
    group = parser.add_argument_group("limits and defaults")
    for name, setting in SETTINGS.items():
        if "help" in setting.metadata and name in without:
            parser.set_defaults(**{name: False})
        elif "help" in setting.metadata:
            _add_setting(group, name, str(setting.type), setting.default, setting.metadata)


def _add_setting(group: Any, name: str, kind: str, default: Any, known: Any) -> None:
    flag = name.replace("_", "-")
    if kind == "bool":
        group.add_argument(f"--no-{flag}", dest=name, action="store_false", help=f"do not {known['help']}")
        return
    keywords: dict[str, Any] = {"dest": name, "default": default, "metavar": _METAVARS.get(kind, _METAVARS.get(name))}
    help = known["help"]
    if kind.startswith("tuple"):
        keywords |= {"action": "append", "default": []}
    elif "choices" in known:
        keywords |= {"choices": known["choices"], "metavar": None}
    elif kind.startswith(("int", "float")):
        keywords |= {"type": int, "metavar": "N"} if kind == "int" else {"type": float, "metavar": "X"}
    if "(default" not in help and not kind.startswith("tuple"):
        help = f"{help} (default: {default:g})" if kind == "float" else f"{help} (default: {default})"
    group.add_argument(f"--{flag}", help=help, **keywords)


def run(args: argparse.Namespace) -> None:
    """Serve until a signal comes."""
    settings = read_settings(args)
    prefix_cache = options.prefix_cache(args)
    try:
        from santacoder.server.app import create_app
        from santacoder.server.log import write_log
        from santacoder.server.serving import bind, run
        from santacoder.text.tokenizer import PARALLELISM
    except ImportError as error:
        raise MissingPackageError(
            f"the server needs the package {error.name}, which is not installed: pip install 'santacoder[serve]'"
        ) from error
    write_log(args.quiet)
    os.environ.setdefault(PARALLELISM, "false")  # /health and streams go on while a long word is tokenized
    listener = bind(args.host, args.port)

    def load_model() -> SantaCoder:
        from santacoder import load

        path = options.model_path(args)
        app.state.service.file = path
        packed = args.packed and can_pack(args.cache_dir)  # a default must not refuse a system
        model = load(
            path, args.threads, args.context, cache_dir=args.cache_dir, packed=packed, prefix_cache=prefix_cache,
            prefix_cache_bytes=args.prefix_cache_bytes,
        )  # fmt: skip
        options.index_project(model, args)
        return model

    def tell() -> None:
        host, port = listener.getsockname()[:2]
        print(f"santacoder: {app.state.service.name} at {address(host, port)}", file=sys.stderr)
        for note in vars(args).pop("notes", ()):
            print(f"santacoder: {note}", file=sys.stderr)

    app = create_app(load_model, settings)
    with listener:
        server = run(app, listener, tell)
    if server.service.failure is not None:
        raise server.service.failure
    if server.caught == signal.SIGINT:
        raise KeyboardInterrupt


def _keys(args: argparse.Namespace) -> list[str]:
    """Return the keys of all sources.

    Raises:
        UsageError: a source that was named has none.
        OSError: the file of keys cannot be read.
    """
    if not all(args.api_key):
        raise options.UsageError("--api-key is empty")
    keys = [*args.api_key, *filter(None, [os.environ.get(KEY_VARIABLE)])]
    if args.api_key_file is not None:
        lines = [*filter(None, map(str.strip, options.read_text(args.api_key_file).splitlines()))]
        if not lines:
            raise options.UsageError(f"{args.api_key_file} holds no key")
        keys += lines
    return keys


def address(host: str, port: int) -> str:
    """Return the URL of a server."""
    return f"http://{_in_url(host)}:{port}"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def read_settings(args: argparse.Namespace) -> Settings:
    """Return what the server is started with.

    Raises:
        UsageError: it would listen elsewhere than on loopback without a key, or as in `_keys`.
        InvalidRequestError: a value is out of range.
        OSError: the file of keys cannot be read.
    """
    given = {name: getattr(args, name) for name, setting in SETTINGS.items() if "help" in setting.metadata}
    keys = _keys(args)
    if not 0 <= args.port <= 65535:
        raise options.UsageError(f"--port is {args.port}, but it must be in 0..65535")
    if args.host not in LOOPBACK and not keys and not args.insecure:
        raise options.UsageError(
            f"{args.host} can be reached from other machines: set a key with --api-key-file, or add --insecure"
        )
    return Settings(api_keys=(*keys,), host=args.host, **given)
