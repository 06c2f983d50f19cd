"""Where a URL leads."""

from rota.domain.errors import Invalid
from rota.servers import address
from rota.servers.address import Address, Form, check_prefix

PREFIX = "rota"
FORM = Form("store", "etcd://user:password@host:2379,host2:2379/prefix", (2379, 2379), ("ca", "cert", "key"), host="")


def read_url(url: str) -> Address:
    """Its hosts are members of one cluster, its path what all keys begin with. Raises `Invalid`."""
    found = address.read_url(url, FORM)
    if found.files[1] and not found.files[2]:
        raise Invalid("store", "cert= and key= go together: a certificate of this client and its key")
    if bool(found.user) is not bool(found.password):
        raise Invalid("store", f"a user needs a name and a password; write {FORM.example}")
    return found._replace(path=check_prefix("store", found.path.strip("/") or PREFIX))
