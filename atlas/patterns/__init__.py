"""Activation patterns of the classes. Imports no torch."""
