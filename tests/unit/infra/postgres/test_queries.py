from pathlib import Path

import pytest

from deployments.history import postgres
from deployments.history.stored import postgres as stored
from deployments.infra.postgres.queries import load
from deployments.infra.postgres.schema import migrations
from deployments.keys import postgres as keys


def test_queries_are_found_by_their_names(tmp_path: Path) -> None:
    file = tmp_path / "some.sql"
    file.write_text("-- a preamble\n-- name: one\nSELECT 1\n\n-- name: two\n-- why\nSELECT '-- name: x'\n")

    assert load(file) == {"one": "SELECT 1", "two": "-- why\nSELECT '-- name: x'"}


def test_a_name_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "some.sql"
    file.write_text("-- name: one\nSELECT 1\n-- name: one\nSELECT 2\n")

    with pytest.raises(ValueError, match="twice"):
        load(file)


@pytest.mark.parametrize("module", [postgres, stored, keys], ids=["history", "stored", "keys"])
def test_every_query_of_a_file_is_used_by_its_store(module: object) -> None:
    source = Path(str(module.__file__)).read_text()  # type: ignore[attr-defined]
    names = module.SQL  # type: ignore[attr-defined]

    assert [name for name in names if f'SQL["{name}"]' not in source and not name.startswith("items_")] == []


def test_a_migration_s_number_stands_once(tmp_path: Path) -> None:
    assert [migration.number for migration in migrations()] == sorted({migration.number for migration in migrations()})
    (tmp_path / "0001_a.sql").touch()
    (tmp_path / "0003_c.sql").touch()
    assert [migration.number for migration in migrations(tmp_path)] == [1, 3]
    (tmp_path / "0003_d.sql").touch()

    with pytest.raises(ValueError, match="occurs twice"):
        migrations(tmp_path)
