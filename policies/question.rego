# What is wrong with a question as a whole: faults (it is not a question that can be answered) and refusals (nothing
# that an agreement could mend).
package exchange.question

import rego.v1

question_keys := {
	"format", "id", "now_ns", "action", "zone", "principal", "on_behalf_of", "dataset", "purpose", "fields", "case",
	"agreements",
}

agreement_keys := {
	"id", "revision", "epoch", "status", "consumer", "dataset", "schema", "purpose", "legal_basis", "actions", "fields",
	"rows", "case_bound", "zone", "counts", "not_before_ns", "expires_ns", "purge_by",
}

objects := {
	"principal": {"id", "department", "roles", "epoch"},
	"dataset": {"name", "schema", "share_type", "subject", "fields"},
	"case": {"id", "epoch", "status", "members", "opened_ns"},
	"lookup": {"tags", "outside"},
}

expected_keys := question_keys | {"lookup"} if {
	input.action in {"lookup", "verify"}
} else := question_keys

# Everything below is judged only when no key is missing: engines differ on `not` of what is undefined.
whole_keys if object.keys(input) == expected_keys

faults contains malformed("keys") if not whole_keys

faults contains malformed("format") if input.format != "exchange.question/1"

faults contains malformed(name) if {
	some name, keys in objects
	is_object(input[name])
	object.keys(input[name]) != keys
}

faults contains malformed(name) if {
	some name in ({"principal", "dataset", "case", "lookup"} & object.keys(input))
	not is_object(input[name])
	not null_is_a_fact(name)
}

# null says "no such dataset" (refused below) and "no case".
null_is_a_fact(name) if {
	name in {"dataset", "case"}
	input[name] == null
}

faults contains malformed("now_ns") if {
	whole_keys
	not whole(input.now_ns)
}

faults contains malformed("zone") if {
	whole_keys
	not data.codes.zones[input.zone]
}

faults contains malformed("fields") if {
	input.fields != null
	not different(input.fields)
}

faults contains malformed("agreements") if {
	whole_keys
	not is_array(input.agreements)
}

faults contains malformed("agreements") if {
	some agreement in candidates
	agreement.purpose == input.purpose
	not sound(agreement)
}

# Candidates are this consumer's, for this dataset, each once; any other is a contradiction.
faults contains malformed("agreements.id") if {
	count({agreement.id | some agreement in candidates}) != count(candidates)
}

faults contains malformed("agreements.consumer") if {
	count({agreement.consumer | some agreement in candidates} - {input.principal.department}) > 0
}

faults contains malformed("agreements.dataset") if {
	count({agreement.dataset | some agreement in candidates} - {input.dataset.name}) > 0
}

candidates := input.agreements if {
	is_array(input.agreements)
} else := []

sound(agreement) if {
	object.keys(agreement) == agreement_keys
	agreement.legal_basis != ""
	is_boolean(agreement.case_bound)
	whole(agreement.not_before_ns)
	whole(agreement.expires_ns)
	data.codes.zones[agreement.zone]
	different([field.path | some field in agreement.fields])
}

# A list of things that are all different; an empty list of fields asks for nothing, which `fields` never means.
different(list) if {
	is_array(list)
	count({one | some one in list}) == count(list)
}

whole(value) if {
	is_number(value)
	value >= 0
}

malformed(place) := {"code": "malformed_question", "detail": place}

refusals contains {"code": "malformed_question", "detail": "fields.empty"} if input.fields == []

refusals contains {"code": "unknown_dataset"} if input.dataset == null

refusals contains {"code": "unknown_department"} if not is_string(input.principal.department)

refusals contains {"code": "delegation"} if input.on_behalf_of != null

refusals contains {"code": "wrong_purpose", "purpose": input.purpose, "detail": "unknown"} if {
	not data.codes.purposes[input.purpose]
}

# Payload is for department systems and stewards. Who supervises reads none, whatever other role he has.
refusals contains {"code": "wrong_action", "action": input.action, "detail": "role"} if not reads

reads if {
	is_array(input.principal.roles)
	some role in input.principal.roles
	role in data.codes.roles.reading
	count({one | some one in input.principal.roles; one in data.codes.roles.never_reading}) == 0
}

refusals contains {"code": "case_closed", "case": input.case.id} if input.case.status != "open"

refusals contains {"code": "not_in_case", "case": input.case.id} if {
	is_object(input.case)
	input.lookup.outside != []
}

refusals contains {"code": "no_agreement", "detail": "not_shared"} if {
	not input.dataset.share_type in {"unconditional", "conditional"}
	input.dataset != null
}
