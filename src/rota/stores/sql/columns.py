"""Kinds of columns, for the tables as for the migrations that made them. They stay as they are."""

from typing import Any

from sqlalchemy import BigInteger, Column, Integer, Text, text

KEY = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is compared byte by byte."""
POSITION = BigInteger().with_variant(Integer, "sqlite")

TURNING = {"autovacuum_vacuum_scale_factor": 0.02, "autovacuum_analyze_scale_factor": 0.02}
"""PostgreSQL: every row changes a few times and then rests; what is left of old ones must go early."""
BEATING = {"fillfactor": 50, "autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 500}
"""PostgreSQL: few rows that change all the time, in place if there is room beside them."""


def key() -> Column[Any]:
    """The id."""
    return Column("id", KEY, primary_key=True)


def texts(*names: str, default: str | None = None) -> list[Column[Any]]:
    """Required text; a default is given where most rows hold it, so that inserts need not name it."""
    value = None if default is None else text(f"'{default}'")
    return [Column(name, KEY, nullable=False, server_default=value) for name in names]


def numbers(*names: str, default: int | None = None) -> list[Column[Any]]:
    """Required whole numbers."""
    value = None if default is None else text(str(default))
    return [Column(name, BigInteger, nullable=False, server_default=value) for name in names]


def moments(*names: str) -> list[Column[Any]]:
    """Milliseconds (an instant or a duration), or nothing."""
    return [Column(name, BigInteger) for name in names]
