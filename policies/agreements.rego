# Conditional sharing: one agreement that permits exactly what is asked.
package exchange.agreements

import rego.v1

# What was never in force (requested, returned, rejected …) is no agreement.
for_purpose := [agreement |
	some agreement in input.agreements
	agreement.purpose == input.purpose
	agreement.status in {"active", "suspended", "revoked", "expired"}
]

faulty := {agreement.id: reasons |
	some agreement in for_purpose
	reasons := refusals_of(agreement)
	count(reasons) > 0
}

# Of several that permit it, the one with the lowest id: the same answer from every engine.
chosen := min({agreement.id |
	some agreement in for_purpose
	not faulty[agreement.id]
})

granted if chosen

refusals contains reason if {
	some reasons in faulty
	some reason in reasons
}

refusals contains {"code": "wrong_purpose", "purpose": input.purpose} if {
	count(for_purpose) == 0
	some agreement in input.agreements
	agreement.status == "active"
}

plan := {
	"effect": "allow",
	"reasons": [{"code": "agreement", "agreement": agreement.id, "revision": agreement.revision}],
	"fields": shown,
	"rows": rows_of(agreement),
	"obligations": obligations,
	"expires_ns": min([input.now_ns + (data.codes.plan_seconds * 1000000000), agreement.expires_ns]),
	"schema": agreement.schema,
	"epochs": object.union(epochs, case_epoch),
} if {
	some agreement in for_purpose
	agreement.id == chosen
	grants := data.exchange.fields.selected(agreement.fields)
	shown := [{"path": grant.path, "mask": data.exchange.fields.resolved(grant.mask)} | some grant in grants]
	obligations := [{"kind": "purge_by", "date": date} | some date in [agreement.purge_by]; date != null]
	epochs := {
		concat("/", ["agreement", agreement.id]): agreement.epoch,
		concat("/", ["principal", input.principal.id]): input.principal.epoch,
	}
}

case_epoch := {concat("/", ["case", input.case.id]): input.case.epoch} if {
	is_object(input.case)
} else := {}

rows_of(agreement) := {"op": "and", "of": [{"op": "member", "set": input.case.members}, agreement.rows]} if {
	bound(agreement)
} else := agreement.rows

# An agreement is for a case when it says so or when its purpose asks for one.
bound(agreement) if {
	agreement.case_bound
} else if {
	data.codes.purposes[agreement.purpose].case_required
} else := false

refusals_of(agreement) := {object.union(reason, {"agreement": agreement.id}) |
	some reason in union({conditions(agreement), extent(agreement)})
}

# Whether it is in force now and permits this action, from this zone, in this case.
conditions(agreement) := {{"code": code} |
	actions := {action | some action in agreement.actions}
	held := {
		"expired": [input.now_ns < agreement.expires_ns, agreement.status != "expired"],
		"not_yet": [input.now_ns >= agreement.not_before_ns],
		"revoked": [agreement.status != "revoked"],
		"suspended": [agreement.status != "suspended"],
		"wrong_action": [count({input.action} - actions) == 0],
		"zone": [data.codes.zones[input.zone] >= data.codes.zones[agreement.zone]],
		"case_required": [[bound(agreement), is_object(input.case)] != [true, false]],
	}
	some code, required in held
	false in required
}

# Whether it permits these fields, as they are to be shown.
extent(agreement) := union({missing, hidden, open, unresolved, nothing}) if {
	grants := data.exchange.fields.selected(agreement.fields)
	missing := coded("field_not_granted", data.exchange.fields.missing(agreement.fields))
	hidden := coded("zone", data.exchange.fields.beyond_public(grants))
	open := coded("classification", data.exchange.fields.too_open(grants, bound(agreement)))
	unresolved := coded("policy_undefined", data.exchange.fields.unresolved(grants))
	nothing := {{"code": "field_not_granted", "detail": "none"} | count(agreement.fields) == 0}
}

coded(code, paths) := {{"code": code, "path": path} | some path in paths}
