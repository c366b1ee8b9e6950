"""Bad input, of every kind that people hand in: one clear error that names the place, and nothing is lost or released.

Each test changes what is given to a site, runs a command as a person would, and looks at the exit code, the
error, the streams, and at what the audit log says afterwards.
"""

import json
from pathlib import Path

import pytest

from exchange.messages import error_codes
from tests.simulator import (
    ASKED,
    AUDITOR,
    AUTHORITY,
    CHECKER,
    CONSUMER,
    DATASET,
    PERSONS,
    PROVIDER,
    SYSTEM,
    Ran,
    Site,
    row,
    terms,
)

pytestmark = pytest.mark.torture  # damage and its repair: the second part of `make test`

READ = ("read", DATASET, *ASKED)


def one_clear_error(ran: Ran, code: str, *places: str) -> None:
    """One error of the catalogue: its sentence, the place, what to do; its family's exit code; no output."""
    assert ran.error_code == code, ran.stderr
    first, *rest = ran.stderr.splitlines()
    assert ran.code == {"refused": 1, "invalid": 2, "unavailable": 3, "tampered": 4}[error_codes()[code]["family"]]
    assert rest[-1].startswith("  → ")
    assert ran.out == b""
    assert "Traceback" not in ran.stderr
    for place in places:
        assert place in first
    assert not [person for person in PERSONS if person in ran.stderr]


# What people hand in


def _contract(site: Site) -> Path:
    return site.root / "schemas" / "ny.renshe" / DATASET


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")


@pytest.mark.parametrize(
    ("name", "old", "new", "code", "place"),
    [
        ("v1.avsc", '"type": "record",', '"type": "record"', "schema_unparsable", "v1.avsc"),
        ("v1.avsc", '"type": "string", "doc": "经办', '"type": "strin", "doc": "经办', "schema_unparsable", "v1.avsc"),
        ("contract.yaml", "update_cycle: month\n", "", "contract_key_missing", "contract.yaml"),
        ("contract.yaml", "update_cycle: month", "update_cycle: month\nupdate_cycle: year", None, "contract.yaml"),
        ("contract.yaml", "update_cycle", "update-cycle", None, "contract.yaml"),
        ("contract.yaml", "  bank_account: {class: L4", "  bank_acount: {class: L4", None, "contract.yaml"),
        ("contract.yaml", "class: L4", "class: L5", None, "contract.yaml"),
        ("contract.yaml", "format:", "format: [", None, "contract.yaml"),
    ],
)
def test_a_wrong_contract_is_not_accepted(
    site: Site, name: str, old: str, new: str, code: str | None, place: str
) -> None:
    """The error names the file; the catalogue stays as it was, and so does what is read."""
    _edit(_contract(site) / name, old, new)
    ran = site.run("dataset", "submit", str(_contract(site)), who=PROVIDER)
    assert ran.code == 2
    one_clear_error(ran, code or ran.error_code, place)
    assert site.run("dataset", "list", "--json", who=PROVIDER).json[0]["revision"] == 1


@pytest.mark.parametrize("name", ["v1.avsc", "contract.yaml"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[" * 100_000, None])
def test_a_contract_that_is_no_text_or_not_there_is_one_error(site: Site, name: str, content: bytes | None) -> None:
    """Empty, binary, too deep, missing: the file is named."""
    file = _contract(site) / name
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    ran = site.run("dataset", "submit", str(_contract(site)), who=PROVIDER)
    assert ran.code == 2
    one_clear_error(ran, ran.error_code, name)


def test_a_wrong_record_is_a_dead_letter_and_the_others_go_on(site: Site) -> None:
    """What the columns' types let through and the contract's schema does not: reason, place and shape, no value."""
    config = site.folder / "pension.toml"
    values = config.read_text("utf-8").split('"参保状态" = ')[1].splitlines()[0]
    _edit(config, values, '{ field = "status", type = "text" }')
    file = site.rows([row(PERSONS[0], 5, "RECEIVING"), row(PERSONS[1], 5, "UNHEARD-OF")], "wrong.csv")
    told = site.run("publish", str(config), str(file), "--json", who=SYSTEM).json
    assert (told["taken"], told["dead_letters"]) == (1, 1)
    letter = site.run("dead-letters", DATASET, "--json", who=SYSTEM).json[-1]
    assert (letter["file"], letter["row"]) == ("wrong.csv", 4)
    assert "UNHEARD" not in str(letter)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('dataset = "hrss.pension_account"', 'dataset = "hrss.pension"'),
        ('type = "fen"', 'type = "money"'),
        ('source = "ny.renshe/pension"', 'source = "../../etc"'),
        ("[columns]", "[columns"),
        ("header = 2", "header = 2\nheadr = 1"),
        ('"险种"', '"险钟"'),
    ],
)
def test_a_wrong_adapter_file_publishes_nothing(site: Site, old: str, new: str) -> None:
    """The error names the adapter's file or the column; no record, no dead letter, no entry."""
    _edit(site.folder / "pension.toml", old, new)
    before = len(site.entries("record_commit"))
    ran = site.publish(site.rows([row(PERSONS[0], 7)], "next.csv"))
    assert ran.code == 2
    one_clear_error(ran, ran.error_code)
    assert len(site.entries("record_commit")) == before


@pytest.mark.parametrize("content", [b"", b"\x00" * 4_096, b"\xff\xfe" + b"a\x00" * 50, "只有一行".encode(), None])
def test_a_file_that_is_no_table_publishes_nothing(site: Site, content: bytes | None) -> None:
    """Empty, binary, UTF-16, without its header, missing: one error that names the file."""
    file = site.folder / "odd.csv"
    if content is not None:
        file.write_bytes(content)
    ran = site.publish(file)
    assert ran.code == 2
    one_clear_error(ran, ran.error_code, "odd.csv")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"purpose": "dibao.nonsense"}, "unknown_purpose"),
        ({"fields": [{"path": "status", "mask": {"kind": "blur"}}]}, "plan_name_unknown"),
        ({"fields": [{"path": "state", "mask": {"kind": "keep"}}]}, "unknown_field"),
        ({"rows": {"op": "like", "path": "status", "value": "x"}}, None),
        ({"rows": {"op": "and", "of": []}}, None),
        ({"dataset": "no.such"}, "unknown_dataset"),
        ({"consumer": "ny.renshe"}, None),
        ({"from": "tomorrow"}, "file_unparsable"),
        ({"from": "2026-01-01", "not_before_ns": 0}, "file_unparsable"),
        ({"actions": ["delete"]}, None),
        ({"extra": 1}, "unknown_key"),
    ],
)
def test_wrong_terms_are_no_agreement(site: Site, change: dict[str, object], code: str | None) -> None:
    """What is unknown is refused when it is asked for, not when it is used."""
    file = site.folder / "wrong.json"
    file.write_text(json.dumps(terms(**change)), "utf-8")
    ran = site.run("agreement", "request", str(file), who=CONSUMER)
    assert ran.code in {1, 2}
    one_clear_error(ran, code or ran.error_code)
    assert [one["id"] for one in site.run("agreement", "list", "--json", who=CONSUMER).json] == ["agr-1"]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'"x"', b"{", b'{"consumer": "a", "consumer": "b"}', b"[" * 99_999, None]
)
def test_terms_that_are_no_object_are_one_error(site: Site, content: bytes | None) -> None:
    """The file is named."""
    file = site.folder / "odd.json"
    if content is not None:
        file.write_bytes(content)
    one_clear_error(
        site.run("agreement", "request", str(file), who=CONSUMER),
        "file_unreadable" if content is None else "file_unparsable",
        "odd.json",
    )


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"people": []},
        {"departments": {}},
        {"departments": [{"id": "ny.x"}]},
        {"principals": [{"id": "a.b", "department": "ny.renshe", "roles": ["steward"], "token": "x"}]},
        {"principals": [{"id": "a.b", "department": "ny.renshe", "roles": "steward"}]},
        {"principals": [{"id": "a.b", "department": "ny.renshe", "roles": [[]]}]},
        {"principals": [{"id": 7, "department": "ny.renshe", "roles": ["steward"]}]},
        {"principals": [{"id": ["x"], "department": "ny.renshe", "roles": ["steward"]}]},
        {"departments": [{"id": ["x"], "title_zh": "a", "title_en": "b", "region": "43"}]},
        {"departments": [{"id": "ny.x", "title_zh": 1, "title_en": "b", "region": "43"}]},
        {"departments": [{"id": "ny.x", "title_zh": "a", "title_en": "b", "region": "43", "zone": {}}]},
        {"departments": [{"id": "ny.x", "title_zh": "a", "title_en": "b", "region": "43", "seal_key": 5}]},
        {"departments": [{"id": "ny.x", "title_zh": "a", "title_en": "b", "region": "43", "line_parent": []}]},
    ],
)
def test_a_wrong_register_adds_nobody(site: Site, document: object) -> None:
    """Values of other types too; what stands before the wrong entry is not half done."""
    file = site.folder / "odd.json"
    file.write_text(json.dumps(document), "utf-8")
    before = len(site.entries())
    ran = site.run("register", str(file), "--tokens", str(site.folder / "new"), who=AUTHORITY)
    assert ran.code == 2, ran
    one_clear_error(ran, ran.error_code)
    assert len(site.entries()) == before


# Policies

LOOP = """
refusals contains {"code": "quota"} if {
	input.purpose == "dibao.publicity"
	count([1 | some a in numbers.range(1, 20000); some b in numbers.range(1, 20000); a == b + input.now_ns]) > 0
}
"""


def test_a_policy_with_a_syntax_error_is_told_with_file_and_line(site: Site) -> None:
    """Neither tested nor submitted; the active one stays."""
    _edit(site.root / "policies" / "agreements.rego", "granted if chosen", "granted if if chosen")
    for words in (["policy", "test"], ["policy", "submit"]):
        one_clear_error(site.run(*words, who=CONSUMER), "policy_unparsable", "agreements.rego:")
    assert site.read().code == 0


def test_a_policy_that_runs_for_ever_costs_its_question_alone(site: Site) -> None:
    """At the deadline it is refused, and the next question of the same process is answered."""
    rego = site.root / "policies" / "agreements.rego"
    rego.write_text(rego.read_text("utf-8") + LOOP, "utf-8")
    submitted = site.run("policy", "submit", "--json", who=CONSUMER)
    assert submitted.out, submitted.stderr
    revision = submitted.json[0]["about"]
    assert site.run("policy", "approve", revision, who=AUTHORITY).code == 0
    ran = site.run("read", DATASET, "--purpose", "dibao.publicity", "--json", who=CHECKER)
    assert (ran.code, ran.error["reasons"], ran.out) == (1, ["policy_error"], b"")
    from exchange.control.questions import Request

    with site.opened() as exchange:
        who = exchange.control.model().principals[CHECKER]
        asked = [Request("read", DATASET, purpose, "case-1", None) for purpose in ("dibao.publicity", ASKED[1])]
        plans = [exchange.gateway.explain(who, one) for one in (*asked, *asked)]
    assert [plan.allowed for plan in plans] == [False, True, False, True]
    assert site.entries("release") == []


@pytest.mark.parametrize(
    ("name", "content"),
    [("codes.json", b"{"), ("codes.json", b"[]"), ("new.rego", b"\xff"), ("new.rego", b""), ("x.exe", b"")],
)
def test_a_policy_folder_with_something_else_in_it_is_one_error(site: Site, name: str, content: bytes) -> None:
    """The file is named."""
    (site.root / "policies" / name).write_bytes(content)
    ran = site.run("policy", "submit", who=CONSUMER)
    assert ran.code == 2
    one_clear_error(ran, ran.error_code, name)


def test_a_plan_with_an_unknown_mask_shows_nothing(site: Site, tmp_path: Path) -> None:
    """`view` of a plan document: refused before the first record, no file."""
    plan = site.run("explain", DATASET, *ASKED, "--json", who=CHECKER).json
    plan["fields"][0]["mask"] = {"kind": "blur"}
    (tmp_path / "p.json").write_text(json.dumps(plan), "utf-8")
    schema = str(_contract(site) / "v1.avsc")
    words = [
        "view",
        "--schema",
        schema,
        "--plan",
        str(tmp_path / "p.json"),
        "--in",
        schema,
        "--out",
        str(tmp_path / "o"),
    ]
    ran = site.run(*words)
    one_clear_error(ran, "plan_name_unknown", "fields[0].mask.kind")
    assert not (tmp_path / "o").exists()


def test_a_department_gets_nothing_of_another_by_its_own_token(site: Site) -> None:
    """Not its dead letters, not its agreements' reviews, not its dataset's contract, not a release."""
    file = site.rows([row(PERSONS[0], 7)], "n.csv")
    refused = [
        site.publish(file, who=CHECKER),
        site.run("dead-letters", DATASET, who=CONSUMER),
        site.run("dataset", "submit", str(_contract(site)), who=CONSUMER),
        site.run("agreement", "revoke", "agr-1", "--reason", "r", who="steward.ny.nobody"),
        site.run("read", DATASET, *ASKED, who=AUDITOR),
    ]
    for ran in refused:
        assert ran.code in {1, 2}
        one_clear_error(ran, ran.error_code)
    assert site.entries("release") == []
