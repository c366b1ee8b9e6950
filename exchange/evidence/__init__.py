"""An evidence bundle, and how anybody checks it: an answer of the exchange with all that proves it, in one file.

The writer is `exchange.wiring.evidence`. What is here judges, and shares no code with it or with the rest of the
exchange: standard library only, Python 3.8 and later, so that it is also `exchange-verify.pyz` for an office laptop.

**Format `exchange.evidence/1`.** A ZIP archive without compression, its members in the order of their names, every
time 1980-01-01, no extra fields, no comments: equal content gives equal bytes, and no byte of it is free. The same
files in a folder are a bundle too.

    question.json           canonical JSON (keys sorted, no white space, UTF-8) and a line feed
    vkey                    the log's public key (C2SP signed-note `name+hash+key`) and a line feed
    checkpoint              the log's signed checkpoint (C2SP tlog-checkpoint) that all proofs end in
    entries/<index>         a leaf of the log, its bytes as they are hashed
    proofs/<index>          the leaf's inclusion in the checkpoint: C2SP tlog-proof `@v1`, the checkpoint at its end
    kept/<size>             a checkpoint that the auditor kept
    consistency/<size>      that the checkpoint continues it: the request body of C2SP tlog-witness `add-checkpoint`
                            (`old <size>`, the hashes in base64, an empty line, the checkpoint)
    segments/<index>/<page> a page of the segment that this `index_segment` entry names, its rows as they are hashed
    segments/<index>/proof  the hashes that lead from its pages to its root, left to right, base64, a line each
    range/<index>           entries from this index on, as C2SP tlog-tiles has them (each behind its length, uint16),
                            cut where the log's bundles of 256 end
    range/proof             the hashes beside the range, left to right, base64, a line each

In `kept` a checkpoint may stand without its signature, three lines: so an auditor keeps what a verification ended with.

**Who saw a subject.** `question.json` has `format`; `query` (`who_saw`); `tags`, the subjects asked about, hex: never
an id; `size`, how much of the log the answer covers; `answer`, a list of `index` and `positions` (those of the
subject's records that the release showed, as the exchange says); `asked`, the index of the log's own `audit_query`
entry. That entry is in the bundle, and its `parameters_digest` is `sha256:` of the canonical JSON of the question
without `asked`: so the log itself fixes which answer was given. Beside the answer's entries the bundle holds what
they rest on: the schemas of all its entries, decisions, the events of the agreements, of the policy, the gateway's
runs, the publishers' commits.

**Nothing left out.** `question.json` has `sealed` when the bundle proves that: up to which entry E segments of the
subject index (`exchange.audit.segments`) cover the log. The bundle then holds, as pages of segments that follow one
another from 0 on: of each partition the rows of the tags; of `@named` the entries below E that name them; of
`@ranges` the releases over each of their positions, that there is no release of any other partition, and none of
positions behind the sealed ones. The entries from E to `size` are in it whole, and so are those to the checkpoint
unless they are many. The checker computes the answer again from these alone, and it must be the one in the question;
a release that went over a record of the subject and held it back is told as such.

**Searches.** `query` is `releases`, `unconfirmed`, `refusals`, `grants`, `policy`, `openings`, `queries` or `keys`;
`filter` has what was asked for (`officer`, by pseudonym, `department`, `dataset`, `case`, `purpose`, `field`,
`from_ns`, `until_ns`); `answer` the indexes found, rising; `size` and `asked` are as above, and so is what the log's
own entry binds. There are two forms. A *list* holds the entries found, each with its proof: the checker applies the
filter to each again, and that there are no others is not proved. With `range`, [lo, hi], the bundle holds every entry
from lo on and before hi, and the checker finds the answer itself: it is complete within them. Indexes are the order
of the log; times are what the writers of entries stated. A period is turned into indexes by whoever answers, and the
checker sees that the range begins with an entry of before the period, or the log's first, and ends with one of behind
it, or the last of `size`: that none beyond states a time of the period is not proved. Of `unconfirmed` the range goes
to `size`, for a confirmation can come at any time. Of `grants` the first event of each agreement is in the bundle: it
says whose it is and what it is about.

**What it proves.** Each entry is in the log under this checkpoint; the log continues each kept checkpoint; the
exchange gave this answer to this question; the answer has every entry that the segments and the entries behind them
name.
**What it does not prove**: that the segments of `@named` and `@ranges` are made of what the log says (`exchange audit
verify` of the whole log computes them again), that those of records are what departments published (whoever has the
record log makes them again), that nothing ended a right between the events shown, and reads outside the exchange; of
searches, that a pseudonym is the officer's who was asked about, and that what was released was permitted. Pages hold
rows of other subjects too: tags and positions, no ids.
"""
