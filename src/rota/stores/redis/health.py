"""How a server is: what `rota doctor` tells of it."""

from rota.domain.errors import StoreError
from rota.domain.names import number_of
from rota.stores.redis.link import Link

SETTINGS = ("appendonly", "appendfsync", "maxmemory-policy")
FULL = 0.8
"""Share of the memory allowed, above which somebody should look."""


async def diagnose(link: Link) -> list[tuple[str, str]]:
    """(`ok`, `warn` or `fail`; what was found) of the server, what it keeps, and its memory."""
    lines = (await link.ask("INFO")).decode().splitlines()
    info = {name: value for name, _, value in (line.partition(":") for line in lines)}
    found = [("ok", f"Redis {info['redis_version']}, prefix {link.prefix or 'none'}")]
    if info.get("redis_mode") == "cluster":
        said = "a node of a Redis Cluster, which keeps all of this prefix: its fail-over is not followed; use Sentinels"
        found.append(("fail", said))
    try:
        words = iter([one.decode() for one in await link.ask("CONFIG", "GET", *SETTINGS)])
    except StoreError:  # an ACL, or a server in a cloud
        return [*found, ("warn", "the server does not say what it keeps (CONFIG GET is forbidden); ask who runs it")]
    settings = dict(zip(words, words, strict=True))
    found.append(_durability(settings, info))
    if info.get("aof_last_write_status", "ok") != "ok" or info.get("rdb_last_bgsave_status", "ok") != "ok":
        found.append(("fail", "its last write to disk failed; see its log and its disk"))
    if replicas := int(info.get("connected_slaves", 0)):
        found.append(("warn", f"{number_of(replicas, 'replica')}: a fail-over loses what they had not got yet"))
    return [*found, _memory(settings["maxmemory-policy"], info)]


def _durability(settings: dict[str, str], info: dict[str, str]) -> tuple[str, str]:
    """Which mode the server is in, and what it may lose."""
    if settings["appendonly"] != "yes":
        lost = info.get("rdb_changes_since_last_save", "?")
        return "fail", f"keeps snapshots at most: a restart may lose the last {lost} changes; set appendonly yes"
    if settings["appendfsync"] == "always":
        return "ok", "durable mode (appendfsync always): what was acknowledged survives power loss"
    if settings["appendfsync"] == "everysec":
        return "warn", "fast mode (appendfsync everysec): kill -9 loses nothing, power loss the last second or two"
    return "warn", f"appendfsync {settings['appendfsync']}: kill -9 loses nothing, power loss the last half a minute"


def _memory(policy: str, info: dict[str, str]) -> tuple[str, str]:
    used, most = int(info["used_memory"]), int(info.get("maxmemory", 0))
    said = f"{used >> 20} MiB are used" + (f" of {most >> 20} (maxmemory)" if most else "")
    if policy != "noeviction":
        return "fail" if most else "warn", f"{said}; {policy} deletes runs when it is full: set noeviction"
    if not most:
        return "warn", f"{said}; runs may take all memory: set maxmemory, and retention.max_runs to what fits in it"
    return "ok" if used < FULL * most else "warn", said
