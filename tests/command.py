"""The `atlas` command in this process, as a shell would see it, and what a refusal must look like."""

from __future__ import annotations

import ctypes
import io
import os
import signal
import subprocess
import sys
import traceback
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from atlas import cli

ROOT = Path(__file__).parents[1]
# What a refusal says at its end: what would do. Words of a remedy, not of a fault.
REMEDIES = (
    "give", "choose", "remove", "build", "put", "save", "use", "free", "name ", "would do", "did you mean", "make",
    "there is", "there are", "ask", "train", "export", "return", "run", "load", "check", "list", "add", "call", "mend",
    "leave it out", "other images", "take", "images are", "put back",
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line of its refusal."""
        return next(line for line in self.err.splitlines() if line.startswith("atlas: "))


def run(*arguments: object) -> Answer:
    """Run ``atlas ARGUMENTS`` through its real entry; an exception that leaves it is a traceback and code 1."""
    out, err, code = _stream("strict"), _stream("backslashreplace"), 0  # as Python opens them
    before = signal.getsignal(signal.SIGINT)
    with (
        mock.patch.object(sys, "argv", ["atlas", *map(str, arguments)]),
        mock.patch.object(sys, "__stdout__", out),
        redirect_stdout(out),
        redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")  # as a user sees them; pytest would keep them for itself
        for kind in (ResourceWarning, DeprecationWarning, PendingDeprecationWarning, ImportWarning):
            warnings.simplefilter("ignore", kind)  # which Python keeps to itself
        warnings.showwarning = lambda text, kind, file, line, *rest: err.write(f"{file}:{line}: {kind.__name__}: {text}\n")  # type: ignore[assignment]
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            code = 1
            err.write(traceback.format_exc())
        finally:
            signal.signal(signal.SIGINT, before)
    return Answer(code, _text(out), _text(err))


def _stream(errors: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), "utf-8", errors, newline="\n", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined]


def bound(*arguments: object) -> Answer:
    """Run the command bound by the modes of files, which root is not until it lets its capabilities go."""
    command = [sys.executable, "-c", "from atlas.cli import main; main()", *map(str, arguments)]
    drop = partial(drop_capabilities, ctypes.CDLL(None, use_errno=True)) if os.geteuid() == 0 else None
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, preexec_fn=drop)
    return Answer(done.returncode, done.stdout, done.stderr)


def drop_capabilities(libc: Any) -> None:
    """Let CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH go, for the program that is started next (prctl's PR_CAPBSET_DROP)."""
    for capability in (1, 2):
        assert libc.prctl(24, capability, 0, 0, 0) == 0, "this test needs to drop a capability"


def build(images: object, cache: Path, *options: object, model: str = "tests.tiny:network") -> Answer:
    """Run ``atlas build`` of the tiny network with the quickest map, unless asked otherwise."""
    quick = [] if any(str(option).startswith("--layout") for option in options) else ["--layout=pca"]
    return run("build", model, images, "--cache", cache, "--batch-size", 16, *quick, *options)


def clear_refusal(answer: Answer, *words: str) -> str:
    """Hold that a command ended in one clear line that says what would do, with code 2; return the line."""
    assert "Traceback" not in answer.out + answer.err, answer.err
    assert answer.code == 2, (answer.code, answer.err)
    lines = answer.err.splitlines()
    said = [line for line in lines if line.startswith("atlas: ")]
    assert len(said) == 1 and lines[-1] == said[0], answer.err
    assert "Warning" not in answer.err, answer.err
    assert all(character.isprintable() for character in said[0]), said[0]
    assert any(remedy in said[0].lower() for remedy in REMEDIES), f"it does not say what would do: {said[0]}"
    for word in words:
        assert word in said[0], (word, said[0])
    return said[0]


def success(answer: Answer) -> Answer:
    """Hold that a command succeeded without a traceback or a control character on the terminal; return its answer."""
    assert answer.code == 0 and "Traceback" not in answer.err, answer.err
    assert all(c.isprintable() or c == "\n" for c in answer.err + answer.out), answer.err
    assert "Warning" not in answer.err, answer.err
    return answer


def files_of(folder: Path) -> dict[str, bytes]:
    """Return every file of an atlas with its bytes, but for what is remembered and rebuilt."""
    found = (path for path in folder.rglob("*") if path.is_file() and ".building" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found if path.name != "hashes.parquet"}
