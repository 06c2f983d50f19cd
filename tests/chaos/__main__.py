"""python -m tests.chaos STORE SECONDS SEED [BUG]"""
import asyncio, sys, tempfile, pathlib, time, json
from tests.chaos.campaign import Campaign
from tests.chaos.checkers import counts, vacuous, violations

async def main() -> None:
    seconds, seed = float(sys.argv[1]), int(sys.argv[2])
    folder = pathlib.Path(tempfile.mkdtemp(prefix="chaos-"))
    print(folder)
    t=time.monotonic()
    c = Campaign(folder, f"sqlite:///{folder}/rota.db", seed, int(seconds*1000), bug=sys.argv[3] if len(sys.argv)>3 else "")
    h = await c.run()
    print("took", time.monotonic()-t)
    for n, x in counts(h).items(): print(f"{n:50} {x.met}")
    print("vacuous", vacuous(h))
    for n, v in violations(h).items():
        print(n, len(v)); [print("   ", one) for one in v[:8]]
asyncio.run(main())
