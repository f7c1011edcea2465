"""Which number format a pass runs in: bfloat16 where the processor has it, float32 elsewhere. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from atlas.errors import choose

PRECISIONS = ("auto", "bfloat16", "float32")
# Instructions that multiply bfloat16 themselves; a processor without them imitates it, slower than float32.
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is Arm's word


def has_fast_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether this machine's processor multiplies bfloat16 itself; False where the system does not tell."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features"))), "")
    return bool(BFLOAT16_FLAGS & set(flags.split()))


def resolve(precision: str, *, device: str = "cpu") -> str:
    """Return ``bfloat16`` or ``float32`` for `precision`, one of PRECISIONS, on `device` (``cpu``, ``cuda`` …)."""
    if precision not in PRECISIONS:
        raise choose("precision", precision, PRECISIONS)
    if precision != "auto":
        return precision
    fast = device.startswith("cuda") or (device.startswith("cpu") and has_fast_bfloat16())
    return "bfloat16" if fast else "float32"
