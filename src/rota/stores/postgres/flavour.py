"""How PostgreSQL is spoken to."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BindParameter, TableValuedAlias, any_, bindparam, func
from sqlalchemy import column as column_of
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from rota.stores.sql.columns import KEY
from rota.stores.sql.flavours import Flavour


def _list(name: str, kind: Any) -> BindParameter[Any]:
    return bindparam(name, type_=postgresql.ARRAY(kind))


def _unnested(types: Mapping[str, Any]) -> TableValuedAlias:
    columns = [column_of(name, kind) for name, kind in types.items()]
    return func.unnest(*[_list(name, kind) for name, kind in types.items()]).table_valued(*columns).render_derived()


POSTGRESQL = Flavour(
    dialect=PGDialect_asyncpg(),  # type: ignore[no-untyped-call]  # SQLAlchemy has no types here
    insert=postgresql.insert,
    unfold=lambda name: _unnested({name: KEY}).c[name],
    among=lambda column, name: column == any_(_list(name, column.type)),
    pack=lambda values: values,
    each=_unnested,
    locks=True,
    tables="SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()",
)
