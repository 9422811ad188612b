"""Signal handlers: deferred Ctrl-C, ignored signals, and handlers restored at the end of a block."""

import os
import signal

import pytest

from mhng.experiment.errors import Interrupted
from mhng.experiment.util.process import (
    defer_interrupt,
    interrupt_on_termination,
    interruptible_children,
    keep_termination_handlers,
    on_stop_signals,
)


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


def test_sigterm_interrupts_the_block():
    with pytest.raises(KeyboardInterrupt), interrupt_on_termination():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_the_signal_is_known_if_a_library_raises_its_own_interrupt():
    def library():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None  # as Ray does while it waits

    def stop(number):
        raise Interrupted(number)

    with pytest.raises(Interrupted) as caught, interrupt_on_termination():
        library()
    assert caught.value.number == signal.SIGTERM
    with pytest.raises(Interrupted) as caught, on_stop_signals(stop):
        library()
    assert caught.value.number == signal.SIGTERM
    with pytest.raises(KeyboardInterrupt) as caught, interrupt_on_termination():
        os.kill(os.getpid(), signal.SIGINT)
    assert not isinstance(caught.value, Interrupted)


def test_handlers_that_a_library_sets_in_the_block_are_replaced_at_its_end():
    hangup = signal.getsignal(signal.SIGHUP)  # ignored under nohup
    with keep_termination_handlers():
        signal.signal(signal.SIGTERM, lambda *_: None)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGHUP) is hangup


def test_children_of_a_process_that_ignores_interrupts_do_not():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible_children():
            assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
