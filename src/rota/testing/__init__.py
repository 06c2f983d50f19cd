"""Shipped aids for tests: contract suites, a movable clock, recorders, factories and faults.

For users who test their own tasks, and for third parties who write a store. Nothing of Rota imports it.
"""
