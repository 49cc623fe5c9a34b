"""Huge: photographs larger than the network's view, and larger than memory."""
