"""Bad contracts: each has one precise error, with the code, the line and the name that is wrong."""

from pathlib import Path
from typing import Any

import pytest

from exchange.contracts import load
from exchange.errors import Invalid
from exchange.messages import describe
from tests.contracts.samples import GOOD, V1, V2, write

CONDITION = "  condition: 限法定履职用途\n"
# what is replaced, by what, the code, the line, and words that the sentence must have
BAD: list[tuple[str, str, str, int, list[str]]] = [
    ("path: id\n", "path: age\n", "contract_subject_wrong", 12, ["age", "version 1"]),
    ("path: id\n", "path: address.regoin\n", "contract_subject_wrong", 12, ["address.region"]),
    ("  age: {class: L1, label_zh: 年龄}\n", "", "contract_field_missing", 19, ["age"]),
    ("  age: {", "  agee: {class: L1, label_zh: 岁}\n  age: {", "contract_field_unknown", 20, ["agee", "age?"]),
    ("class: L2", "class: L5", "contract_value_wrong", 22, ["fields.address.key.class", "L1, L2, L3, L4"]),
    ("{class: L1, label_zh: 年龄}", "{class: L1}", "contract_key_missing", 20, ["fields.age.label_zh"]),
    ("{class: L1, label_zh: 年龄}", "{class: L1, label_zh: ''}", "contract_value_wrong", 20, ["label_zh"]),
    ("label_zh: 年龄", "lable_zh: 年龄", "contract_key_unknown", 20, ["lable_zh", "label_zh?"]),
    ("type: conditional", "type: sometimes", "contract_value_wrong", 14, ["unconditional, conditional, not_shared"]),
    (CONDITION, "", "contract_condition_missing", 14, ["condition"]),
    ("type: conditional\n" + CONDITION, "type: not_shared\n", "contract_legal_basis_missing", 14, ["law"]),
    ("type: conditional\n" + CONDITION, "type: unconditional\n", "contract_unconditional_sensitive", 14, ["id", "L3"]),
    ("update_cycle: day", "update_cycle: daily", "contract_value_wrong", 16, ["ten_days"]),
    ("zh: 人口\n", "zh: " + "人" * 51 + "\n", "contract_text_too_long", 6, ["title.zh", "51", "50"]),
    ("zh: 人口信息\n", "zh: " + "人" * 257 + "\n", "contract_text_too_long", 9, ["abstract.zh", "257", "256"]),
    ("steward: steward.ny.gongan\n", "", "contract_key_missing", 1, ["steward"]),
    ("steward: steward.ny.gongan\n", "steward: 张三\n", "name_malformed", 4, ["principal"]),
    ("class: L2", "class: secret", "contract_secret", 22, ["fields.address.key.class", "809"]),
    ("class: L2", "class: 机密", "contract_secret", 22, ["809"]),
    ("class: L2, ", "class: L2, classification: Top_Secret, ", "contract_secret", 22, ["809"]),
    ("update_cycle: day", "classification: 绝密\nupdate_cycle: day", "contract_secret", 16, ["classification"]),
    ("update_cycle: day", "classification: open\nupdate_cycle: day", "contract_key_unknown", 16, ["classification"]),
    ("dataset: ps.person", "dataset: Person", "name_malformed", 2, ["dataset"]),
    ("dataset:", "datasets:", "contract_key_unknown", 2, ["datasets", "dataset?"]),
    ("format: exchange.contract/1", "format: exchange.contract/9", "contract_value_wrong", 1, ["exchange.contract/1"]),
    ("schemas: [v1.avsc]", "schemas: [../v1.avsc]", "contract_value_wrong", 17, [".avsc files in this folder"]),
    ("schemas: [v1.avsc]", "schemas: v1.avsc", "contract_value_wrong", 17, ["schemas"]),
    ("schemas: [v1.avsc]", "schemas: [v1.avsc, v1.avsc]", "contract_value_wrong", 17, ["different"]),
    ("schemas: [v1.avsc]\n", "", "contract_key_missing", 1, ["schemas"]),
    ("share:\n  type: conditional\n" + CONDITION, "share: conditional\n", "contract_value_wrong", 13, ["share"]),
    ("condition: 限法定履职用途", "condition: '  '", "contract_value_wrong", 15, ["share.condition"]),
    ("condition: 限法定履职用途", "condition: [a]", "contract_value_wrong", 15, ["share.condition"]),
    ("type: person", "type: Person!", "name_malformed", 11, ["subject_type"]),
]


@pytest.mark.parametrize(("old", "new", "code", "line", "words"), BAD, ids=[f"{i}-{b[2]}" for i, b in enumerate(BAD)])
def test_a_bad_contract_has_one_precise_error(
    tmp_path: Path, old: str, new: str, code: str, line: int, words: list[str]
) -> None:
    """One thing is spoilt in a good contract: its code, file and line, and the names that help to mend it."""
    assert GOOD.count(old) == 1
    with pytest.raises(Invalid) as refused:
        load(write(tmp_path, GOOD.replace(old, new)))
    assert refused.value.code == code
    assert refused.value.where == f"{tmp_path / 'contract.yaml'}:{line}"
    for language in ("en", "zh"):
        what, todo = describe(refused.value, language)
        assert "{" not in what + todo
    said = describe(refused.value, "en")[0]
    assert [word for word in words if word not in said] == []


def test_a_schema_file_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    """The file, and inside it the path, is the error's place."""
    write(tmp_path, GOOD.replace("[v1.avsc]", "[v1.avsc, v2.avsc]"))
    with pytest.raises(Invalid, match="contract_file_missing") as missing:
        load(tmp_path)
    assert missing.value.where == str(tmp_path / "v2.avsc")
    (tmp_path / "v1.avsc").write_text("{")
    with pytest.raises(Invalid, match="schema_unparsable") as broken:
        load(tmp_path)
    assert broken.value.where.startswith(str(tmp_path / "v1.avsc"))


def test_no_contract_file(tmp_path: Path) -> None:
    """An empty folder, and a folder in the file's place."""
    with pytest.raises(Invalid, match="contract_file_missing"):
        load(tmp_path)
    (tmp_path / "contract.yaml").mkdir()
    with pytest.raises(Invalid, match="contract_file_missing"):
        load(tmp_path)


def _tagged(tag: str) -> dict[str, Any]:
    first, *rest = V1["fields"]
    return {**V1, "fields": [{**first, "confluent:tags": [tag]}, *rest]}


def test_a_tag_of_secrecy_in_the_schema_is_refused(tmp_path: Path) -> None:
    """Decree 809 Art. 3 holds for labels that came in by the schema too."""
    with pytest.raises(Invalid, match="contract_secret") as refused:
        load(write(tmp_path, v1=_tagged("秘密")))
    assert refused.value.facts["key"] == "id"
    assert load(write(tmp_path, v1=_tagged("name"))).fields["id"].tags == ("name",)


THREE = "[v1.avsc, v2.avsc, v3.avsc]"
NOTE = "  note: {class: L1, label_zh: 备注}\n"


@pytest.mark.parametrize(
    ("versions", "earlier", "fault"),
    [
        ({"v1": V2, "v2": V2}, 1, "the same schema"),
        ({"v1": {**V1, "name": "other"}, "v2": V2}, 1, "not ps.person"),
        (
            {"v1": V2, "v2": {**V1, "fields": [*V1["fields"], {"name": "note", "type": "string"}]}},
            1,
            "null was allowed",
        ),
    ],
)
def test_a_version_must_read_what_those_before_it_wrote(
    tmp_path: Path, versions: dict[str, Any], earlier: int, fault: str
) -> None:
    """Named are the version's line, the earlier version and the reason."""
    with pytest.raises(Invalid, match="contract_versions_incompatible") as refused:
        load(write(tmp_path, GOOD.replace("[v1.avsc]", "[v1.avsc, v2.avsc]") + NOTE, **versions))
    assert refused.value.facts["earlier"] == earlier
    assert fault in str(refused.value.facts["fault"])


def test_the_third_version_must_read_the_first_too(tmp_path: Path) -> None:
    """A field dropped and come back as another type would leave the oldest records unreadable for ever."""
    back = {**V1, "fields": [*V1["fields"], {"name": "note", "type": ["null", "long"], "default": None}]}
    text = GOOD.replace("[v1.avsc]", THREE) + NOTE
    with pytest.raises(Invalid, match="contract_versions_incompatible") as refused:
        load(write(tmp_path, text, v1=V2, v2=V1, v3=back))
    assert refused.value.facts["earlier"] == 1


def test_the_subject_must_be_in_every_version(tmp_path: Path) -> None:
    """Records of an older version need their subject's id as well."""
    first, *rest = V1["fields"]
    late = {**V1, "fields": [{**first, "default": ""}, *rest]}
    text = GOOD.replace("[v1.avsc]", "[v1.avsc, v2.avsc]")
    with pytest.raises(Invalid, match="contract_subject_wrong") as refused:
        load(write(tmp_path, text, v1={**V1, "fields": rest}, v2=late))
    assert refused.value.facts["version"] == 1


def test_a_subject_inside_a_list_is_refused(tmp_path: Path) -> None:
    """One record has one subject."""
    listed = {**V1, "fields": [*V1["fields"], {"name": "ids", "type": {"type": "array", "items": "string"}}]}
    text = GOOD.replace("path: id\n", "path: ids[]\n") + '  "ids[]": {class: L1, label_zh: 列表}\n'
    with pytest.raises(Invalid, match="contract_subject_wrong"):
        load(write(tmp_path, text, v1=listed))
