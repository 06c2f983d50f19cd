"""Events: which kinds of things changed. Who missed some refetches; there is nothing to replay."""

from fastapi import Response

from rota.api.deps import News, Reader, router
from rota.api.schemas import views as shown

routes = router("/api/system/events", "system")


@routes.get("", response_class=Response, responses=shown.STREAM)
async def events(asked: Reader, feed: News) -> Response:
    """Server-sent events `versions`: a number for each kind of thing, which rises as things of it change.

    At most four a second. A new `epoch` means that the numbers count anew: fetch everything again.
    """
    return feed.events()
