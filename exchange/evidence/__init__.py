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
    segments/               reserved for proofs from the sealed subject index; this version does not judge them

`question.json` has `format`; `query` (`who_saw`); `tags`, the subjects asked about, hex: never an id; `size`, how much
of the log the answer covers; `answer`, a list of `index` and `positions` (those of the subject's records that the
release showed, as the exchange says); `asked`, the index of the log's own `audit_query` entry. That entry is in the
bundle, and its `parameters_digest` is `sha256:` of the canonical JSON of the question without `asked`: so the log
itself fixes which answer was given. Beside the answer's entries the bundle holds what they rest on: the schemas of all
its entries, decisions, the events of the agreements, of the policy, the gateway's runs, the publishers' commits.

**What it proves.** Each entry is in the log under this checkpoint; the log continues each kept checkpoint; the exchange
gave this answer to this question. **What it does not prove**: that the answer is complete (an entry about the subject
could be left out, until segments prove the contrary), that a position belongs to the subject, and that nothing ended a
right between the events shown: for these the whole log is verified (`exchange audit verify`).
"""
