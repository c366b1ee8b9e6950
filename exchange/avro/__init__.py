"""Avro (specification 1.11): schemas, records as bytes, frames, container files; strict both ways."""
