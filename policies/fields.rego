# Which fields are asked for, and what may be shown of them.
package exchange.fields

import rego.v1

# The grants that the question asks for: null is all of them, a list exactly these.
selected(grants) := grants if {
	input.fields == null
} else := chosen if {
	chosen := [grant |
		some grant in grants
		grant.path in asked
	]
}

asked := paths if {
	is_array(input.fields)
	paths := {path | some path in input.fields}
} else := set()

missing(grants) := asked - {grant.path | some grant in grants}

of_class(classes) := {path |
	some path, field in input.dataset.fields
	field.class in classes
}

open_l1 := of_class({"L1"})

kept_always := of_class({"L1", "L2"})

kept_in_case := of_class({"L1", "L2", "L3"})

known := of_class({"L1", "L2", "L3", "L4"})

# L4 is never shown as it is; L3 is, but only of a case's members. A field that has no class is not shown at all.
too_open(grants, within_case) := union({
	{grant.path | some grant in grants} - known,
	{grant.path | some grant in grants; grant.mask.kind == "keep"} - keepable(within_case),
})

keepable(within_case) := kept_in_case if {
	within_case
} else := kept_always

# The public zone sees nothing above L1, under no mask.
beyond_public(grants) := paths - open_l1 if {
	input.zone == "public"
	paths := {grant.path | some grant in grants}
} else := set()

# The threshold of a verdict may name an entry of a code table; the plan holds the number itself.
resolved(mask) := mask if {
	not is_object(object.get(mask, "value", null))
} else := {"kind": mask.kind, "op": mask.op, "value": entry} if {
	mask.kind == "verdict"
	object.keys(mask.value) == {"table", "key"}
	entry := data.codes[mask.value.table][mask.value.key]
	is_number(entry)
}

unresolved(grants) := {grant.path |
	some grant in grants
	is_object(grant.mask.value)
	not resolved(grant.mask)
}
