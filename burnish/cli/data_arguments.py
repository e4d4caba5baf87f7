"""The arguments of the commands that look at data before anything is learned from them, and that make more of them."""

from __future__ import annotations

import argparse

from burnish.cli.fields import Command, add_set, count


def init(command: Command) -> None:
    parser = command("init", "look at the data and write a commented recipe", "burnish init tickets.csv")
    parser.add_argument("data", metavar="DATA", help="CSV, TSV or JSONL file")
    parser.add_argument(
        "--output", metavar="FILE", default="recipe.yaml", help="recipe to write (default: recipe.yaml)"
    )


def check(command: Command) -> None:
    parser = command("check", "look for problems in the data, with file and line", "burnish check tickets.csv")
    parser.add_argument("source", metavar="DATA|RECIPE", help="data file or recipe")
    parser.add_argument("--test", metavar="FILE", help="test rows, checked for leaks against the others")
    parser.add_argument("--task", metavar="T", help="what is to be learned (default: inferred)")
    parser.add_argument("--like", metavar="FILE", help="real inputs: what do they have that the data lacks?")
    parser.add_argument(
        "--group", metavar="COLUMN", action="append", default=[], help="compare the groups of a column; may be repeated"
    )
    parser.add_argument(
        "--deep", action="store_true", help="also look for wrong labels, same meanings and topics, with the base"
    )
    parser.add_argument("--base", metavar="BASE", help="look deep with this base, and at what is too long for it")
    parser.add_argument(
        "--moderator", metavar="RUN|URL", help="ask a classifier of yours, or an endpoint, which texts are unsafe"
    )
    parser.add_argument(
        "--unsafe-label",
        metavar="LABEL",
        action="append",
        default=[],
        help="label of the --moderator RUN that means unsafe; may be repeated",
    )
    parser.add_argument(
        "--show-mask", metavar="N", type=count, default=0, help="show N conversations with what is learned of them"
    )
    parser.add_argument("--html", metavar="FILE", help="also write the findings as a page")
    add_set(parser)


def audit(command: Command) -> None:
    parser = command("audit", "look at labels, one key each, and learn how many are wrong", "burnish audit tickets.csv")
    parser.add_argument("source", metavar="DATA|RECIPE", help="data file or recipe")
    parser.add_argument("--annotator", metavar="NAME", default="me", help="who answers (default: me)")
    parser.add_argument("--file", metavar="FILE", help="where answers are kept (default: one per DATA in BURNISH_HOME)")
    add_set(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--summary", action="store_true", help="ask nothing, say what the answers so far mean")
    what.add_argument("--apply", action="store_true", help="write the corrections for `data.clean.relabel`")
    parser.add_argument(
        "--output", metavar="FILE", default="corrections.jsonl", help="with --apply (default: corrections.jsonl)"
    )


def augment(command: Command) -> None:
    parser = command(
        "augment",
        "paraphrase training rows, or ask questions about documents, through an endpoint you name",
        "burnish augment tickets.csv --endpoint http://localhost:8000/v1 --model NAME",
    )
    parser.add_argument("source", metavar="DATA|RECIPE", help="data file or recipe; only its training rows are sent")
    parser.add_argument("--endpoint", metavar="URL", required=True, help="OpenAI-compatible, up to /v1")
    parser.add_argument("--model", metavar="NAME", required=True, help="as the endpoint calls it")
    parser.add_argument(
        "--key-from",
        metavar="VARIABLE",
        default="OPENAI_API_KEY",
        help="environment variable with the key (default: OPENAI_API_KEY); without it no key is sent",
    )
    parser.add_argument(
        "--copies",
        metavar="N",
        type=count,
        default=2,
        help="versions of a row, or questions about a section (default: 2)",
    )
    parser.add_argument("--rows", metavar="N", type=count, default=200, help="rows to send at most (default: 200)")
    parser.add_argument(
        "--output", metavar="FILE", default="paraphrases.jsonl", help="new file (default: paraphrases.jsonl)"
    )
    add_set(parser)


def datasets(command: Command) -> None:
    parser = command("datasets", "list, show, compare and export data versions", "burnish datasets list")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="all versions, newest first")
    show = actions.add_parser("show", help="where a version comes from, what it holds, who learned from it")
    diff = actions.add_parser("diff", help="rows that came, went, or changed their label")
    export = actions.add_parser("export", help="the rows as JSON Lines, on stdout or in a new file")
    for parser, names in ((listed, ()), (show, ("version",)), (diff, ("version", "other")), (export, ("version",))):
        for name in names:
            parser.add_argument(name, metavar="VERSION", help="id of a data version, or its unique beginning")
        parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="one JSON object on stdout")
    export.add_argument("--output", metavar="FILE", help="a new file (default: stdout)")
    forget = command(
        "forget", "remove a person's rows from every data version", "burnish forget --where user_id=4711 --yes"
    )
    forget.add_argument("--where", metavar="COLUMN=VALUE", required=True, help="which rows; the value as text")
    forget.add_argument("--yes", action="store_true", help="do it; without this they are only counted")
