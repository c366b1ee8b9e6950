package exchange.tests

import rego.v1

granting(path, mask) := {"fields": [{"path": path, "mask": {"kind": mask}}]}

test_listed_fields_exactly if {
	plan := answer(asked({"fields": ["address", "name"]}))
	plan.fields == [{"path": "name", "mask": {"kind": "keep"}}, {"path": "address", "mask": {"kind": "keep"}}]
}

test_field_not_granted_is_named if {
	answer(asked({"fields": ["name", "region", "nowhere"]})).reasons == [
		{"code": "field_not_granted", "agreement": "agr-17", "path": "nowhere"},
		{"code": "field_not_granted", "agreement": "agr-17", "path": "region"},
	]
}

test_agreement_without_fields if refused(under({"fields": []}), ["field_not_granted"])

test_l4_never_as_it_is if {
	refused(under(granting("photo", "keep")), ["classification"])
	allowed(under(granting("photo", "redact")))
}

test_l3_as_it_is_only_in_a_case if {
	allowed(under(granting("address", "keep")))
	refused(caseless(granting("address", "keep"), {}), ["classification"])
	allowed(caseless(granting("address", "redact"), {}))
}

test_only_what_is_shown_is_judged if {
	allowed(caseless({}, {"fields": ["name"]}))
	refused(caseless({}, {"fields": ["name", "address"]}), ["classification"])
}

test_field_without_a_class if {
	refused(under(granting("nowhere", "null")), ["classification"])
	body := asked({"dataset": object.union(question.dataset, {"fields": {"name": {"class": "L5", "tags": []}}})})
	refused(body, ["classification"])
}

test_public_zone_sees_l1_alone if {
	terms := object.union(granting("region", "keep"), {"zone": "public"})
	allowed(caseless(terms, {"zone": "public"}))
	every path in ["name", "address", "photo"] {
		hidden := object.union(granting(path, "null"), {"zone": "public"})
		refused(caseless(hidden, {"zone": "public"}), ["zone"])
	}
}

test_threshold_is_resolved if {
	mask := {"kind": "verdict", "op": "ge", "value": {"table": "dibao_standard_fen", "key": "431102"}}
	plan := answer(under({"fields": [{"path": "income", "mask": mask}]}))
	plan.fields == [{"path": "income", "mask": {"kind": "verdict", "op": "ge", "value": 61000}}]
}

test_threshold_by_value_stays if {
	mask := {"kind": "verdict", "op": "ge", "value": 7}
	answer(under({"fields": [{"path": "income", "mask": mask}]})).fields[0].mask == mask
}

test_threshold_that_no_table_has if {
	every value in [
		{"table": "dibao_standard_fen", "key": "000000"},
		{"table": "nowhere", "key": "431126"},
		{"table": "purposes", "key": "supervise"},
		{"table": "dibao_standard_fen", "key": "431126", "more": 1},
		{},
	] {
		mask := {"kind": "verdict", "op": "le", "value": value}
		refused(under({"fields": [{"path": "income", "mask": mask}]}), ["policy_undefined"])
	}
}

test_only_a_verdict_has_a_threshold if {
	mask := {"kind": "round", "op": "le", "value": {"table": "dibao_standard_fen", "key": "431126"}}
	refused(under({"fields": [{"path": "income", "mask": mask}]}), ["policy_undefined"])
}
