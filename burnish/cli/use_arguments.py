"""The arguments of the commands that judge a run and use its model."""

from __future__ import annotations

import argparse

from burnish.cli.fields import Command, add_require, count, share, temperature


def evaluate(command: Command) -> None:
    parser = command("evaluate", "judge a run again, or on other rows", "burnish evaluate RUN --data new.csv")
    parser.add_argument("run", metavar="RUN", help="id, unique beginning of an id, or folder")
    parser.add_argument("--data", metavar="F", help="labelled rows to judge on instead of the run's own test rows")
    _judge(parser)
    add_require(parser)


def predict(command: Command) -> None:
    parser = command("predict", "use a model on rows or text", 'burnish predict RUN --text "where is my card?"')
    parser.add_argument("run", metavar="RUN", help="id, unique beginning of an id, or folder")
    parser.add_argument(
        "--min-confidence",
        metavar="P",
        type=share,
        help='mark rows whose label has a lower probability as "unsure"; the label is kept as guess',
    )
    parser.add_argument(
        "--explain", action="store_true", help="say what each word adds to the label's probability (extra `explain`)"
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--text", metavar="TEXT", action="append", help="a text; may be given several times")
    group.add_argument("--data", metavar="F", help="file of rows; without --text and --data, one text a line on stdin")


def chat(command: Command) -> None:
    parser = command("chat", "talk to a tuned language model", "burnish chat RUN --base")
    parser.add_argument("run", metavar="RUN", help="id, unique beginning of an id, or folder")
    parser.add_argument("--base", action="store_true", help="let the base answer beside it")
    parser.add_argument(
        "--text", metavar="TEXT", help="say this and leave (default: lines of stdin, until an empty one)"
    )
    parser.add_argument("--system", metavar="TEXT", help="what the system says first (default: nothing)")
    parser.add_argument(
        "--max-new-tokens", metavar="N", type=count, default=256, help="after which an answer is cut (default: 256)"
    )
    parser.add_argument(
        "--temperature", metavar="T", type=temperature, default=0.0, help="0: the likeliest words (default)"
    )
    parser.add_argument("--seed", metavar="N", type=count, help="of the draws, with --temperature")


def _judge(evaluate: argparse.ArgumentParser) -> None:
    group = evaluate.add_argument_group(
        "answers of a chat run, compared in pairs",
        "Which answer is better, the tuned model's or the arm's? Asked blind; the choices are\n"
        "kept in the run's folder.",
    )
    group.add_argument(
        "--judge",
        metavar="URL|people",
        help="ask a model in both orders (OpenAI-compatible, up to /v1; prompts and answers are sent there), or people "
        "in this terminal",
    )
    group.add_argument("--judge-model", metavar="NAME", help="with a URL: the model, as the endpoint calls it")
    group.add_argument(
        "--key-from",
        metavar="VARIABLE",
        help="with a URL: environment variable with the key (default: OPENAI_API_KEY); without it no key is sent",
    )
    group.add_argument("--rubric", metavar="FILE", help="with a URL: what makes an answer better (default: ours)")
    group.add_argument("--annotator", metavar="NAME", help="with people: who answers (default: me)")
    group.add_argument("--against", metavar="ARM", help="the arm to compare with (default: the strongest)")
