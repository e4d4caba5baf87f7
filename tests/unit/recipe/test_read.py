"""A recipe is read with every problem at its line, all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import RecipeError
from burnish.method.options import HeadOptions, LoraOptions
from burnish.recipe import read
from burnish.recipe.read import build_recipe, read_recipe, recipe_text
from burnish.recipe.schema import Recipe

Read = Callable[..., Recipe]
Refuse = Callable[..., RecipeError]
SMALL = "data: {train: rows.csv}\n"
METHODS = "head, prompt-tuning, ia3, adapter, lora, qlora, freeze, full"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "recipe.yaml"


@pytest.fixture
def read_text(place: Path) -> Read:
    def read_(text: str | bytes, *overrides: str) -> Recipe:
        place.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_recipe(place, overrides)

    return read_


@pytest.fixture
def refuse(read_text: Read) -> Refuse:
    def refuse_(text: str | bytes, *overrides: str) -> RecipeError:
        with pytest.raises(RecipeError) as caught:
            read_text(text, *overrides)
        assert caught.value.exit_code == 2
        return caught.value

    return refuse_


def test_six_lines_are_enough(read_text: Read) -> None:
    recipe = read_text(
        "task: text-classification\n"
        "model: {base: minilm}\n"
        "data: {train: rows.csv, columns: {text: body, label: intent}}\n"
        "method: {name: lora, rank: 4}\n"
        "training: {epochs: 8, learning_rate: 2e-4, max_steps: null, seed: 7}\n"
        'evaluation: {goals: ["macro-f1 >= 0.90"], minimum_effect: 0.02}\n'
    )
    assert recipe.task == "text-classification"
    assert recipe.data.columns == {"text": "body", "label": "intent"}
    assert recipe.method == LoraOptions(rank=4)
    assert (recipe.training.epochs, recipe.training.max_steps, recipe.training.seed) == (8, None, 7)
    assert recipe.evaluation.goals == ("macro-f1 >= 0.90",)


def test_only_data_is_needed(read_text: Read) -> None:
    recipe = read_text(SMALL)
    assert recipe == Recipe.model_validate({"data": {"train": "rows.csv"}})
    assert (recipe.task, recipe.method) == (None, None)


@pytest.mark.parametrize(
    ("text", "value"), [("2e-5", 2e-5), ("2E-5", 2e-5), ("1.5e-3", 1.5e-3), (".01", 0.01), ("1", 1.0)]
)
def test_exponents_are_numbers(read_text: Read, text: str, value: float) -> None:
    """YAML 1.1 readers take 2e-5 for a word."""
    rate = read_text(f"{SMALL}training: {{learning_rate: {text}}}\n").training.learning_rate
    assert rate == value
    assert type(rate) is float


@pytest.mark.parametrize("word", ["no", "off", "yes", "on", "NO", "n"])
def test_words_stay_words(read_text: Read, word: str) -> None:
    """YAML 1.1 readers take them for true and false."""
    assert read_text(f"data: {{train: {word}}}\n").data.train == word
    assert read_text(f"data: {{train: a, label_map: {{{word}: {word}}}}}\n").data.label_map == {word: word}


def test_a_method_may_be_one_word(read_text: Read) -> None:
    assert read_text(f"{SMALL}method: head\n").method == HeadOptions()


def test_comments_anchors_and_merges_are_yaml(read_text: Read) -> None:
    recipe = read_text(
        "# rows of May\ndata:\n  train: [a.csv, b.csv] # two files\nmodel: {base: &n minilm}\ntask: *n\n"
    )
    assert recipe.data.train_files == ("a.csv", "b.csv")
    assert recipe.task == "minilm"
    merged = read_text("data:\n  train: a.csv\n  label_map: {<<: &m {x: y}, z: w}\n")
    assert merged.data.label_map == {"x": "y", "z": "w"}


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(tmp_path / "absent.yaml")
    assert caught.value.code == "recipe/not-found"
    assert caught.value.where == str(tmp_path / "absent.yaml")
    with pytest.raises(RecipeError) as caught:
        read_recipe(tmp_path)
    assert caught.value.code == "recipe/not-found"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("data: {train: a\nmodel: x\n", 2, "expected"),
        ("data:\n\ttrain: a\n", 2, "cannot start any token"),
        (f"{SMALL}data: {{train: b.csv}}\n", 2, "duplicate key"),
        (f"{SMALL}task: *other\n", 2, "undefined alias"),
        (f"{SMALL}---\n{SMALL}", 2, "another document"),
        ("- train\n", 1, "list of `section: ...`"),
        ("rows.csv\n", 1, "list of `section: ...`"),
        ("", 1, "list of `section: ...`"),
    ],
)
def test_what_is_no_yaml_mapping(refuse: Refuse, place: Path, text: str, line: int, words: str) -> None:
    error = refuse(text)
    assert error.code == "recipe/bad-yaml"
    assert error.where == f"{place}:{line}"
    assert words in error.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"data: {train: \xff.csv}\n", "not UTF-8: byte 14"),
        (b"{a: " * 3_000, "nested too deeply"),
        (b"data: {train: 2001-99-99}\n", "month must be in 1..12"),
        (b"data: {train: !!int many}\n", "invalid literal"),
        (b"data: {train: " + b"9" * 5_000 + b"}\n", "digits"),
        (b'data: {train: "\\ud800"}\n', "surrogate"),
    ],
)
def test_what_cannot_be_read_at_all(refuse: Refuse, place: Path, text: bytes, words: str) -> None:
    error = refuse(text)
    assert (error.code, error.where) == ("recipe/bad-yaml", str(place))
    assert words in error.message or words == "surrogate"
    assert len(str(error)) < 300


def test_a_file_that_is_no_recipe_by_its_size(refuse: Refuse) -> None:
    assert "1,048,576 bytes" in refuse(b"#" * (2**20 + 1)).message


def test_aliases_cannot_blow_up(refuse: Refuse) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdef", "bcdefg", strict=True)
    )
    error = refuse(bomb)
    assert error.code == "recipe/bad-yaml"
    assert "10,000 values" in error.message


def test_tags_build_nothing(read_text: Read, tmp_path: Path) -> None:
    """A tag that would run a command elsewhere is a word here."""
    mark = tmp_path / "mark"
    read_text(f"data: {{train: !!python/object/apply:pathlib.Path.touch [{mark}]}}\n")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (f"{SMALL}training:\n  epoch: 3\n", 3, 'unknown key "training.epoch"; did you mean "epochs"?'),
        (f"{SMALL}trainig: {{}}\n", 2, 'unknown key "trainig"; did you mean "training"?'),
        (f"{SMALL}method:\n  name: lora\n  rnak: 3\n", 4, 'unknown key "method.rnak"; did you mean "rank"?'),
        (f"{SMALL}method: {{name: full, rank: 3}}\n", 2, 'unknown key "method.rank"; known: name'),
        (f"{SMALL}checkpoint:\n  zzz: 1\n", 3, 'unknown key "checkpoint.zzz"; known: choose, every_steps, keep'),
        (f"{SMALL}head: 3\n", 2, f'unknown key "head"; known: {", ".join(sorted(Recipe.model_fields))}'),
        (
            f"{SMALL}method: lorra\n",
            2,
            f"method: its name is one of {METHODS}",
        ),
        (
            f"{SMALL}method: {{rank: 4}}\n",
            2,
            f"method: its name is one of {METHODS}",
        ),
        ("task: text-classification\n", 1, '"data" is needed'),
        ("task: x\ndata:\n  test: a.csv\n", 2, '"data.train" is needed'),
    ],
)
def test_unknown_and_missing_keys(refuse: Refuse, place: Path, text: str, line: int, message: str) -> None:
    error = refuse(text)
    assert error.code == "recipe/invalid"
    assert error.where == f"{place}:{line}"
    assert error.message == message
    assert error.details == ()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (f"{SMALL}training:\n  seed: 1\n  epochs: three\n", 4, ["training.epochs: ", "integer", "'three'"]),
        (f"{SMALL}training: {{epochs: 0}}\n", 2, ["training.epochs: ", "greater than or equal to 1", "(found 0)"]),
        (f"{SMALL}training: {{learning_rate: .nan}}\n", 2, ["training.learning_rate: ", "(found nan)"]),
        (f"{SMALL}training: 5\n", 2, ["training: ", "(found 5)"]),
        (f"{SMALL}training: {{schedule: cosin}}\n", 2, ["training.schedule: ", "'cosine', 'linear' or 'constant'"]),
        ("data:\n  train: {a: 1}\n", 2, ["data.train: ", "valid string"]),
        ("data:\n  train:\n  - a.csv\n  - 7\n", 4, ["data.train.1: ", "valid string", "(found 7)"]),
        ("data:\n  train: []\n", 2, ["data.train: "]),
        (f"{SMALL}method:\n  name: lora\n  rank: many\n", 4, ["method.rank: ", "integer", "'many'"]),
        (f"{SMALL}evaluation: {{goals: [1]}}\n", 2, ["evaluation.goals.0: ", "(found 1)"]),
    ],
)
def test_values_of_the_wrong_kind(refuse: Refuse, place: Path, text: str, line: int, words: list[str]) -> None:
    error = refuse(text)
    assert error.code == "recipe/invalid"
    assert error.where == f"{place}:{line}"
    assert all(word in error.message for word in words), error.message
    assert "\n" not in error.message


def test_all_problems_are_reported_at_once(refuse: Refuse, place: Path) -> None:
    error = refuse("data:\n  trian: rows.csv\ntraining:\n  epochs: three\n  sede: 5\nmethod: lorra\n")
    assert error.message == "5 problems in this recipe"
    assert error.where == str(place)
    lines = [detail.removeprefix(f"{place}:").split(":", 1) for detail in error.details]
    assert sorted(int(line) for line, _ in lines) == [1, 2, 4, 5, 6]
    assert any('did you mean "train"?' in text for _, text in lines)
    assert any('did you mean "seed"?' in text for _, text in lines)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("data:\n  train: a\n  test: b\n  test_ratio: 0.2\n", 4, "data.test_ratio: a test file is given"),
        ("data:\n  train: a\n  validation: b\n  validation_ratio: 0.2\n", 4, "data.validation_ratio: a "),
        (f"{SMALL}method: head\ntraining:\n  epochs: 3\n", 4, "training.epochs: method: head is solved at once"),
        ("task: recommendation\ndata:\n  train: a\n  test: b\n", 4, "data.test: of each user the last choice tests"),
        ("task: recommendation\ndata:\n  train: a\n  balance: weights\n", 4, "data.balance: choices have no classes"),
        *(
            (f"{SMALL}task: {task}\n{section}:\n  {field}\n", 4, f"{section}.{words}")
            for task, section, field, words in (
                ("seq2seq", "evaluation", "forgetting: {probes: shipped}", "forgetting: a seq2seq goes on no text"),
                ("embedding", "training", "keep_ability: {l2_to_start: 1}", "keep_ability: only a chat is kept"),
                ("chat", "training", "keep_ability: {replay: 0.5}", "keep_ability.replay: it needs rows of what"),
                ("chat", "training", "keep_ability: {ewc: 1}", "keep_ability.ewc: it needs rows of what"),
                ("chat", "training", "keep_ability: {rows: a}", "keep_ability.rows: nothing reads them"),
            )
        ),
        (
            f"{SMALL}training: {{keep_ability: {{l2_to_start: 1}}}}\nmethod:\n  name: lora\n  decomposed: true\n",
            5,
            "method.decomposed: the update of DoRA is no matrix",
        ),
        (
            f"{SMALL}method: qlora\ntraining:\n  keep_ability: {{rows: a, ewc: 1}}\n",
            4,
            "training.keep_ability.ewc: weights in four bits have no gradient",
        ),
        (f"{SMALL}task: chat\nexport:\n  to: [onnx]\n", 4, "export.to: onnx does not exist for a chat"),
        (f"{SMALL}method: adapter\ncheckpoint:\n  choose: auto\n", 4, "checkpoint.choose: what this method learned"),
    ],
)
def test_contradictions(refuse: Refuse, place: Path, text: str, line: int, words: str) -> None:
    error = refuse(text)
    assert error.code == "recipe/invalid"
    assert error.where == f"{place}:{line}"
    assert words in error.message


def test_contradictions_are_reported_together(refuse: Refuse, place: Path) -> None:
    error = refuse("data: {train: a, test: b, test_ratio: 0.2}\nmethod: head\ntraining:\n  epochs: 3\n  dropout: 0.5\n")
    assert error.message == "3 problems in this recipe"
    assert [detail.removeprefix(f"{place}:")[:2] for detail in error.details] == ["1:", "4:", "5:"]


def test_what_is_fine_together(read_text: Read) -> None:
    read_text("data: {train: a, test: b}\nmethod: head\ntraining: {seed: 4, max_steps: null}\n")
    read_text(f"{SMALL}training: {{max_steps: 6, evaluate_every_steps: 6}}\n")


@pytest.mark.parametrize(
    ("override", "get", "value"),
    [
        ("training.learning_rate=2e-5", lambda r: r.training.learning_rate, 2e-5),
        ("training.max_steps=null", lambda r: r.training.max_steps, None),
        (" training.epochs = 4", lambda r: r.training.epochs, 4),
        ("method=lora", lambda r: r.method, LoraOptions()),
        ("method=null", lambda r: r.method, None),
        ("method={name: lora, rank: 2}", lambda r: r.method, LoraOptions(rank=2)),
        ("method.name=lora", lambda r: r.method, LoraOptions()),
        ("data.train=x=y.csv", lambda r: r.data.train, "x=y.csv"),
        ("data.columns.text=body", lambda r: r.data.columns, {"text": "body"}),
        ("evaluation.goals=[accuracy >= 0.9]", lambda r: r.evaluation.goals, ("accuracy >= 0.9",)),
        ("data.train='2001-01-01'", lambda r: r.data.train, "2001-01-01"),
    ],
)
def test_any_field_can_be_set(read_text: Read, override: str, get: Callable[[Recipe], Any], value: Any) -> None:
    assert get(read_text(f"{SMALL}training: {{max_steps: 9, epochs: 2}}\n", override)) == value


def test_a_method_named_by_one_word_takes_overrides(read_text: Read) -> None:
    assert read_text(f"{SMALL}method: lora\n", "method.rank=2").method == LoraOptions(rank=2)


def test_later_overrides_win(read_text: Read) -> None:
    assert read_text(SMALL, "training.epochs=2", "training.epochs=3").training.epochs == 3


def test_an_override_can_mend_a_recipe(read_text: Read) -> None:
    assert read_text(f"{SMALL}training: {{epochs: three}}\n", "training.epochs=3").training.epochs == 3


@pytest.mark.parametrize("override", ["epochs", "=3", "training.=3", ".epochs=3", "training..epochs=3", ""])
def test_an_override_of_another_form(refuse: Refuse, override: str) -> None:
    error = refuse(SMALL, override)
    assert (error.code, error.where) == ("recipe/bad-override", "--set")
    assert f'"{override}"' in error.message
    assert "--set training.learning_rate=2e-5" in str(error.hint)


@pytest.mark.parametrize("value", ["[", "{a", "&a [*a]", "!!int x", "2001-99-99", "!!set", "{a: " * 3_000])
def test_an_override_whose_value_is_none(refuse: Refuse, value: str) -> None:
    error = refuse(SMALL, f"training.epochs={value}")
    assert (error.code, error.where) == ("recipe/bad-override", "--set")
    assert len(error.message) < 100


def test_a_problem_of_an_override_is_not_the_files(refuse: Refuse) -> None:
    error = refuse(f"{SMALL}training:\n  epochs: 3\n", "training.epochs=0")
    assert (error.code, error.where) == ("recipe/invalid", "--set")
    assert refuse(SMALL, "training.epoch=3").where == "--set"


def test_places_of_a_tree_without_lines() -> None:
    with pytest.raises(RecipeError) as caught:
        build_recipe({"data": {"train": "a"}, "training": {"epochs": 0}}, source="rows.csv")
    assert caught.value.where == "rows.csv:1"


def test_the_text_of_a_recipe_reads_as_the_same_recipe(read_text: Read) -> None:
    recipe = read_text(f"{SMALL}method: {{name: lora, target_modules: [query]}}\ntraining: {{learning_rate: 2e-5}}\n")
    text = recipe_text(recipe)
    assert read_text(text) == recipe
    assert recipe_text(read_text(text)) == text


@pytest.mark.parametrize("text", ["a\x85b", "a\u2028b", "a\nb", "a\tb", " a ", "no", "1e5", "'\"'", "#"])
def test_odd_text_is_written_as_itself(read_text: Read, text: str) -> None:
    """U+0085 is what an ellipsis of Windows becomes when its encoding is guessed wrong."""
    recipe = build_recipe({"data": {"train": text, "columns": {"text": text}, "label_map": {text: text}}}, source="x")
    assert read_text(recipe_text(recipe)) == recipe


def test_every_field_is_written_out(read_text: Read) -> None:
    text = recipe_text(read_text(SMALL))
    for section, model in Recipe.model_fields.items():
        assert f"{section}:" in text
        for field in getattr(model.annotation, "model_fields", {}):
            assert f"\n  {field}:" in text, field
    assert "method: null" in text


def test_the_limit_of_a_file_is_a_limit_of_bytes() -> None:
    assert read.MAX_BYTES == 2**20
