"""What is said of each arm that needs no fine-tuning: in a sentence, in a table, and when it is as good as tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arm:
    """The words for an arm.

    Attributes:
        title: inside a sentence.
        what: what it is, a sentence or two.
        instead: what to do where it is as good; {good} says how it compares: as good, nearly as good or better.
        headless: the same where the task has no method `head`.
    """

    title: str
    what: str
    instead: str = "Use it: it needs no fine-tuning and is {good}."
    headless: str | None = None


ARMS: Mapping[str, Arm] = {  # cheapest to run first
    "majority": Arm(
        "always answering the most frequent label",
        "Always the most frequent label of the training rows. Whoever is not above it has learned nothing.",
        "Do not fine-tune on this data: always answering the most frequent label is {good}. Check that the "
        "text holds the answer and that the labels are right.",
    ),
    "mean": Arm(
        "always answering the mean",
        "Always the mean of the training rows, or the shares of their classes: what is known without looking.",
        "Do not fine-tune on this data: always answering the mean is {good}. Check that the rows hold the answer.",
    ),
    "no-answer": Arm(
        "never answering",
        "No answer to any question.",
        "Do not fine-tune on this data: never answering is {good}. Check that the contexts hold the answers.",
    ),
    "length": Arm(
        "going by the length of the answers",
        "The longer answer, or the shorter one: whichever is right more often on the validation rows.",
        "Do not fine-tune: going by the length of the answers is {good}. Mend the pairs: their better "
        "answers differ in length first of all.",
    ),
    "dictionary": Arm(
        "a dictionary of the training tokens",
        "Each token gets the tag it most often has in the training rows. No model at all.",
        "Do not fine-tune: a dictionary of the training tokens with their tags is {good}.",
    ),
    "pixels": Arm(
        "a linear classifier on a few pixels",
        "A linear classifier on 16 x 16 pixels of each image. No pretrained model at all.",
        "Do not fine-tune: a linear classifier on 16 x 16 pixels is {good} and needs no base model.",
    ),
    "bm25": Arm(
        "a search by words (BM25)",
        "A search by words, the rare ones counting most. No model at all.",
        "Do not fine-tune: a search by words (BM25) is {good} and needs no model.",
    ),
    "tf-idf-cosine": Arm(
        "the words that two texts share",
        "By the words that two texts share, rare ones counting more: how alike they are, which sentence answers.",
        "Do not fine-tune: how many rare words two texts share (TF-IDF) is {good} and needs no model.",
    ),
    "tf-idf": Arm(
        "TF-IDF with a linear model",
        "A linear classifier on counts of words and letters. No pretrained model at all.",
        "Do not fine-tune: TF-IDF with a linear model is {good} and needs no GPU and no base model.",
    ),
    "nearest-answer": Arm(
        "the answer of the most similar training row",
        "The answer of the training row whose prompt has the most similar words. No model at all.",
        "Do not fine-tune: the answer of the most similar training row, found by words, is {good}.",
    ),
    "base-similarity": Arm(
        "how alike the texts are to the frozen base",
        "The base model as it comes: how alike its vectors of two texts are, or which sentence answers.",
        "Use the base as it comes: the likeness of its vectors is {good}.",
    ),
    "base-centroid": Arm(
        "the nearest class centre on the frozen base",
        "The base model as it comes; a row gets the class whose mean vector is nearest.",
        "Write `method: head`: the nearest class centre on the frozen base model is {good} already, and a "
        "head trains in seconds.",
        "Leave the base as it is: the nearest class centre on its vectors is {good} already.",
    ),
    "base-probe": Arm(
        "a linear classifier on the frozen base",
        "The base model as it comes, with a linear model on its vectors.",
        "Write `method: head`: a linear classifier on the frozen base model is {good} and trains in seconds.",
        "Leave the base as it is: a linear model on its vectors is {good} and trains in seconds.",
    ),
    "linear": Arm(
        "a linear model of the same columns",
        "Logistic or ridge regression on the same columns.",
        "Do not fine-tune: a linear model of the same columns is {good}.",
    ),
    "trees": Arm(
        "gradient-boosted trees",
        "Gradient-boosted trees (LightGBM) on the same columns, their settings chosen on validation rows.",
        "Do not fine-tune: gradient-boosted trees on the same columns are {good}.",
    ),
    "base": Arm(
        "the base as it comes",
        "The base model as it comes, used in the same way as the tuned one.",
        "Use the base as it comes, which is {good}.",
    ),
    "base-mean": Arm(
        "the base's likelihood per token",
        "The base model as it comes: the answer it finds likelier per token.",
        "Use the base's own likelihood per token, which is {good}.",
    ),
    "base-few-shot": Arm(
        "the base with similar training rows in its prompt",
        "The base model as it comes, with the most similar training rows in its prompt.",
        "Use the base with a few of your rows in its prompt, which is {good}.",
    ),
    "copy": Arm(
        "copying the source",
        "The source itself, unchanged. What stays when nothing is done.",
        "Do not fine-tune: copying the source is {good}.",
    ),
}
TUNED = Arm("the tuned model", "The model of this run, trained on your rows.")


def words_for(arm: str) -> Arm:
    """The words for an arm by its name, or for "tuned"; an arm of somebody else's has its name alone."""
    if arm == "tuned":
        return TUNED
    return ARMS.get(arm) or Arm(arm, "", f"Use {arm}: it needs no fine-tuning and is {{good}}.")
