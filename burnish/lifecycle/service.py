"""What the server and its workers share: the registry, the home, and the bases that may be trained and served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from burnish.data.endpoint import Endpoint
from burnish.errors import ModelError, UsageError, excerpt
from burnish.lifecycle.endpoints import named_endpoint
from burnish.model.catalogue import CATALOGUE
from burnish.model.intake import PICKLES, inspect_model_folder
from burnish.model.template import RefusedConversationError, find_template
from burnish.registry.store import Registry, open_registry
from burnish.settings import expanded, settings
from burnish.storage.durable import make_folder

UPSTREAM_KEY = "BURNISH_UPSTREAM_KEY"
PRIVATE = 0o700  # nobody but the owner of the process reads uploads, jobs and logs


@dataclass(frozen=True, slots=True)
class Service:
    """One service: any number of servers and workers on one registry."""

    registry: Registry
    home: Path
    aliases: Mapping[str, str] = field(default_factory=dict)  # "gpt-4o-mini" -> a base; only what the operator says
    bases: Mapping[str, Path] = field(default_factory=dict)  # name -> folder that may be trained and served
    minimum_rows: int = 10  # of a training file
    upstreams: Mapping[str, Endpoint] = field(default_factory=dict)  # base -> a process outside that computes for it

    @property
    def folder(self) -> Path:
        """Jobs, incoming files and the log."""
        return self.home / "service"


def open_service(
    *,
    home: Path | None = None,
    models: Iterable[str] = (),
    aliases: Iterable[str] = (),
    minimum_rows: int = 10,
    upstreams: Iterable[str] = (),
) -> Service:
    """The service that the settings describe.

    Args:
        home: another home than the settings' own.
        models: folders of bases, each served under the name of its folder, or "NAME=FOLDER".
        aliases: "NAME=BASE" each; the base is one of the models, of the catalogue, or a tuned model.
        upstreams: "NAME=URL" each; the base of that name is computed by the process at the URL, in which it is called
            so. Its key is read from $BURNISH_UPSTREAM_KEY.

    Raises:
        UsageError: [serve/no-model], [serve/same-name], [serve/bad-alias], [serve/bad-upstream],
            [data/bad-endpoint].
        DataReadError: [data/offline] for an upstream, when the settings forbid the network.
        ModelError: those of the intake for a folder that no library may open; [model/bad-template].
    """
    place = home if home is not None else settings().expanded_home()
    make_folder(place / "service")
    (place / "service").chmod(PRIVATE)
    bases = _bases(models)
    outside = _upstreams(upstreams, bases)
    return Service(open_registry(home), place, _aliases(aliases, bases), bases, minimum_rows, outside)


def _bases(models: Iterable[str]) -> dict[str, Path]:
    bases: dict[str, Path] = {}
    for model in models:
        name, separator, rest = model.partition("=")
        named = bool(separator) and not expanded(model).is_dir()
        folder = expanded(rest if named else model)
        if not folder.is_dir():
            raise UsageError(
                "serve/no-model", f'there is no folder "{folder}"', where="--model", hint="name the folder of a base"
            )
        known_as = name if named else folder.resolve().name
        if bases.get(known_as, folder) != folder:
            raise UsageError(
                "serve/same-name",
                f'two folders would be served as "{known_as}"',
                where="--model",
                hint=f"give one another name: --model other={folder}",
            )
        _require_harmless(folder.resolve())
        bases[known_as] = folder.resolve()
    return bases


def _require_harmless(folder: Path) -> None:
    """A server that could open a folder only to refuse it says so before it takes requests.

    Raises:
        ModelError: those of the intake; [model/bad-template] for a template that breaks or exceeds its limits.
    """
    weights = any(path.suffix in (".safetensors", *PICKLES) for path in folder.iterdir())  # else they may be drawn
    inspect_model_folder(folder, weights_needed=weights)
    try:
        template = find_template(folder, None)
    except ModelError as error:
        if error.code == "model/no-template":  # it is not for conversations, or takes one of ours
            return
        raise
    try:
        template.render([{"role": "user", "content": "?"}], add_generation_prompt=True)
    except RefusedConversationError:
        return
    except ModelError as error:
        raise ModelError(error.code, error.message, where=str(folder), hint=error.hint) from None


def _aliases(given: Iterable[str], bases: Mapping[str, Path]) -> dict[str, str]:
    aliases: dict[str, str] = {}
    for each in given:
        name, separator, base = each.partition("=")
        if not separator or not name.strip() or not base.strip():
            raise UsageError(
                "serve/bad-alias",
                f'"{each}" is not NAME=BASE',
                where="--alias",
                hint="e.g. --alias gpt-4o-mini=SmolLM2-135M-Instruct",
            )
        known = [*bases, *CATALOGUE]
        if base.strip() not in known and ":" not in base:  # with a colon it is a model that may be tuned later
            raise UsageError(
                "serve/bad-alias",
                f'"{base.strip()}" is no base that is served',
                where="--alias",
                known=known,
                hint=f"serve its folder as well: --model {base.strip()}=FOLDER",
            )
        aliases[name.strip()] = base.strip()
    return aliases


def _upstreams(given: Iterable[str], bases: Mapping[str, Path]) -> dict[str, Endpoint]:
    upstreams: dict[str, Endpoint] = {}
    for each in given:
        name, separator, url = each.partition("=")
        known = [*bases, *CATALOGUE]
        if not separator or name not in known or name in upstreams:
            raise UsageError(
                "serve/bad-upstream",
                f'"{excerpt(name)}" is no base that is served, or has two upstreams',
                where="--upstream",
                known=known,
                hint="e.g. --model NAME=FOLDER --upstream NAME=http://127.0.0.1:9000/v1",
            )
        endpoint = upstreams[name] = named_endpoint(url, name, option=f"--upstream {name}", key_variable=UPSTREAM_KEY)
        parts = urlsplit(endpoint.url)
        if parts.username is not None or parts.query or parts.fragment:
            raise UsageError(
                "serve/bad-upstream",
                "the address of an upstream has no user, password, query or fragment",
                where="--upstream",
                hint=f"its key belongs into ${UPSTREAM_KEY}",
            )
    return upstreams
