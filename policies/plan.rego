# The entry: a question in, the body of a plan out (plan.md). Deny by default; a refusal that holds for the whole
# question overrides every permission. What the exchange knows anyway (format, dataset, policy revision and epoch)
# it completes itself.
package exchange

import rego.v1

import data.exchange.agreements
import data.exchange.question
import data.exchange.unconditional

default plan := {"effect": "deny", "reasons": [{"code": "policy_undefined"}]}

plan := refused(question.faults) if {
	count(question.faults) > 0
} else := refused(question.refusals) if {
	count(question.refusals) > 0
} else := unconditional.plan if {
	unconditional.granted
} else := agreements.plan if {
	agreements.granted
} else := refused(open_refusals) if {
	count(open_refusals) > 0
} else := refused({{"code": "no_agreement"}})

open_refusals := unconditional.refusals | agreements.refusals

refused(reasons) := {"effect": "deny", "reasons": ordered(reasons)}

# Sorted by a text, because engines differ in how they order objects.
ordered(reasons) := list if {
	by_key := {key: reason |
		some reason in reasons
		key := concat("|", [reason.code, object.get(reason, "agreement", ""), place(reason)])
	}
	list := [by_key[key] | some key in sort(object.keys(by_key))]
}

place(reason) := concat("|", [object.get(reason, "path", ""), object.get(reason, "detail", "")])
