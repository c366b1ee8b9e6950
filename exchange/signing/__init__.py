"""Keys, keyed names and signatures: Merkle roots, signing keys and secrets, subject tags, pseudonyms, seals."""
