"""Identity: what proves who somebody is, and nothing of what they may do.

passwords  argon2id, off the event loop
keys       API keys and login links: a public part and 256 random bits, of which only a digest is kept
signed     access, refresh and cookie tokens: HS256, one issuer, an audience for each use
files      private files: the signing secret, the credentials of the command line
"""

from rota.identity import keys
from rota.identity.passwords import Passwords
from rota.identity.signed import Signer


class Identity:
    """The `Locks` of one installation. `secret` signs; raises `Invalid` for a short one."""

    mint = staticmethod(keys.mint)
    read = staticmethod(keys.read)
    same = staticmethod(keys.same)

    def __init__(self, secret: bytes) -> None:
        passwords, signer = Passwords(), Signer(secret)
        self.hashed, self.fits = passwords.hashed, passwords.fits
        self.sign, self.verify = signer.sign, signer.verify
