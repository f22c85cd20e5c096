"""Offline: fits the parts of a bundle and measures them."""
