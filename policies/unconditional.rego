# Unconditional sharing: every department may read L1 and L2, and everyone L1, without an agreement.
package exchange.unconditional

import rego.v1

import data.exchange.agreements

applies if input.dataset.share_type == "unconditional"

ground := "public" if {
	input.zone == "public"
} else := "unconditional"

open_classes := {"public": {"L1"}, "unconditional": {"L1", "L2"}}

# Sorted by path: a question's fields are an object, and objects have no order.
offered := [{"path": path, "mask": {"kind": "keep"}} |
	some path in sort(object.keys(input.dataset.fields))
	input.dataset.fields[path].class in open_classes[ground]
]

shown := data.exchange.fields.selected(offered)

granted if {
	applies
	count(refusals) == 0
}

refusals contains {"code": "field_not_granted", "path": path} if {
	applies
	some path in data.exchange.fields.missing(offered)
	not input.dataset.fields[path]
}

refusals contains {"code": above, "path": path} if {
	applies
	some path in data.exchange.fields.missing(offered)
	input.dataset.fields[path]
}

refusals contains {"code": above} if {
	applies
	count(offered) == 0
}

above := "zone" if {
	ground == "public"
} else := "classification"

plan := {
	"effect": "allow",
	"reasons": [{"code": ground}],
	"fields": shown,
	"rows": {"op": "all"},
	"obligations": [],
	"expires_ns": input.now_ns + (data.codes.plan_seconds * 1000000000),
	"schema": input.dataset.schema,
	"epochs": object.union(
		{concat("/", ["principal", input.principal.id]): input.principal.epoch},
		agreements.case_epoch,
	),
}
