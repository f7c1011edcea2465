"""Activation atlas explorer: what an image classifier has learned, and where it goes wrong."""

from __future__ import annotations
