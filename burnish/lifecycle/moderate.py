"""Who says what is unsafe: a classifier of burnish's, or an endpoint for moderation."""

from __future__ import annotations

from collections.abc import Sequence

from burnish.data.doctor.unsafe import Moderate
from burnish.errors import DataReadError, UsageError, nearest
from burnish.lifecycle.endpoints import KEY, named_endpoint
from burnish.lifecycle.runs import load


def moderator(
    name: str, unsafe_labels: Sequence[str], *, options: tuple[str, str] = ("--moderator", "--unsafe-label")
) -> Moderate:
    """What judges texts: the run called `name`, or the endpoint at this address.

    Args:
        unsafe_labels: labels of the run that mean unsafe; an endpoint has categories of its own.
        options: what named the two, for messages.

    Raises:
        UsageError: [data/bad-endpoint]; [cli/unsafe-labels] when a run is named without labels, or with labels that it
            does not have.
        DataReadError: [data/offline] when the settings forbid the network.
    """
    if "://" in name:
        return _endpoint(name, options[0])
    run = load(name)
    run.require_model()
    known = run.evaluation.get("labels", [])
    unknown = [label for label in unsafe_labels if label not in known]
    if unknown or not unsafe_labels:
        close = nearest(unknown[0], known) if unknown else None
        raise UsageError(
            "cli/unsafe-labels",
            f'"{unknown[0]}" is no label of this run' if unknown else "which labels of the run mean unsafe?",
            where=options[1],
            known=list(known)[:20],
            hint=f'did you mean "{close}"?' if close else f"name one or several: {options[1]} toxic",
        )
    bad = set(unsafe_labels)

    def judge(texts: Sequence[str]) -> list[list[str]]:
        readable = [text if text.strip() else "." for text in texts]
        return [[str(p["label"])] if p["label"] in bad else [] for p in run.predict(readable)]

    return judge


def _endpoint(url: str, option: str) -> Moderate:
    endpoint = named_endpoint(url, option=option)

    def judge(texts: Sequence[str]) -> list[list[str]]:
        try:
            return endpoint.moderate(texts)
        except (OSError, ValueError) as error:
            raise DataReadError(
                "data/endpoint-failed",
                f"the endpoint does not judge: {error}",
                where=url,
                hint=f"check the address up to /v1, and the key in {KEY}",
            ) from error

    return judge
