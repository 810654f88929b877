"""No test can keep the others waiting for ever. pytest-timeout fails one that is over its limit (pytest.ini), with the
stacks of all threads, and the next one goes on; what is here sees to the rest."""

import faulthandler
import os

import pytest

# How much longer than pytest-timeout we wait: where it works, more is told and more goes on.
GRACE = 60.0
# Reading the test files, and ending the process.
AROUND = 240.0


class Limits:
    """Ends the process, and says where all threads are, when nothing else could end what hangs: code that takes no
    signals, a task that swallows its cancellation, a thread that the process waits for at its end."""

    def __init__(self, config):
        # As it was before pytest took it for itself.
        with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            self.out = os.dup(2)
        self.settings = None
        self.arm(AROUND)

    def arm(self, seconds):
        faulthandler.dump_traceback_later(seconds, exit=True, file=self.out)

    def pytest_collection_finish(self):
        faulthandler.cancel_dump_traceback_later()

    @pytest.hookimpl(wrapper=True, optionalhook=True)
    def pytest_timeout_set_timer(self, item, settings):
        self.settings = settings
        self.arm(settings.timeout + GRACE)
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item):
        # A test that failed has no limit any more (pytest-timeout leaves debuggers alone); its fixtures need one.
        if self.settings is not None:
            item.ihook.pytest_timeout_set_timer(item=item, settings=self.settings)
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item):
        try:
            return (yield)
        finally:
            self.settings = None
            faulthandler.cancel_dump_traceback_later()

    def pytest_unconfigure(self):
        self.arm(AROUND)


def keep(config):
    """Call it in `pytest_configure`."""
    config.pluginmanager.register(Limits(config), "limits")
