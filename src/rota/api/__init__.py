"""The HTTP API: every verb of the engine for people and programs, strict at the edge.

app       the factory: routes, errors, events, behind one guard
deps      what routes ask for: the engine, the asker's rights, JSON in and out
named     what a request names, by name or by many
problems  errors as answers
paging    cursors that cannot be forged, and bounded listings
views     records as JSON values
schemas   what bodies, filters and answers look like
routes    the paths
"""
