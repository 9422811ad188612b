"""Ctrl-C held back: raised at the end of the block, and not at all where it is ignored."""

import os
import signal

import pytest

from mhng.experiment.util.process import defer_interrupt


def test_an_interrupt_waits_for_the_end_of_the_block():
    done = []

    def block():
        with defer_interrupt():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("the rest of the block")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with defer_interrupt():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_nothing_is_left_behind():
    before = signal.getsignal(signal.SIGINT)
    with defer_interrupt():
        pass
    assert signal.getsignal(signal.SIGINT) is before
