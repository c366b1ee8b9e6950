"""Lets the exchange make topics and access lists at a broker; what those lists then say it gives itself.

`permit.py HOST:PORT`, with the administrator's password in /run/secrets/kafka_admin and the brokers' CA in
/run/secrets/ca (or in the folder SECRETS). Again it changes nothing. It waits for a broker that is still starting.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType
from kafka.errors import KafkaError

OPERATIONS = (ACLOperation.CREATE, ACLOperation.ALTER, ACLOperation.DESCRIBE)
PATIENCE_S = 90


def main(server: str, secrets: Path) -> int:
    """Exit code 3 when no broker lets the administrator in within `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return _permitted(server, secrets)
        except (KafkaError, OSError) as error:
            if time.monotonic() > deadline:
                print(f"permit.py: {server}: {type(error).__name__}: {error}", file=sys.stderr)
                return 3
            time.sleep(1)


def _permitted(server: str, secrets: Path) -> int:
    client: Any = KafkaAdminClient(
        bootstrap_servers=[server],
        security_protocol="SASL_SSL",
        ssl_cafile=str(secrets / "ca"),
        sasl_mechanism="SCRAM-SHA-512",
        sasl_plain_username="admin",
        sasl_plain_password=(secrets / "kafka_admin").read_text("utf-8").strip(),
    )
    try:
        cluster = ResourcePattern(ResourceType.CLUSTER, "kafka-cluster")
        lists = [ACL("User:exchange", "*", one, ACLPermissionType.ALLOW, cluster) for one in OPERATIONS]
        failed = client.create_acls(lists)["failed"]
    finally:
        client.close()
    print(f"permit.py: {server}: {'refused' if failed else 'the exchange may make topics and access lists'}")
    return 3 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(os.environ.get("SECRETS", "/run/secrets"))))
