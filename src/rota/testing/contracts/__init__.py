"""Promises as tests: suites that every implementation of a port must pass. They need pytest and pytest-asyncio."""
