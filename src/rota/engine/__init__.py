"""The data's way: one verb, one file, one promise; docs/architecture.md lists them.

Every verb is a function that takes the `Engine` (store, clock, chance) first and works on many at once.
"""
