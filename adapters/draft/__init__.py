"""From a file of one's own to a draft of all that the exchange wants to know of it.

`table` finds where the records stand, `columns` what each column holds, `kinds` and `words` recognise what is personal
or sensitive, `proposal` puts it together, `reasons` says why, `writing` writes the contract, the schema and the
adapter's configuration. A draft is a proposal with reasons, for a steward to correct: it decides nothing.
"""

from adapters.draft.proposal import Draft, DraftField, draft_file
from adapters.draft.reasons import Reason
from adapters.draft.writing import write_draft

__all__ = ["Draft", "DraftField", "Reason", "draft_file", "write_draft"]
