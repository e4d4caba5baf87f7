"""From a name to the model that answers: served names of the project, bases of the operator, stored versions."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select, union

from burnish.engine.precision import choose_device
from burnish.errors import ModelError, RegistryError, ServiceError
from burnish.lifecycle.service import Service
from burnish.model.catalogue import CATALOGUE
from burnish.model.find import find_base
from burnish.model.language import load_language_model
from burnish.model.load import LOADING, Base, load_tokenizer
from burnish.model.options import ModelOptions
from burnish.model.template import find_template
from burnish.registry.database import reading
from burnish.registry.keys import DEFAULT_PROJECT
from burnish.registry.served import find_served, not_found
from burnish.registry.service_tables import JOBS, SERVED
from burnish.serving.batching import Answering, Batcher
from burnish.serving.beside import lies_beside
from burnish.serving.decoding import Decoder
from burnish.serving.language_package import load_packaged_language_model, packaged_template
from burnish.serving.package import DESCRIPTION, base_of
from burnish.serving.pool import Wanted
from burnish.serving.predict import Predictor
from burnish.serving.readers import Cells, Items, Labels, Texts, Vectors
from burnish.serving.recommend import Recommender
from burnish.serving.relayed import HELD_BYTES, Model, Relayed, RelayedVectors
from burnish.serving.speaking import Reader, Speaker
from burnish.serving.table_predict import TablePredictor
from burnish.serving.turns import Turns
from burnish.serving.upstream import Upstream
from burnish.serving.writer import Writer
from burnish.storage.durable import require_undamaged
from burnish.storage.run_folder import RunFolder
from burnish.task.build import WRITING
from burnish.task.embedding import Embedding
from burnish.task.mask import Masker
from burnish.task.recommendation import Recommendation
from burnish.task.seq2seq import Seq2Seq
from burnish.task.tabular import Tabular

VECTOR, LANGUAGE = "embedding", "language model"  # what a base that was not tuned can do
NO_RUNS = Path("/nonexistent")  # earlier runs of a person are no bases of the service
WEIGHT_BYTES = 4
_INSPECTED: dict[str, Base] = {}  # by place; there are as many as the operator named and the catalogue has


@dataclass(frozen=True, slots=True)
class Found:
    """What a name means.

    Attributes:
        key: the same for the same model only.
        task: that it was tuned for; VECTOR or LANGUAGE for a base.
        folder: gives the tuned model's verified folder; None for a base.
    """

    name: str
    key: str
    task: str
    folder: Callable[[], Path] | None = None
    base: Base | None = None

    @property
    def speaks(self) -> bool:
        """Whether it writes token by token."""
        return self.task == LANGUAGE or (self.task in WRITING and self.task != Seq2Seq.name)

    @property
    def embeds(self) -> bool:
        return self.task in (VECTOR, Embedding.name)


def find_model(service: Service, name: str, project: str) -> Found:
    """What a name means to a project.

    Raises:
        ServiceError: [models/not-found], 404, also for what belongs to another project.
    """
    place = _place(service, name)
    if place is not None:
        base = _inspected(place)
        return Found(name, _base_key(base), LANGUAGE if base.generates else VECTOR, base=base)
    try:
        served = find_served(service.registry, name, project)
    except ServiceError:
        return _stored(service, name, project)
    return Found(name, f"version:{served.version}", served.task, _final_of(service, served.version))


def takes_long(service: Service, name: str) -> bool:
    """Whether finding what a name means reads all weights of a base first."""
    place = _place(service, name)
    return place is not None and place not in _INSPECTED


def _place(service: Service, name: str) -> str | None:
    """Where the base lies that a name means; None for a name that means no base."""
    known = service.aliases.get(name, name)
    return str(service.bases[known]) if known in service.bases else known if known in CATALOGUE else None


def _stored(service: Service, name: str, project: str) -> Found:
    """A version that was stored by hand, NAME:NUMBER or NAME:ALIAS; it belongs to who runs the server.

    What a job made belongs to the project of the job, also before it is served and when it never is.
    """
    if project != DEFAULT_PROJECT or ":" not in name:
        raise not_found(name)
    try:
        version = service.registry.find(name, ("model", "checkpoint"))
    except RegistryError as error:
        raise not_found(name) from error
    with reading(service.registry.engine) as connection:
        served = select(SERVED.c.project).where(SERVED.c.version == version.id)
        made = select(JOBS.c.project).where(JOBS.c.id.in_(Path(version.place or "").parts))  # a job's folder has its id
        owners = connection.scalars(union(served, made)).all()
    if any(owner != project for owner in owners) or not version.search.get("task"):
        raise not_found(name)
    return Found(name, f"version:{version.id}", str(version.search["task"]), _final_of(service, version.id))


def _final_of(service: Service, version: str) -> Callable[[], Path]:
    def final() -> Path:
        return RunFolder(service.registry.folder(service.registry.get(version))).final

    return final


def _inspected(place: str) -> Base:
    """A base of the operator; its weights are hashed once."""
    if place in _INSPECTED:
        return _INSPECTED[place]
    with LOADING:
        base = find_base(ModelOptions(base=place), recipe_folder=Path(), runs=NO_RUNS)
    if base.has_decoder:
        raise ModelError(
            "model/encoder-decoder",
            f'"{base.name}" is an encoder with a decoder: it answers when it has been tuned',
            hint="tune it first",
        )
    _INSPECTED[place] = base
    return base


def _base_key(base: Base) -> str:
    return f"base:{base.sha256}:{base.folder}"


def upstreams_of(service: Service) -> dict[str, Upstream]:
    """Where a base lies -> the process outside that computes for it."""
    salt = secrets.token_bytes(32)
    found = {_place(service, name): Upstream(endpoint, salt) for name, endpoint in service.upstreams.items()}
    return {place: upstream for place, upstream in found.items() if place is not None}


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads what was found.

    Attributes:
        limit: requests that may wait for a model.
        upstreams: where a base lies -> the process outside that computes for it and for adapters on it.
    """

    turns: Turns
    limit: int
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)

    def wanted(self, found: Found, *, vectors: bool = False) -> Wanted[Model]:
        """What the pool needs to know to load a model. Reads its description; for any thread but the loop's.

        Args:
            vectors: the vectors are wanted, not what the task makes of them.
        """
        if found.base is not None:
            return self._base(found.base)
        assert found.folder is not None
        final = found.folder()
        about = json.loads((final / DESCRIPTION).read_text(encoding="utf-8"))
        size = WEIGHT_BYTES * int(about.get("base", {}).get("parameters", 0)) or _weights_on_disk(final)
        if not found.speaks:
            key = f"{found.key}:vectors" if vectors else found.key
            return Wanted(key, size, lambda _: _alone(lambda: self._reader(final, found.task, about, vectors=vectors)))
        if about["method"] == "lora" and not about["base"].get("quantization") and lies_beside(final, "lm_head"):
            base = base_of(final, about, NO_RUNS)
            under = base.under or base
            upstream = self._upstream_of(under)
            return Wanted(
                found.key,
                HELD_BYTES if upstream else _weights_on_disk(final),
                (lambda beside: self._relayed_adapter(beside, final, about, found.key))
                if upstream
                else (lambda beside: _alone(lambda: self._adapter(beside, final, about, found.key))),
                self._base(under),
            )
        return Wanted(found.key, size, lambda _: _alone(lambda: self._speaker(final)))

    def _base(self, base: Base) -> Wanted[Model]:
        upstream = self._upstream_of(base)
        if upstream is not None:
            return Wanted(_base_key(base), HELD_BYTES, lambda _: self._relayed_base(base, upstream))
        load = self._base_speaker if base.generates else self._base_vectors
        return Wanted(_base_key(base), WEIGHT_BYTES * base.parameters, lambda _: _alone(lambda: load(base)))

    def _upstream_of(self, base: Base) -> Upstream | None:
        """What computes for a base, and for adapters that were trained beside the same weights."""
        return next((each for place, each in self.upstreams.items() if _inspected(place).sha256 == base.sha256), None)

    def _relayed_base(self, base: Base, upstream: Upstream) -> Model:
        most = upstream.serves().get("max_model_len")
        tokenizer = load_tokenizer(base.folder)
        if not base.generates:
            return RelayedVectors(upstream, tokenizer, base.max_length, self.limit)
        masker = _masker_of_base(base, tokenizer)
        ends = _ends_of_base(base, tokenizer, masker)
        context = min(base.context, most) if isinstance(most, int) and most > 0 else base.context
        words = _words_of(base)
        return Relayed(upstream, upstream.name, tokenizer, masker, ends, context, words, self.limit)

    def _relayed_adapter(self, beside: Model | None, final: Path, about: Any, key: str) -> Model:
        assert isinstance(beside, Relayed)
        require_undamaged(final)
        tokenizer = load_tokenizer(final)
        masker = Masker(packaged_template(final, about), tokenizer)
        ends, context = frozenset(about["ends"]), min(beside.context, int(about["max_length"]))
        called, folder = adapter_called(key), str(final.resolve())
        made = Relayed(
            beside.upstream, called, tokenizer, masker, ends, context, beside.words, self.limit, folder=folder
        )
        made.load()
        return made

    def _base_vectors(self, base: Base) -> Model:
        return Reader(Batcher(Vectors.of_base(base), limit=self.limit), self.turns)

    def _base_speaker(self, base: Base) -> Model:
        tokenizer = load_tokenizer(base.folder)
        model = load_language_model(base).to(choose_device()).eval()
        masker = _masker_of_base(base, tokenizer)
        decoder = self._decoder(model, tokenizer)
        return Speaker(decoder, self.turns, tokenizer, masker, _ends_of_base(base, tokenizer, masker), base.context)

    def _speaker(self, final: Path) -> Model:
        package = load_packaged_language_model(final, runs=NO_RUNS)
        tokenizer = load_tokenizer(final)
        decoder = self._decoder(package.model.to(choose_device()).eval(), tokenizer)
        ends, context = frozenset(package.description["ends"]), int(package.description["max_length"])
        return Speaker(decoder, self.turns, tokenizer, Masker(package.template, tokenizer), ends, context)

    def _adapter(self, beside: Model | None, final: Path, about: Any, key: str) -> Model:
        assert isinstance(beside, Speaker)
        require_undamaged(final)
        tokenizer = load_tokenizer(final)
        masker = Masker(packaged_template(final, about), tokenizer)
        decoder = beside.decoder
        size = self.turns.call(lambda: decoder.add_adapter(key, final)).result()
        ends, context = frozenset(about["ends"]), int(about["max_length"])
        return Speaker(decoder, self.turns, tokenizer, masker, ends, context, key, size)

    def _decoder(self, model: Any, tokenizer: Any) -> Decoder:
        """Opened between two passes: it computes a few tokens to compare."""
        return self.turns.call(lambda: Decoder(model, tokenizer, limit=self.limit)).result()

    def _reader(self, final: Path, task: str, about: Any, *, vectors: bool) -> Model:
        made: Answering
        if task == Tabular.name:
            made = Cells(TablePredictor(final))
        elif task == Recommendation.name:
            made = Items(Recommender(final, runs=NO_RUNS))
        elif task == Seq2Seq.name:
            made = Texts(Writer.of_run(final, runs=NO_RUNS))
        else:
            predictor = Predictor(final, runs=NO_RUNS)
            made = Vectors.of_run(predictor, int(about["base"]["width"])) if vectors else Labels(predictor)
        return Reader(Batcher(made, limit=self.limit), self.turns)


def adapter_called(key: str) -> str:
    """What an adapter is called in a process outside; the same for the same weights only, so no name of a client."""
    return f"burnish-{key.removeprefix('version:')}"


def _words_of(base: Base) -> int:
    """Tokens that its files say it has rows for."""
    about = json.loads((base.folder / "config.json").read_text(encoding="utf-8"))
    return int(about.get("vocab_size") or about["text_config"]["vocab_size"])


def _alone(load: Callable[[], Model]) -> Model:
    with LOADING:
        return load()


def _masker_of_base(base: Base, tokenizer: Any) -> Masker | None:
    try:
        return Masker(find_template(base.folder, None), tokenizer)
    except ModelError as error:
        if error.code != "model/no-template":
            raise
        return None


def _ends_of_base(base: Base, tokenizer: Any, masker: Masker | None) -> frozenset[int]:
    """What its files say that ends an answer."""
    found: set[int] = set()
    for name in ("config.json", "generation_config.json"):
        path = base.folder / name
        value = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
        found.update(each for each in (value if isinstance(value, list) else [value]) if isinstance(each, int))
    if masker is not None:
        end = tokenizer.token_to_id(masker.template.tokens.get("eos_token", ""))
        found |= {end} if end is not None else set()
    return frozenset(found)


def _weights_on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
