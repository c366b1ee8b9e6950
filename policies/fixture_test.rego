# A question that is allowed, and ways to change it: each test changes one thing.
package exchange.tests

import rego.v1

set_name := "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

now := 1795420800000000000

hour := 3600000000000

agreement := {
	"id": "agr-17",
	"revision": 3,
	"epoch": 5,
	"status": "active",
	"consumer": "ny.minzheng",
	"dataset": "ps.hukou_person",
	"schema": "sha256:schema-1",
	"purpose": "dibao.initial_check",
	"legal_basis": "社会救助法 41",
	"actions": ["read", "lookup"],
	"fields": [
		{"path": "id_number", "mask": {"kind": "pseudonym", "scope": "agr-17"}},
		{"path": "name", "mask": {"kind": "keep"}},
		{"path": "address", "mask": {"kind": "keep"}},
		{"path": "photo", "mask": {"kind": "null"}},
		{"path": "income", "mask": {"kind": "verdict", "op": "le", "value": {"table": "dibao_standard_fen", "key": "431126"}}},
	],
	"rows": {"op": "prefix", "path": "region", "value": "431126"},
	"case_bound": true,
	"zone": "extranet",
	"counts": false,
	"not_before_ns": now - hour,
	"expires_ns": now + (10 * hour),
	"purge_by": "2026-12-31",
}

question := {
	"format": "exchange.question/1",
	"id": "q-1",
	"now_ns": now,
	"action": "read",
	"zone": "extranet",
	"principal": {
		"id": "svc.ny.minzheng.dibao",
		"department": "ny.minzheng",
		"roles": ["department_system"],
		"epoch": 4,
	},
	"on_behalf_of": null,
	"dataset": {
		"name": "ps.hukou_person",
		"schema": "sha256:schema-2",
		"share_type": "conditional",
		"subject": {"type": "person", "path": "id_number"},
		"fields": {
			"id_number": {"class": "L3", "tags": ["id"]},
			"name": {"class": "L2", "tags": []},
			"address": {"class": "L3", "tags": []},
			"region": {"class": "L1", "tags": []},
			"photo": {"class": "L4", "tags": []},
			"income": {"class": "L3", "tags": []},
		},
	},
	"purpose": "dibao.initial_check",
	"fields": null,
	"case": {"id": "case-1", "epoch": 2, "status": "open", "members": set_name, "opened_ns": 0},
	"agreements": [agreement],
}

asked(changes) := object.union(question, changes)

# The question with this agreement alone, changed.
under(changes) := object.union(question, {"agreements": [object.union(agreement, changes)]})

# The same for a purpose that asks for no case, and without one.
caseless(terms, changes) := object.union(
	asked({"purpose": "supervise", "case": null}),
	object.union(
		{"agreements": [object.union(object.union(agreement, {"purpose": "supervise", "case_bound": false}), terms)]},
		changes,
	),
)

unconditional(changes) := object.union(
	object.union(question, {
		"purpose": "open.use",
		"case": null,
		"agreements": [],
		"dataset": object.union(question.dataset, {"share_type": "unconditional"}),
	}),
	changes,
)

answer(body) := plan if {
	plan := data.exchange.plan with input as body
}

allowed(body) if answer(body).effect == "allow"

# Refused, and for exactly these reasons.
refused(body, codes) if {
	plan := answer(body)
	object.keys(plan) == {"effect", "reasons"}
	plan.effect == "deny"
	[reason.code | some reason in plan.reasons] == codes
}
