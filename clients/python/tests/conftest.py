"""What the client's tests stand on: the service and its upstream, from the tests of the service, and a way to run
one test for the asynchronous client and for its synchronous twin.

A test named `test_c12_...` is a case of clients/contract.md; its result is written for the table.
"""

import asyncio
import contextlib
import gc
import importlib.util
import inspect
import os
import pathlib
import re
import sys

import pytest

CLIENT = pathlib.Path(__file__).resolve().parents[1]
ROOT = CLIENT.parents[1]
SOURCE = CLIENT / "src"
PAGE = ROOT / "clients/contract.md"
# Where the results of the cases go; a second run with other libraries has them elsewhere.
OUTPUT = pathlib.Path(os.environ.get("WSM_CASES_OUT", ROOT / ".cache/test-output"))
DEADLINE = 20.0
# For the whole of a test that is a coroutine; below the limit of pytest.ini, which knows nothing of its stack.
LIMIT = 3 * DEADLINE
sys.path.insert(0, str(SOURCE))


def _load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Theirs is a conftest too: by its path, for there is one module of that name already. After ours, in all else.
sys.path.append(str(ROOT / "tests/python"))
serving_parts = _load("serving_parts", ROOT / "tests/python/conftest.py")
serving, service, upstream = serving_parts.serving, serving_parts.service, serving_parts.upstream

from twin import Both  # noqa: E402

# ---------------------------------------------------------------- asynchronous tests


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs a test that is a coroutine, in a loop of its own; nothing may be left in it."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    _run(_watched(pyfuncitem.obj(**arguments)))
    return True


def _run(work):
    """As asyncio.run, but it waits for nothing without end: neither for tasks nor for threads."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(work)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=DEADLINE))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _of_older_grpcio(complaint):
    """Where two event loops of a process use it, one wakes for the other's event, or for one of a loop that is closed."""
    return isinstance(complaint.get("exception"), BlockingIOError) or "PollerCompletionQueue" in complaint["message"]


async def _watched(work):
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    test = asyncio.ensure_future(work)
    KEPT.clear()
    KEPT.update((asyncio.current_task(), test))
    done, _ = await asyncio.wait({test}, timeout=LIMIT)
    if not done:
        said = f"it did not end within {LIMIT} s; there are {[str(task) for task in asyncio.all_tasks()]}"
        test.cancel()
        await asyncio.wait({test}, timeout=DEADLINE)
        # Where it was, if it let itself be cancelled.
        raise AssertionError(said) from (await asyncio.gather(test, return_exceptions=True))[0] if test.done() else None
    await test
    await nothing_is_left()
    complaints = [one for one in complaints if not _of_older_grpcio(one)]
    assert not complaints, complaints


async def nothing_is_left():
    """All other tasks end by themselves, soon."""
    gc.collect()
    here = asyncio.current_task()
    await eventually("the tasks to end", lambda: not (asyncio.all_tasks() - {here, *KEPT}))


# Tasks that are not the client's: what runs the test.
KEPT = set()


async def eventually(what, ask):
    """Asks again and again, with the loop going on meanwhile. The one place of these tests that pauses."""
    loop = asyncio.get_running_loop()
    end = loop.time() + DEADLINE
    pause = asyncio.Event()
    while loop.time() < end:
        answer = ask()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(pause.wait(), 0.01)
    raise AssertionError(f"waited in vain for {what}: {[str(task) for task in asyncio.all_tasks()]}")


# ---------------------------------------------------------------- the two clients


def pytest_generate_tests(metafunc):
    if "both" in metafunc.fixturenames:
        metafunc.parametrize("both", columns(metafunc.definition), indirect=True)


def columns(item):
    """Whom the test is for: `@pytest.mark.only("python")` leaves the other out."""
    only = item.get_closest_marker("only")
    return list(only.args) if only else ["python", "python-sync"]


def pytest_configure(config):
    serving_parts.pytest_configure(config)
    config.addinivalue_line("markers", "only(column): a case that only this client can have")


@pytest.fixture
def both(request):
    """Makes clients: asynchronous ones, or twins that look so."""
    return Both(request.param == "python-sync")


@pytest.fixture
def make(both, service):
    """A function that makes a client of the running service."""
    host, port = address(service)
    return lambda **settings: both(host, port, **settings)


def address(service):
    host, _, port = service.grpc.rpartition(":")
    return host, int(port)


# ---------------------------------------------------------------- results for the table


def pytest_sessionstart(session):
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for column in ("python", "python-sync"):
        (OUTPUT / f"contract-{column}.txt").write_text("")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    cases = re.match(r"test_((?:c\d+_)+)", item.name)
    if not cases or not (report.when == "call" or report.failed):
        return
    result = "passed" if report.passed else "failed"
    params = getattr(getattr(item, "callspec", None), "params", {})
    # A test of what both share counts for both.
    for column in [params["both"]] if "both" in params else columns(item):
        with open(OUTPUT / f"contract-{column}.txt", "a") as file:
            file.writelines(f"C{number} {result}\n" for number in re.findall(r"c(\d+)_", cases[1]))
