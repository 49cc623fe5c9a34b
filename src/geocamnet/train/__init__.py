"""Training: PyTorch, read top to bottom in pipeline order. Importing this package imports no torch."""
