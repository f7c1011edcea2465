"""Activations: forward hooks, one pass over the images that feeds several sinks, predictions."""
