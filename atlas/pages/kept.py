"""Answers of methods, kept in the object that gave them: they go when it goes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

Self = TypeVar("Self")
Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


def kept(method: Callable[Concatenate[Self, Asked], Answer]) -> Callable[Concatenate[Self, Asked], Answer]:
    """Answer each question once per object, for arguments that can be keys.

    `functools.cache` would hold every object that was ever asked, and with it the files of an atlas that grew or went.
    """

    @functools.wraps(method)
    def answered(self: Self, /, *args: Asked.args, **named: Asked.kwargs) -> Answer:
        answers = vars(self).setdefault("_kept", {})
        key = (method, args, *sorted(named.items()))
        if key not in answers:
            answers[key] = method(self, *args, **named)
        return answers[key]

    return answered
