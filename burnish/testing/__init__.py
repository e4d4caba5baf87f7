"""Conformance suites: what must hold for every task and method, as functions that raise AssertionError.

`check_task(subject)` and `check_method(subject, method, folder)` run all of it; each check can be called on its own.
"""

from __future__ import annotations

from burnish.testing.method import METHOD_CHECKS, check_method
from burnish.testing.subject import (
    Subject,
    chat_subject_over,
    embedding_subject_over,
    image_subject_over,
    preference_subject_over,
    seq2seq_subject_over,
    subject_over,
    table_subject,
)
from burnish.testing.task import TASK_CHECKS, check_task

__all__ = [
    "METHOD_CHECKS",
    "TASK_CHECKS",
    "Subject",
    "chat_subject_over",
    "check_method",
    "check_task",
    "embedding_subject_over",
    "image_subject_over",
    "preference_subject_over",
    "seq2seq_subject_over",
    "subject_over",
    "table_subject",
]
