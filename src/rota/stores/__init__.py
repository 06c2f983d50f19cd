"""Stores: they compare and set, they never decide."""
