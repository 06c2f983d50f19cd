"""Rota, a distributed task scheduler: the list that says who does which duty when."""

__all__: list[str] = []
