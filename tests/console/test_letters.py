"""Dead letters on their page, and the corrected file published from there."""

from tests.console.browsing import Town, said
from tests.simulator import ADAPTER, DAMAGED, DATASET, FILE, HEADER, NEIGHBOUR, PERSONS, PROVIDER, TITLE, row

PAGE = f"/datasets/{DATASET}/dead-letters"
CORRECTED = "440524199001010013"


def _file(*rows: str) -> bytes:
    return "\n".join([TITLE, HEADER, *rows, ""]).encode("utf-8-sig")


def _sent(town: Town, content: bytes, name: str = FILE, adapter: str = ADAPTER) -> tuple[int, str]:
    browser = town.browser(PROVIDER)
    browser.get(PAGE)
    answer = browser.post(f"/datasets/{DATASET}/records", {"adapter": adapter}, files={"file": (name, content)})
    return answer.status_code, said(browser.follow(answer) if answer.status_code == 303 else answer)


def test_a_dead_letter_says_where_why_and_in_which_shape(looked_at: Town) -> None:
    """In the reader's language, never with a value."""
    page = said(looked_at.browser(PROVIDER, "zh").get(PAGE))
    assert f"{FILE} 第 8 行 · 社会保障号码" in page
    assert "cell_id_damaged" in page
    assert DAMAGED not in page


def test_the_corrected_file_is_published_from_the_page(town: Town) -> None:
    """The corrected row is taken, those that were there are not taken twice; sent again, nothing happens."""
    rows = [row(person, 10_000 * number) for number, person in enumerate(PERSONS, 1)]
    content = _file(*rows, row(CORRECTED, 1_00))
    status, page = _sent(town, content)
    assert status == 303
    assert "Published: 1 taken, 0 still put aside" in page
    assert NEIGHBOUR not in page
    assert "Published: 0 taken, 0 still put aside" in _sent(town, content)[1]


def test_what_is_still_wrong_is_put_aside_again(town: Town) -> None:
    """And stands among the dead letters."""
    status, page = _sent(town, _file(row("4.5E+17", 1_00), row(CORRECTED, 2_00)))
    assert status == 303
    assert "Published: 1 taken, 1 still put aside" in page


def test_a_file_name_leads_nowhere_and_names_nobody(looked_at: Town) -> None:
    """It is refused and not repeated: it would be a place, or would stand in dead letters for ever."""
    for name in ("../../keys/audit.key", ".hidden", "x\x00.csv", "11010519491231002X.csv", "n" * 200, "<b>"):
        status, page = _sent(looked_at, b"x", name=name)
        assert status == 400, name
        assert "name may not be kept" in page, name
        assert "11010519491231002X" not in page


def test_an_adapter_is_one_of_the_sites(looked_at: Town) -> None:
    """By its name in the list; no path from a browser is opened."""
    for adapter in ("", "no.toml", "../adapters/pension.toml", "/etc/passwd"):
        status, page = _sent(looked_at, _file(), adapter=adapter)
        assert status == 400
        assert "no adapter of that name" in page


def test_no_file_and_no_csv_are_errors_on_the_page(looked_at: Town) -> None:
    """With their place, as the command line says them."""
    browser = looked_at.browser(PROVIDER)
    browser.get(PAGE)
    assert browser.post(f"/datasets/{DATASET}/records", {"adapter": ADAPTER}).status_code == 400
    status, page = _sent(looked_at, b"\x00\x01\x02")
    assert status == 400
    assert FILE in page


def test_a_form_that_is_no_form_is_an_error(looked_at: Town) -> None:
    """A broken multipart body: 400 as a page, no fault."""
    browser = looked_at.browser(PROVIDER)
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = browser.send("POST", f"/datasets/{DATASET}/records", content=b"--y\r\n", headers=headers)
    assert answer.status_code in {400, 403}
    assert "<html" in answer.text
