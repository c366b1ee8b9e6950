"""Faults of real processes: a site on Kafka and PostgreSQL behind `exchange serve`, a steady publisher and a steady
reader over HTTP, and one process after another killed or stopped under them.

| module | is |
|---|---|
| `stack` | the servers, the site and its processes, by name |
| `victims` | each process that may be struck: how it is killed, started, stopped, continued |
| `clients` | publisher and reader: processes of their own, of the standard library alone, each with its ledger |
| `witness` | what must hold afterwards, judged from the ledgers, Kafka and the exported audit log: no code of ours |
| `drill` | strikes, waits for the service to come back, asks the witness |
| `mutants` | the exchange broken on purpose, to see that the witness says so |
"""
