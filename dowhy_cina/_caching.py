"""Properties that are computed once, without a lock."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from typing_extensions import Self  # of typing itself from Python 3.11 on

Value = TypeVar("Value")


class cached_property(functools.cached_property[Value]):
    """That of functools, as it is from Python 3.12 on: without a lock.

    Up to 3.11 one lock serves a property of all instances: threads wait for each other's tables, and a process that is
    forked while another thread holds it waits for ever. Two threads that ask an instance at once may both compute here,
    and are given one of the values.
    """

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> Value: ...
    def __get__(self, instance: object | None, owner: type[Any] | None = None) -> Self | Value:
        """Compute the value and leave it in the instance, which is asked first from then on."""
        if instance is None:
            return self
        value: Value = vars(instance).setdefault(str(self.attrname), self.func(instance))
        return value
