"""An auditor's searches as pages: what they find is what the API finds, by the same right and with the same entries."""

import re
from typing import Any

from tests.console.browsing import Town, said
from tests.simulator import AUDITOR


def test_try(looked_at: Town) -> None:
    for lang in ("zh", "en"):
        b = looked_at.browser(AUDITOR, lang)
        for what in ("releases", "unconfirmed", "refusals", "grants", "policy", "openings", "queries", "keys"):
            answer = b.get(f"/audit/{what}")
            answer = b.follow(answer)
            if answer.status_code != 200: print("\n".join(looked_at.lines[-2:]))
            assert answer.status_code == 200
            print(answer.url, said(answer)[500:2500])
            for s in ("csv", "xlsx"):
                a = b.get(f"/audit/{what}.{s}")
                print(a.status_code, a.headers, a.content[:300])
