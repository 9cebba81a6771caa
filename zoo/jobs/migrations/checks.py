"""Replace CHECK constraints of a table; SQLite can only make the whole table anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from alembic import op


def replace_checks(table: str, checks: Mapping[str, str], *, changed: Sequence[str]) -> None:
    """Replace the CHECKs `changed` of a table; `checks` are all that it has then, by name."""
    bind = op.get_bind()
    if bind.dialect.name != "sqlite":
        for name in changed:
            op.drop_constraint(name, table, type_="check")
            op.create_check_constraint(name, table, checks[name])
        return
    # An index with an order or a condition is lost when Alembic makes the table anew.
    of_table = "FROM sqlite_master WHERE tbl_name = :name AND type = 'index' AND sql IS NOT NULL"
    query = sa.text(f"SELECT name, sql {of_table} ORDER BY rowid")
    indexes = bind.execute(query, {"name": table}).all()
    for name, _ in indexes:
        op.drop_index(name, table)
    found = sa.Table(table, sa.MetaData(), autoload_with=bind, resolve_fks=False)
    # Versions of SQLAlchemy differ in whether they read CHECKs.
    found.constraints -= {c for c in found.constraints if isinstance(c, sa.CheckConstraint)}
    for name, text in checks.items():
        found.append_constraint(sa.CheckConstraint(text, name=name))
    with op.batch_alter_table(table, recreate="always", copy_from=found):
        pass
    for _, sql in indexes:
        op.execute(sa.text(sql.replace(":", r"\:")))
