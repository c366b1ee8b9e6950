"""The small exchange that the path tests play on is what its docstring says."""

from tests.simulator import AUDITOR, DATASET, MEMBERS, Site


def test_the_small_exchange_is_whole(site: Site) -> None:
    """Five records and one dead letter are in it, and the checker sees the two members of the case."""
    figures = {(row["what"], row["name"]): row["count"] for row in site.run("status", "--json", who=AUDITOR).json}
    assert (figures["records", DATASET], figures["dead letters", DATASET]) == (5, 1)
    assert sorted(record["person_id"] for record in site.read().records) == sorted(MEMBERS)


def test_one_test_does_not_see_what_another_does(made: Site, site: Site) -> None:
    """A copy goes its own way."""
    before = len(made.entries())
    site.read()
    assert len(site.entries()) > before
    assert len(made.entries()) == before
