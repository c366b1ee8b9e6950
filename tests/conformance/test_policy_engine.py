"""Every policy engine keeps the promises of `exchange.policy.PolicyEngine`."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import pytest_socket

from exchange.errors import Invalid, Refused
from exchange.names import canonical
from exchange.policy import Bundle, PolicyEngine
from exchange.policy.bundle import load_bundle
from tests.policy.engines import POLICIES, ROOT, MakeEngine, bundle, closing, maker, question
from tests.policy.opa_servers import World, world

QUESTION = canonical(question())
ECHO = bundle('plan := {"effect": input.action, "limit": data.codes.limit, "no": data.codes.no}')
ECHOED = {"effect": "read", "limit": 7, "no": False}
ENDLESS = """
plan := {"n": n} if {
	n := count([1 | some a in numbers.range(1, 20000); some b in numbers.range(1, 20000); a == b + input.now_ns])
}
"""
HUNGRY = """
plan := {"n": n} if {
	n := count([list | some a in numbers.range(1, 2000); list := numbers.range(a, 2000000)])
}
"""


SERVER = pytest.param("opa+http", marks=[pytest.mark.opa, pytest.mark.enable_socket])
OF_OURS = pytest.mark.parametrize("make", ["regorus", "opa"], indirect=True)  # whose process we start ourselves


@pytest.fixture(params=["regorus", "opa", SERVER], name="make")
def _make(request: pytest.FixtureRequest) -> MakeEngine:
    if request.param != "opa+http":
        return maker(request.param)
    found: World = request.getfixturevalue("opa_world")
    return found.engine


@pytest.fixture(scope="module", name="opa_world")
def _opa_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    pytest_socket.enable_socket()
    with world(tmp_path_factory.mktemp("opa")) as made:
        yield made


@pytest.fixture(name="engine")
def _engine(make: MakeEngine) -> Iterator[PolicyEngine]:
    yield from closing(make(1.0))


@pytest.fixture(name="hasty")
def _hasty(make: MakeEngine) -> Iterator[PolicyEngine]:
    """An engine with little time."""
    yield from closing(make(0.15))


def refusal(engine: PolicyEngine, asked: bytes = QUESTION) -> tuple[str, str]:
    """The code and detail of the refusal that this question gets."""
    with pytest.raises(Refused) as refused:
        engine.evaluate(asked)
    return refused.value.code, str(refused.value.facts.get("detail", ""))


def children(parent: int) -> list[int]:
    """The processes that this one started and that are still there, dead ones that nobody waited for included."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(entry.parent.name))
    return found


def test_same_question_same_document(engine: PolicyEngine) -> None:
    """A question gets the same document each time, and again under the same bundle loaded anew."""
    standing = load_bundle(POLICIES)
    answers = []
    for _ in range(2):
        engine.load(standing)
        answers += [canonical(engine.evaluate(QUESTION)) for _ in range(2)]
    assert len(set(answers)) == 1
    assert json.loads(answers[0])["effect"] == "allow"


def test_without_a_bundle(engine: PolicyEngine) -> None:
    """No bundle, or none any more: refused, never answered from an earlier one."""
    assert refusal(engine) == ("policy_unavailable", "no_policy")
    engine.load(ECHO)
    assert engine.evaluate(QUESTION) == ECHOED
    engine.load(None)
    assert refusal(engine) == ("policy_unavailable", "no_policy")


NO_ANSWERS = {
    "never": ("", "policy_undefined", ""),
    "error": ('plan := {"a": 1 / input.case.opened_ns} if asked', "policy_error", "evaluation"),
    "conflict": ('plan := {"a": input.action} if asked\n\nplan := {"a": 2} if asked', "policy_error", "evaluation"),
    "list": ("plan := [input] if asked", "policy_error", "answer_no_object"),
    "word": ('plan := "<undefined>" if asked', "policy_*", ""),
    "fraction": ('plan := {"a": 1.5} if asked', "policy_error", "answer_not_canonical"),
    "large": ('plan := {"a": numbers.range(1, 200000)} if asked', "policy_error", "answer_too_large"),
}


def test_no_answer_is_a_refusal(engine: PolicyEngine) -> None:
    """Undefined, an error, no object, a fraction, too much: refused by its code, each as the action asks for it."""
    bodies = [body.replace("asked", f'input.action == "{name}"') for name, (body, _, _) in NO_ANSWERS.items()]
    engine.load(bundle("\n\n".join(bodies)))
    for name, (_, code, detail) in NO_ANSWERS.items():
        refused = refusal(engine, canonical({**question(), "action": name}))
        if code == "policy_*":
            assert refused[0] in {"policy_undefined", "policy_error"}
        else:
            assert refused == (code, detail), name


def test_a_bundle_without_a_plan_answers_nothing(engine: PolicyEngine) -> None:
    """A bundle that says nothing of plans refuses every question."""
    engine.load(bundle("other := 1"))
    assert refusal(engine) == ("policy_undefined", "")


def test_errors_hold_nothing_of_the_question(engine: PolicyEngine, capfd: pytest.CaptureFixture[str]) -> None:
    """An error at evaluation names file and line; no value of the question is in it, nor printed anywhere."""
    engine.load(bundle('plan := {"a": count(input.now_ns), "b": input.principal.id}'))
    with pytest.raises(Refused) as refused:
        engine.evaluate(QUESTION)
    assert refused.value.where == "plan.rego:5"
    assert "179542" not in str(refused.value) + repr(refused.value.__context__)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("body", [ENDLESS, HUNGRY])
def test_runaway_costs_its_own_question_only(hasty: PolicyEngine, body: str) -> None:
    """An evaluation without end is refused; other threads run on meanwhile; the next question is answered."""
    runaway = body.replace("plan :=", "run :=") + '\nplan := run if input.action == "follow"\n\nelse := {"a": 1}\n'
    hasty.load(bundle(runaway))
    beats, stop = 0, Event()

    def beat() -> None:
        nonlocal beats
        while not stop.wait(0.005):
            beats += 1

    other = Thread(target=beat)
    other.start()
    assert refusal(hasty, canonical(question(action="follow"))) == ("policy_error", "deadline")
    stop.set()
    other.join()
    assert beats > 3  # a policy that holds the interpreter lets at most one through
    assert hasty.evaluate(QUESTION) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("package exchange\n\nimport rego.v1\n\nplan := {\n", 6),
        ('package exchange\n\nimport rego.v1\n\nplan := {"a": 1} if { x > 1 }\n', 5),
        ("package exchange\n\nimport rego.v1\n\n\n)\n", 6),
    ],
)
def test_load_is_all_or_nothing(engine: PolicyEngine, text: str, line: int) -> None:
    """A bundle that does not compile is refused with file and line, and the former one goes on answering."""
    engine.load(ECHO)
    broken = Bundle({"plan.rego": ECHO.modules["plan.rego"].replace("plan", "was"), "wrong.rego": text}, {})
    with pytest.raises(Invalid) as invalid:
        engine.load(broken)
    assert invalid.value.code == "policy_unparsable"
    assert invalid.value.where in {f"wrong.rego:{line}", f"wrong.rego:{line - 1}"}
    assert engine.evaluate(QUESTION) == ECHOED


def test_hostile_text_does_not_hang_the_engine(engine: PolicyEngine) -> None:
    """A bundle that no engine may be given is refused before it is, and the former one stays."""
    engine.load(ECHO)
    for body in ("plan := http.send({})", "plan := print(input)", f"plan := {'[' * 300}{']' * 300}"):
        with pytest.raises(Invalid) as invalid:
            engine.load(bundle(body))
        assert invalid.value.code == "policy_module_refused"
    assert engine.evaluate(QUESTION) == ECHOED


def test_what_is_offered_can_be_loaded(engine: PolicyEngine) -> None:
    """While a bundle is offered, questions are answered by the loaded one; once loaded, the next one by the new one."""
    engine.load(ECHO)
    other = bundle('plan := {"other": input.action}')
    with engine.offering(other, 20.0):
        assert engine.evaluate(QUESTION) == ECHOED
        engine.load(other)
        assert engine.evaluate(QUESTION) == {"other": "read"}


def test_what_does_not_compile_is_not_offered(engine: PolicyEngine) -> None:
    """The block is not entered, and what is loaded goes on answering."""
    engine.load(ECHO)
    for body, code in (("plan := {", "policy_unparsable"), ("plan := data.other", "policy_module_refused")):
        with pytest.raises(Invalid, match=code), engine.offering(bundle(body), 20.0):
            pytest.fail("it was offered")
    assert engine.evaluate(QUESTION) == ECHOED


def test_any_thread(engine: PolicyEngine) -> None:
    """Threads may share an engine: each gets the answer to its own question."""
    engine.load(bundle('plan := {"id": input.id}'))

    def ask(number: int) -> Mapping[str, Any]:
        return engine.evaluate(canonical({"id": f"q-{number}"}))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(200)))
    assert answers == [{"id": f"q-{number}"} for number in range(200)]


def test_large_question(make: MakeEngine) -> None:
    """A question of half a megabyte is answered as any other."""
    for engine in closing(make(5.0)):
        engine.load(bundle('plan := {"n": count(input.tags)}'))
        assert engine.evaluate(canonical({"tags": [f"{n:032x}" for n in range(20_000)]})) == {"n": 20_000}


@OF_OURS
def test_process_that_died_is_replaced(engine: PolicyEngine) -> None:
    """When somebody kills the engine's process, the next question is answered all the same."""
    others = set(children(os.getpid()))
    engine.load(ECHO)
    ours = set(children(os.getpid())) - others
    killed = [process for child in ours for process in (*children(child), child)]
    assert killed
    for process in killed:
        os.kill(process, signal.SIGKILL)
    while any(_running(process) for process in killed):
        time.sleep(0.001)
    time.sleep(0.1)  # a process of many threads is a zombie before the last of them has closed its files
    assert engine.evaluate(QUESTION) == ECHOED


@OF_OURS
def test_close_leaves_nothing_behind(engine: PolicyEngine) -> None:
    """After `close`, which may be called again, no process is left, and a question is refused."""
    before = set(children(os.getpid()))
    engine.load(ECHO)
    assert set(children(os.getpid())) > before
    engine.close()
    engine.close()
    assert set(children(os.getpid())) == before
    assert refusal(engine) == ("policy_unavailable", "no_policy")


@OF_OURS
def test_runaways_leave_no_zombie(hasty: PolicyEngine) -> None:
    """A process that was killed for its deadline is waited for."""
    before = set(children(os.getpid()))
    hasty.load(bundle(ENDLESS))
    assert refusal(hasty)[1] == "deadline"
    hasty.close()
    assert set(children(os.getpid())) == before


@pytest.mark.parametrize("name", ["regorus", "opa"])
def test_engine_ends_with_its_parent(name: str, tmp_path: Path) -> None:
    """When the exchange is killed, the engine's processes end by themselves, and leave no folder."""
    maker(name)
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys, time
        from tests.policy.engines import maker
        from tests.conformance.test_policy_engine import ECHO, children
        engine = maker({name!r})(1.0)
        engine.load(ECHO)
        print("ready", flush=True)
        time.sleep(60)
        """)
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        orphans = [child for one in children(parent.pid) for child in (one, *children(one))]
        assert orphans
        parent.kill()
    until = time.monotonic() + 5
    while any(_running(orphan) for orphan in orphans) and time.monotonic() < until:
        time.sleep(0.01)
    assert not [orphan for orphan in orphans if _running(orphan)]
    assert [path.name for path in tmp_path.iterdir()] == ["parent.py"]


def _running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_bundle_tests(hasty: PolicyEngine) -> None:
    """Rules named `test_…`: true held; false, undefined, error, no boolean, no end did not; what is in force stays."""
    hasty.load(ECHO)
    tests = f"""package exchange.tests

import rego.v1

test_true if data.exchange.plan.limit == 7 with input as {{"action": "read"}}

test_false := false

test_undefined if data.codes.limit == 8

test_error if 1 / 0 > 0

test_number := 1

{ENDLESS.replace("plan := {", "test_endless := {").replace("input.now_ns", "100000")}
# test_comment if true

words := `
test_text if true`

test_last if true
"""
    results = hasty.test(Bundle({**ECHO.modules, "plan_test.rego": tests}, ECHO.codes))
    assert {name.removeprefix("data.exchange.tests."): held for name, held in results.items()} == {
        "test_true": True,
        "test_false": False,
        "test_undefined": False,
        "test_error": False,
        "test_number": False,
        "test_endless": False,
        "test_last": True,
    }
    assert hasty.evaluate(QUESTION) == ECHOED
    with pytest.raises(Invalid, match="policy_unparsable"):
        hasty.test(bundle("plan := {"))


def test_tests_take_no_part_in_answers(engine: PolicyEngine) -> None:
    """What stands in a `*_test.rego` module cannot change an answer."""
    smuggled = "package exchange\n\nimport rego.v1\n\nplan := {}\n"
    engine.load(Bundle({**ECHO.modules, "smuggled_test.rego": smuggled}, ECHO.codes))
    assert engine.evaluate(QUESTION) == ECHOED


def test_standing_policies_pass_their_tests(engine: PolicyEngine) -> None:
    """Every test of `policies/` holds on every engine."""
    results = engine.test(load_bundle(POLICIES))
    assert [name for name, held in results.items() if not held] == []
    assert len(results) >= 60
