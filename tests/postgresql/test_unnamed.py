"""A user who may not ask the server which one it is: what then does not work is told, once in the log of a process."""

import logging
import os
from urllib.parse import urlsplit

from rota.domain.run import Run
from tests.services.postgresql import do
from tests.unit.stores.files import reached

ASK = "EXECUTE ON FUNCTION pg_control_system()"


async def test_a_server_that_does_not_say_which_one_it_is_is_told_of_once(database, caplog):
    caplog.set_level(logging.INFO)
    role, parts = f"rota_shy_{os.getpid()}", urlsplit(database)
    host = parts.netloc.rpartition("@")[2]
    shy = parts._replace(netloc=f"{role}:x@{host}").geturl()
    await do(database, f"CREATE ROLE {role} LOGIN PASSWORD 'x'", f"REVOKE {ASK} FROM PUBLIC")
    await do(database, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    try:
        for url in (shy, shy, f"{shy}?replica={host}", f"{shy}?replica={host}"):
            async with reached(url) as store:
                said = [text for level, text in await store.diagnose() if level == "warn"]
                assert len(said) == 1
                assert said[0].startswith("the server does not say which one it is, so no replica is read and nobody ")
                assert f"GRANT {ASK} to Rota's user, then start anew" in said[0]
                assert (await store.late.find(Run)).items == ()
        told = [one for one in caplog.records if "does not say which one it is, so" in one.message]
        assert [one.levelname for one in told] == ["INFO", "WARNING"]
        await do(database, f"GRANT {ASK} TO {role}")
        async with reached(shy) as store:
            assert "warn" not in dict(await store.diagnose())
    finally:
        # Other tests get this database again.
        await do(database, f"GRANT {ASK} TO PUBLIC", f"DROP OWNED BY {role}", f"DROP ROLE {role}")
