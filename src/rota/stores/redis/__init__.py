"""The port on Redis: records as JSON texts, their indexes as sorted sets, each verb one Lua script."""
