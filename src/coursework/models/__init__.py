"""The networks, written in plain PyTorch: one module for each architecture."""
