"""`burnish import-openai`: a job of the hosted fine-tuning service, trained here."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from burnish.errors import UsageError


def arguments(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    parser = command(
        "import-openai",
        "make a recipe of a job of the hosted fine-tuning service",
        "burnish import-openai job.json --data train.jsonl --base models/tiny",
    )
    parser.add_argument("job", metavar="JOB.json", help="the job object, as the API shows it")
    parser.add_argument("--data", metavar="FILE", help="its training file; default: FILE.jsonl beside it, by its id")
    parser.add_argument("--validation", metavar="FILE", help="its validation file")
    parser.add_argument("--base", metavar="BASE", required=True, help="what to start from here: a folder or hub id")
    parser.add_argument("--output", metavar="RECIPE", default="recipe.yaml", help="the recipe to write (recipe.yaml)")


def run(options: argparse.Namespace) -> int:
    from burnish.lifecycle.import_openai import read_job, recipe_of_job, write_job_recipe

    place = Path(options.job)
    job = read_job(place)
    data = Path(options.data) if options.data else place.parent / f"{job.asked.training_file}.jsonl"
    if not data.is_file():
        raise UsageError(
            "import/no-data",
            f"there is no training file {data}",
            where="--data",
            hint="download it before it is gone: client.files.content(job.training_file).write_to_file(...)",
        )
    target = Path(options.output)
    if target.exists():
        raise UsageError("import/exists", "there is a file of this name", where=str(target), hint="name another")
    validation = Path(options.validation) if options.validation else None
    base = str(Path(options.base).resolve()) if Path(options.base).is_dir() else options.base
    tree = recipe_of_job(job, data, base, validation=validation)
    write_job_recipe(tree, target)
    if options.json:
        shown = {"recipe": str(target), "task": tree.get("task"), "training": tree["training"], "notes": job.notes}
        print(json.dumps(shown, ensure_ascii=False))
    else:
        print(target)
        for note in job.notes:
            print(f"  {note}", file=sys.stderr)
        print(f"  instead of {job.model}: {base}; train with: burnish train {target}", file=sys.stderr)
    return 0
