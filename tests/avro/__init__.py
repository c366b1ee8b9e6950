"""Tests of the Avro room, with fastavro as the reference."""
