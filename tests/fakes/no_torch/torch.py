"""On the path before the real torch, this one stands for an import that must not happen."""

raise RuntimeError("torch was imported")
