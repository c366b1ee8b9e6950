"""The audit log: a Merkle tree of Avro entries, its signed checkpoints, who-saw, and the offline verifier."""
