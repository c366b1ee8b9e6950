"""A plan as sentences for people, in Chinese or English: every word from the catalogue (`text.plan_…`)."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final, Protocol

from exchange.messages import Language, text
from exchange.plan import Plan

_NANO: Final = 1_000_000_000
_MOST_VALUES: Final = 20
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class Labelled(Protocol):
    """What a contract says of a field."""

    @property
    def label_zh(self) -> str: ...  # noqa: D102  said above
    @property
    def label_en(self) -> str: ...  # noqa: D102  said above


class Labels(Protocol):
    """A contract, as far as it is needed here."""

    @property
    def fields(self) -> Mapping[str, Labelled]:
        """Every leaf's labels, by path."""
        ...


def explain(plan: Plan, contract: Labels | None, language: Language, zone: tzinfo) -> list[str]:
    """What a plan lets be seen, line by line: effect, grounds, fields with masks, rows, obligations, until when.

    Of a refusal: that it is one, and its reasons. Times are shown in `zone`, with its offset.
    """
    words = _Words(contract, language, zone)
    head = [words.say("plan_allow" if plan.allowed else "plan_deny", dataset=plan.dataset or "-")]
    if plan.purpose:
        head.append(words.say("plan_purpose", purpose=plan.purpose))
    if plan.case:
        head.append(words.say("plan_case", case=plan.case))
    head += [words.reason(reason) for reason in plan.reasons]
    if not plan.allowed:
        return head
    fields = [
        "  " + words.say("plan_field", label=words.label(grant.path), mask=words.mask(grant.mask))
        for grant in plan.fields
    ]
    duties = [words.say(f"plan_obligation_{one['kind']}", **one) for one in plan.obligations]
    until = words.say("plan_until", time=words.time(plan.expires_ns))
    return [*head, words.say("plan_fields"), *fields, words.say("plan_rows"), *words.rows(plan.rows, 1), *duties, until]


def mask_sentence(mask: Mapping[str, Any], language: Language) -> str:
    """What a mask of a plan or of an agreement does; a threshold by reference is named by its table and key."""
    value = mask.get("value")
    if isinstance(value, Mapping):
        mask = {**mask, "value": f"{value['table']}[{value['key']}]"}
    return _Words(None, language, UTC).mask(mask)


def row_sentences(rows: Mapping[str, Any], language: Language) -> list[str]:
    """A row condition, a line for each node."""
    return _Words(None, language, UTC).rows(rows, 0)


class _Words:
    def __init__(self, contract: Labels | None, language: Language, zone: tzinfo) -> None:
        self._labels = {} if contract is None else contract.fields
        self._language, self._zone = language, zone

    def say(self, key: str, **facts: object) -> str:
        return text(key, self._language, **facts)

    def label(self, path: str) -> str:
        """The field's label with its path behind; only the path when there is none."""
        terms = self._labels.get(path)
        label = "" if terms is None else terms.label_zh if self._language == "zh" else terms.label_en
        return self.say("plan_label", label=label, path=path) if label else path

    def reason(self, reason: Mapping[str, Any]) -> str:
        facts = [f"{key}={value}" for key, value in reason.items() if key != "code"]
        sentence = self.say(f"reason_{reason['code']}")
        said = self.say("plan_reason_facts", reason=sentence, facts=", ".join(facts)) if facts else sentence
        return self.say("plan_reason", reason=said, code=reason["code"])

    def mask(self, mask: Mapping[str, Any]) -> str:
        facts = {key: value for key, value in mask.items() if key != "kind"}
        match mask["kind"]:
            case "truncate":
                facts["unit"] = self.say(f"plan_unit_{mask['unit']}")
            case "region":
                facts["level"] = self.say(f"plan_level_{mask['level']}")
            case "bucket":
                facts["edges"] = ", ".join(map(str, mask["edges"]))
            case "verdict":
                facts["op"] = self.say(f"plan_op_{mask['op']}")
            case _:
                pass
        return self.say(f"plan_mask_{mask['kind']}", **facts)

    def rows(self, node: Mapping[str, Any], depth: int) -> list[str]:
        """A tree of conditions, a line for each node, its branches indented below."""
        pad = "  " * depth
        if node["op"] in ("and", "or", "not"):
            lines = [line for branch in node["of"] for line in self.rows(branch, depth + 1)]
            return [pad + self.say(f"plan_rows_{node['op']}"), *lines]
        return [pad + self._condition(node)]

    def _condition(self, node: Mapping[str, Any]) -> str:
        op = node["op"]
        if op == "all":
            return self.say("plan_rows_all")
        if op == "member":
            return self.say("plan_rows_member", set=f"{node['set'][:14]}…")
        field = self.label(node["path"])
        if op == "in":
            shown = ", ".join(_value(one) for one in node["values"][:_MOST_VALUES])
            more = len(node["values"]) - _MOST_VALUES
            values = self.say("plan_values_more", values=shown, count=more) if more > 0 else shown
            return self.say("plan_rows_in", field=field, values=values)
        if op in ("prefix", "null"):
            return self.say(f"plan_rows_{op}", field=field, value=node.get("value", ""))
        return self.say("plan_rows_compare", field=field, op=self.say(f"plan_op_{op}"), value=_value(node["value"]))

    def time(self, ns: int) -> str:
        """To the second, with the zone's offset."""
        try:
            moment = (_EPOCH + timedelta(seconds=ns // _NANO)).astimezone(self._zone)
        except OverflowError:
            return self.say("plan_time_far")
        return moment.isoformat(sep=" ", timespec="seconds")


def _value(value: object) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
