"""Networks: from a name, a file or a function; their layers and class maps; our reference networks and their training."""
