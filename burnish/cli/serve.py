"""`burnish serve`: the service on this machine, with a worker beside it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from burnish.errors import UsageError

Command = Callable[[str, str, str], argparse.ArgumentParser]
PORT = 8000
SERVER = "burnish.api.server"  # by its name: faces do not import each other
RULES = "burnish.api.front"


def arguments(command: Command) -> None:
    serve = command(
        "serve",
        "serve the OpenAI protocol: files, fine-tuning jobs, models, inference",
        "burnish serve --model models/SmolLM2-135M-Instruct",
    )
    serve.add_argument("--host", metavar="HOST", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    serve.add_argument("--port", metavar="N", type=_port, default=PORT, help=f"port; 0: any free one (default: {PORT})")
    serve.add_argument(
        "--model",
        metavar="FOLDER",
        action="append",
        default=[],
        help="folder of a base to train and serve, under its folder's name or as NAME=FOLDER; again for more",
    )
    serve.add_argument(
        "--alias",
        metavar="NAME=BASE",
        action="append",
        default=[],
        help="another name of a base, e.g. gpt-4o-mini=SmolLM2-135M-Instruct; again for more",
    )
    serve.add_argument(
        "--upstream",
        metavar="NAME=URL",
        action="append",
        default=[],
        help="process outside that computes for a base, e.g. vLLM; its key: $BURNISH_UPSTREAM_KEY; again for more",
    )
    serve.add_argument(
        "--minimum-rows", metavar="N", type=_count, default=10, help="rows that a training file needs (default: 10)"
    )
    serve.add_argument("--no-worker", action="store_true", help="run no jobs; `burnish worker` does, anywhere")
    serve.add_argument(
        "--slot", choices=("cpu", "gpu"), help="what the worker trains on (default: gpu where there is one, else cpu)"
    )
    serve.add_argument("--certfile", metavar="FILE", help="TLS certificate with its chain, PEM")
    serve.add_argument("--keyfile", metavar="FILE", help="its private key, PEM")
    serve.add_argument(
        "--behind-proxy", metavar="CIDR", action="append", default=[], help="network of a proxy that speaks TLS for us"
    )
    serve.add_argument(
        "--name",
        metavar="HOSTNAME",
        action="append",
        default=[],
        help="name that clients call this server by (Host header), besides localhost and addresses; again for more",
    )


def run(options: argparse.Namespace) -> int:
    import importlib

    from burnish.cli.beside import Beside
    from burnish.cli.listening import certificate_of, is_loopback, listening, network_of, url_of
    from burnish.lifecycle.service import open_service

    _require_packages()
    proxies = [network_of(text) for text in options.behind_proxy]
    certificate, key = certificate_of(options.certfile, options.keyfile)
    service = open_service(
        models=options.model,
        aliases=options.alias,
        minimum_rows=options.minimum_rows,
        upstreams=options.upstream,
    )
    _require_safe(service, options.host, tls=certificate is not None, proxies=bool(proxies))
    server, front = importlib.import_module(SERVER), importlib.import_module(RULES)
    names = frozenset({options.host.lower(), *(name.lower() for name in options.name)})
    rules = front.Rules(names=names, proxies=proxies, only_proxies=bool(proxies) and not is_loopback(options.host))
    with listening(options.host, options.port) as listener:
        url = url_of(options.host, listener.getsockname()[1], tls=certificate is not None)
        worker = None if options.no_worker else Beside(_worker_arguments(options))
        hurried = True
        try:
            if worker is not None:
                worker.start()
            hurried = server.run(
                service,
                listener=listener,
                rules=rules,
                open_without_keys=is_loopback(options.host) and not proxies,
                ready=lambda: _say(url, options),
                stopping=worker.ask if worker is not None else lambda: None,
                certfile=certificate,
                keyfile=key,
            )
        finally:
            if worker is not None:
                worker.stop(now=hurried)
    return 0


def _worker_arguments(options: argparse.Namespace) -> list[str]:
    """The worker knows the same bases; it learns from its stdin that this process is gone, however that happens.

    Its trainings leave a core to the server: threads that wait for a core which another process has cost more than they
    win, all the more the smaller the model is.
    """
    from burnish.lifecycle.environment import default_threads
    from burnish.settings import settings

    threads = settings().threads or max(1, default_threads() - 1)
    bases = [word for each in options.model for word in ("--model", each)]
    slot = ["--slot", options.slot] if options.slot else []  # else it looks for itself
    limits = ["--threads", str(threads), "--minimum-rows", str(options.minimum_rows)]
    return ["worker", *bases, *slot, *limits, "--end-with-stdin"]


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f'"{text}" is no port; write a number from 0 to 65535')
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) < 10**9:
        raise argparse.ArgumentTypeError(f'"{text}" is no number from 1')
    return int(text)


def _say(url: str, options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps({"url": url, "base_url": f"{url}/v1"}), flush=True)
        return
    print(f"serving on {url}  (Ctrl-C finishes what has begun, and stops)", file=sys.stderr)
    print(f"  use it with the OpenAI client:  OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY=...", file=sys.stderr, flush=True)


def _require_packages() -> None:
    import importlib.util

    for package in ("fastapi", "uvicorn", "python_multipart", "httpx"):
        if importlib.util.find_spec(package) is None:
            raise UsageError(
                "serve/needs-package",
                f"the package {package.replace('_', '-')} is not installed",
                hint="pip install 'burnish[serve]'",
            )


def _require_safe(service: Any, host: str, *, tls: bool, proxies: bool) -> None:
    """Whatever can be reached from another machine has keys, and nobody on the way reads them."""
    from burnish.cli.listening import is_loopback
    from burnish.registry.keys import any_keys

    if is_loopback(host) and not proxies:
        return
    if not any_keys(service.registry):
        raise UsageError(
            "serve/needs-keys",
            "other machines could reach this server, and it has no keys",
            where=f"--host {host}" if not proxies else "--behind-proxy",
            hint="make one first: burnish keys create --role admin",
        )
    if not tls and not proxies:
        raise UsageError(
            "serve/needs-tls",
            "keys would cross the network in the clear",
            where=f"--host {host}",
            hint="give --certfile and --keyfile, or put a proxy that speaks TLS in front: --behind-proxy CIDR",
        )
