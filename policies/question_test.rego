package exchange.tests

import rego.v1

test_missing_key if {
	every key in object.keys(question) {
		refused_as_malformed(object.remove(question, [key]))
	}
}

test_unknown_key if refused_as_malformed(asked({"more": 1}))

test_lookup_key_belongs_to_look_ups_alone if {
	refused_as_malformed(asked({"lookup": {"tags": [], "outside": []}}))
	refused_as_malformed(asked({"action": "lookup"}))
	refused_as_malformed(asked({"action": "lookup", "lookup": {"tags": [], "outside": [], "more": 1}}))
}

test_wrong_format if refused_as_malformed(asked({"format": "exchange.question/2"}))

test_extra_key_inside if {
	every key in ["principal", "dataset", "case"] {
		refused_as_malformed(asked({key: {"more": 1}}))
	}
}

test_fact_that_is_no_object if {
	every key in ["principal", "dataset", "case"] {
		refused_as_malformed(asked({key: "x"}))
	}
	refused_as_malformed(asked({"principal": null}))
}

test_time_that_is_no_time if {
	refused_as_malformed(asked({"now_ns": "1"}))
	refused_as_malformed(asked({"now_ns": -1}))
	refused_as_malformed(under({"expires_ns": null}))
	refused_as_malformed(under({"not_before_ns": null}))
	refused_as_malformed(under({"case_bound": "no"}))
}

test_unknown_zone if {
	refused_as_malformed(asked({"zone": "elsewhere"}))
	refused_as_malformed(under({"zone": "elsewhere"}))
}

test_fields_that_are_no_list if {
	refused_as_malformed(asked({"fields": "name"}))
	refused_as_malformed(asked({"fields": ["name", "name"]}))
	refused_as_malformed(asked({"fields": []}))
}

test_agreements_that_are_no_list if refused_as_malformed(asked({"agreements": null}))

test_candidate_with_a_key_more_or_less if {
	refused_as_malformed(under({"more": 1}))
	every key in object.keys(agreement) - {"purpose"} {
		refused_as_malformed(asked({"agreements": [object.remove(agreement, [key])]}))
	}
}

test_candidate_without_legal_basis if refused_as_malformed(under({"legal_basis": ""}))

test_candidate_of_another_department_or_dataset if {
	refused_as_malformed(under({"consumer": "ny.tax"}))
	refused_as_malformed(under({"dataset": "ps.hukou_household"}))
	refused_as_malformed(under({"consumer": "ny.tax", "purpose": "supervise"}))
}

test_candidate_twice if refused_as_malformed(asked({"agreements": [agreement, agreement]}))

test_grant_twice if {
	grant := {"path": "name", "mask": {"kind": "keep"}}
	refused_as_malformed(under({"fields": [grant, grant]}))
}

refused_as_malformed(body) if {
	codes := {reason.code | some reason in answer(body).reasons}
	codes == {"malformed_question"}
}

test_unknown_dataset if refused(asked({"dataset": null, "agreements": []}), ["unknown_dataset"])

test_unknown_department if {
	refused(asked({"principal": {"department": null}, "agreements": []}), ["unknown_department"])
}

test_on_behalf_of_another if refused(asked({"on_behalf_of": "ny.shezhen"}), ["delegation"])

test_unknown_purpose if {
	answer(asked({"purpose": "curiosity", "agreements": []})).reasons == [{
		"code": "wrong_purpose",
		"purpose": "curiosity",
		"detail": "unknown",
	}]
}

test_only_department_systems_and_stewards_read if {
	every role in ["department_system", "steward"] {
		allowed(asked({"principal": {"roles": [role]}}))
	}
	every role in ["auditor", "operator", "sharing_authority"] {
		refused(asked({"principal": {"roles": [role]}}), ["wrong_action"])
		refused(asked({"principal": {"roles": ["department_system", role]}}), ["wrong_action"])
		refused(unconditional({"principal": {"roles": [role]}}), ["wrong_action"])
	}
	refused(asked({"principal": {"roles": []}}), ["wrong_action"])
	refused(asked({"principal": {"roles": ["guest"]}}), ["wrong_action"])
}

test_case_closed if {
	refused(asked({"case": {"status": "closed"}}), ["case_closed"])
	refused(asked({"case": {"status": "paused"}}), ["case_closed"])
	refused(unconditional({"case": {"id": "case-1", "epoch": 2, "status": "closed", "members": set_name, "opened_ns": 0}}), ["case_closed"])
}

test_lookup_inside_the_case if allowed(looked_up([]))

test_lookup_outside_the_case if refused(looked_up(["0123456789abcdef0123456789abcdef"]), ["not_in_case"])

looked_up(outside) := asked({
	"action": "lookup",
	"lookup": {"tags": ["0123456789abcdef0123456789abcdef"], "outside": outside},
})

test_lookup_outside_is_judged_only_in_a_case if {
	body := caseless({}, {
		"action": "lookup",
		"fields": ["name"],
		"lookup": {"tags": [], "outside": ["0123456789abcdef0123456789abcdef"]},
	})
	allowed(body)
}

test_not_shared if {
	every share_type in ["not_shared", "", "open"] {
		refused(asked({"dataset": object.union(question.dataset, {"share_type": share_type})}), ["no_agreement"])
	}
}

test_refusals_of_the_question_override_every_permission if {
	body := object.union(unconditional({}), {"on_behalf_of": "ny.shezhen", "principal": {"roles": ["auditor"]}})
	refused(body, ["delegation", "wrong_action"])
}
