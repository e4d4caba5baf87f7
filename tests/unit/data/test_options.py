from __future__ import annotations

import pytest
from pydantic import ValidationError

from burnish.data.options import DataOptions


def test_validation_ratio_depends_on_a_test_file_unless_set() -> None:
    assert DataOptions(train="a.csv").resolved_validation_ratio == 0.15
    assert DataOptions(train="a.csv", test="b.csv").resolved_validation_ratio == 0.10
    assert DataOptions(train="a.csv", test="b.csv", validation_ratio=0.2).resolved_validation_ratio == 0.2


def test_train_is_one_file_or_several() -> None:
    assert DataOptions(train="a.csv").train_files == ("a.csv",)
    assert DataOptions.model_validate({"train": ["a.csv", "b.csv"]}).train_files == ("a.csv", "b.csv")


def test_validation_and_test_are_none_one_or_several() -> None:
    options = DataOptions.model_validate({"train": "a.csv", "test": ["b.csv", "c/*.csv"]})
    assert (options.validation_files, options.test_files) == ((), ("b.csv", "c/*.csv"))
    assert DataOptions(train="a.csv", validation="d.csv").validation_files == ("d.csv",)


@pytest.mark.parametrize(
    "wrong",
    [{"tran": "a.csv"}, {"train": []}, {"validation_ratio": 0.5}, {"test_ratio": 0}, {"format": "xml"}, {"columns": 3}],
)
def test_wrong_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DataOptions.model_validate({"train": "a.csv"} | wrong)


def test_every_option_explains_itself_in_the_schema() -> None:
    assert all(field["description"] for field in DataOptions.model_json_schema()["properties"].values())
