"""How a cluster is: what `rota doctor` tells of it."""

from rota.domain.errors import StoreError
from rota.stores.etcd.link import Link

QUOTA = 2 << 30
"""What a member may use unless its --quota-backend-bytes says otherwise."""
FULL = 0.8
WORTH = 0.5
SAFE = 3


async def diagnose(link: Link) -> list[tuple[str, str]]:
    """(`ok`, `warn` or `fail`; what was found) of each member, its size, and the alarms."""
    client = link.client
    found: list[tuple[str, str]] = []
    for number, name in enumerate(client.endpoints):
        try:
            status = await client.status(number)
        except StoreError as error:
            found.append(("fail", f"member {name} does not answer: {error}"))
            continue
        role = "leads" if status.leader == status.member else "follows" if status.leader else "knows of no leader"
        found.append(("ok" if status.leader else "fail", f"member {name}: etcd {status.version}, {role}"))
        found += [("fail", f"member {name}: {error}") for error in status.errors]
        found.append(_size(name, status.size, status.in_use))
    for alarm in await client.alarms():
        help_ = "prune, compact, defragment and disarm" if alarm.kind == "NOSPACE" else "restore that member"
        found.append(("fail", f"alarm {alarm.kind} of member {alarm.member:x}: {help_}"))
    if (number := await client.members()) < SAFE:
        found.append(("warn", "what was acknowledged is on the disk of one member; of three one may be lost"))
    else:
        lost = (number - 1) // 2
        found.append(("ok", f"what was acknowledged is on the disks of {number - lost} of {number} members at least"))
    return found


def _size(name: str, size: int, in_use: int) -> tuple[str, str]:
    said = f"member {name}: {size >> 20} MiB, {in_use >> 20} in use, of 2048 unless it was told otherwise"
    if in_use > FULL * QUOTA:
        return "warn", f"{said}: raise --quota-backend-bytes, or shorten the retention"
    if size > FULL * QUOTA and in_use < WORTH * size:
        return "warn", f"{said}: defragment it"
    return "ok", said
