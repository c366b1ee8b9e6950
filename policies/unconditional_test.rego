package exchange.tests

import rego.v1

test_unconditional_gives_l1_and_l2 if {
	answer(unconditional({})) == {
		"effect": "allow",
		"reasons": [{"code": "unconditional"}],
		"fields": [{"path": "name", "mask": {"kind": "keep"}}, {"path": "region", "mask": {"kind": "keep"}}],
		"rows": {"op": "all"},
		"obligations": [],
		"expires_ns": now + hour,
		"schema": "sha256:schema-2",
		"epochs": {"principal/svc.ny.minzheng.dibao": 4},
	}
}

test_public_zone_gets_l1 if {
	plan := answer(unconditional({"zone": "public"}))
	plan.reasons == [{"code": "public"}]
	plan.fields == [{"path": "region", "mask": {"kind": "keep"}}]
}

test_unconditional_listed_fields if {
	answer(unconditional({"fields": ["region"]})).fields == [{"path": "region", "mask": {"kind": "keep"}}]
}

test_unconditional_field_above_its_class if {
	answer(unconditional({"fields": ["name", "photo"]})).reasons == [{"code": "classification", "path": "photo"}]
	answer(unconditional({"fields": ["name"], "zone": "public"})).reasons == [{"code": "zone", "path": "name"}]
}

test_unconditional_field_that_is_not_there if {
	answer(unconditional({"fields": ["nowhere"]})).reasons == [{"code": "field_not_granted", "path": "nowhere"}]
}

test_unconditional_without_an_open_field if {
	fields := {path: {"class": "L3", "tags": []} | some path in object.keys(question.dataset.fields)}
	body := unconditional({"dataset": {"fields": fields}})
	refused(body, ["classification"])
	refused(object.union(body, {"zone": "public"}), ["zone"])
}

test_unconditional_needs_no_case_but_names_one_it_is_given if {
	allowed(unconditional({"purpose": "dibao.intake"}))
	body := unconditional({"case": question.case})
	answer(body).epochs == {"case/case-1": 2, "principal/svc.ny.minzheng.dibao": 4}
}

test_agreement_may_open_more_of_an_unconditional_dataset if {
	body := object.union(question, {
		"fields": ["address"],
		"dataset": object.union(question.dataset, {"share_type": "unconditional"}),
	})
	answer(body).reasons == [{"code": "agreement", "agreement": "agr-17", "revision": 3}]
}
