"""A small good contract to spoil, and the means to write it into a folder."""

import json
from pathlib import Path
from typing import Any

V1: dict[str, Any] = {
    "type": "record",
    "name": "person",
    "namespace": "ps",
    "fields": [
        {"name": "id", "type": "string", "confluent:tags": ["id"]},
        {"name": "age", "type": "int"},
        {"name": "address", "type": {"type": "record", "name": "address", "fields": [
            {"name": "region", "type": "string"}, {"name": "key", "type": ["null", "string"]}]}},
    ],
}  # fmt: skip
V2: dict[str, Any] = {**V1, "fields": [*V1["fields"], {"name": "note", "type": ["null", "string"], "default": None}]}

GOOD = """\
format: exchange.contract/1
dataset: ps.person
department: ny.gongan
steward: steward.ny.gongan
title:
  zh: 人口
  en: People
abstract:
  zh: 人口信息
subject:
  type: person
  path: id
share:
  type: conditional
  condition: 限法定履职用途
update_cycle: day
schemas: [v1.avsc]
fields:
  id: {class: L3, label_zh: 号码, label_en: number}
  age: {class: L1, label_zh: 年龄}
  address.region: {class: L1, label_zh: 区划}
  address.key: {class: L2, label_zh: 键}
"""


def write(folder: Path, text: str = GOOD, **schemas: dict[str, Any]) -> Path:
    """The folder, with the contract and v1.avsc (or other schemas by name) in it."""
    (folder / "contract.yaml").write_text(text, "utf-8")
    for name, document in (schemas or {"v1": V1}).items():
        (folder / f"{name}.avsc").write_text(json.dumps(document), "utf-8")
    return folder
