"""The network alive in a process of its own, one per atlas, shared by every caller on the machine."""

from atlas.worker.client import Worker as Worker
