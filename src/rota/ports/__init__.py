"""The seams: protocols of what the engine needs, and the small values they speak in."""
