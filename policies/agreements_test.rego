package exchange.tests

import rego.v1

test_agreement_allows_exactly_its_terms if {
	answer(question) == {
		"effect": "allow",
		"reasons": [{"code": "agreement", "agreement": "agr-17", "revision": 3}],
		"fields": [
			{"path": "id_number", "mask": {"kind": "pseudonym", "scope": "agr-17"}},
			{"path": "name", "mask": {"kind": "keep"}},
			{"path": "address", "mask": {"kind": "keep"}},
			{"path": "photo", "mask": {"kind": "null"}},
			{"path": "income", "mask": {"kind": "verdict", "op": "le", "value": 56000}},
		],
		"rows": {"op": "and", "of": [
			{"op": "member", "set": set_name},
			{"op": "prefix", "path": "region", "value": "431126"},
		]},
		"obligations": [{"kind": "purge_by", "date": "2026-12-31"}],
		"expires_ns": now + hour,
		"schema": "sha256:schema-1",
		"epochs": {"agreement/agr-17": 5, "case/case-1": 2, "principal/svc.ny.minzheng.dibao": 4},
	}
}

test_no_agreement if refused(asked({"agreements": []}), ["no_agreement"])

test_never_in_force_is_no_agreement if {
	every status in ["requested", "endorsed", "returned", "rejected", "approved", ""] {
		refused(under({"status": status}), ["no_agreement"])
	}
}

test_ended_agreement_says_how if {
	every status in ["suspended", "revoked", "expired"] {
		refused(under({"status": status}), [status])
	}
}

test_not_yet if {
	refused(under({"not_before_ns": now + 1}), ["not_yet"])
	allowed(under({"not_before_ns": now}))
}

test_expired if {
	refused(under({"expires_ns": now}), ["expired"])
	allowed(under({"expires_ns": now + 1}))
}

test_plan_ends_with_its_agreement if {
	answer(under({"expires_ns": now + 1})).expires_ns == now + 1
	answer(under({"expires_ns": now + (2 * hour)})).expires_ns == now + hour
}

test_another_purpose if refused(asked({"purpose": "dibao.recheck"}), ["wrong_purpose"])

test_ended_agreement_for_another_purpose_is_none if {
	refused(object.union(under({"status": "revoked"}), {"purpose": "dibao.recheck"}), ["no_agreement"])
}

test_unknown_purpose_though_agreed if {
	body := object.union(under({"purpose": "curiosity"}), {"purpose": "curiosity"})
	refused(body, ["wrong_purpose"])
}

test_another_action if refused(asked({"action": "follow"}), ["wrong_action"])

test_zone_below_the_agreements if {
	refused(under({"zone": "department"}), ["zone"])
	allowed(asked({"zone": "department"}))
}

test_case_required if {
	refused(asked({"case": null}), ["case_required"])
	refused(object.union(under({"case_bound": false}), {"case": null}), ["case_required"])
	refused(caseless({"case_bound": true, "fields": []}, {"fields": ["name"]}), ["case_required", "field_not_granted", "field_not_granted"])
}

test_purpose_that_needs_a_case_binds_the_rows if {
	answer(under({"case_bound": false})).rows.of[0] == {"op": "member", "set": set_name}
}

test_without_a_case_the_rows_are_the_terms if {
	plan := answer(caseless({"fields": [{"path": "name", "mask": {"kind": "keep"}}]}, {}))
	plan.rows == {"op": "prefix", "path": "region", "value": "431126"}
	plan.epochs == {"agreement/agr-17": 5, "principal/svc.ny.minzheng.dibao": 4}
}

test_no_purge_date_no_obligation if answer(under({"purge_by": null})).obligations == []

test_every_reason_is_said if {
	body := object.union(under({"status": "revoked", "expires_ns": now, "zone": "department"}), {"action": "follow"})
	refused(body, ["expired", "revoked", "wrong_action", "zone"])
}

test_lowest_id_of_several if {
	body := asked({"agreements": [agreement, object.union(agreement, {"id": "agr-03", "revision": 9})]})
	answer(body).reasons == [{"code": "agreement", "agreement": "agr-03", "revision": 9}]
}

test_a_sound_one_beside_ended_ones if {
	body := asked({"agreements": [object.union(agreement, {"id": "agr-03", "status": "revoked"}), agreement]})
	answer(body).reasons == [{"code": "agreement", "agreement": "agr-17", "revision": 3}]
}

test_reasons_of_all_candidates_for_the_purpose if {
	body := asked({"agreements": [
		object.union(agreement, {"id": "agr-03", "status": "revoked"}),
		object.union(agreement, {"id": "agr-04", "not_before_ns": now + 1}),
		object.union(agreement, {"id": "agr-05", "purpose": "dibao.recheck"}),
	]})
	answer(body).reasons == [{"code": "not_yet", "agreement": "agr-04"}, {"code": "revoked", "agreement": "agr-03"}]
}

test_own_review_shows_l3_only_in_a_case if {
	own := {"purpose": "own.review", "fields": [
		{"path": "id_number", "mask": {"kind": "keep"}},
		{"path": "photo", "mask": {"kind": "null"}},
	]}
	in_case := object.union(under(own), {"purpose": "own.review"})
	answer(in_case).fields == own.fields
	answer(in_case).rows.of[0] == {"op": "member", "set": set_name}
	refused(object.union(in_case, {"case": null}), ["case_required"])
	free := object.union(under(object.union(own, {"case_bound": false})), {"purpose": "own.review", "case": null})
	refused(free, ["classification"])
}

test_own_review_never_shows_l4 if {
	own := {"purpose": "own.review", "fields": [{"path": "photo", "mask": {"kind": "keep"}}]}
	refused(object.union(under(own), {"purpose": "own.review"}), ["classification"])
}
