"""stub"""
import os
from contextlib import contextmanager
from collections.abc import Iterator

@contextmanager
def environment(**changes: str | None) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)

def _set(variables) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
