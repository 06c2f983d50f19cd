"""How servers are reached by several: what their URLs say, and connections to Redis."""
