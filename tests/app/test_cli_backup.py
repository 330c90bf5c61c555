"""`storage backup`: a copy of the ledger of a bridge that works, from which another goes on."""

import stat
from pathlib import Path

from appworld import World
from click.testing import CliRunner, Result

from bridge.cli import main


def backup(world: World, target: Path) -> Result:
    return CliRunner().invoke(main, ["storage", "backup", f"--config.file={world.config_file}", str(target)])


async def test_a_bridge_goes_on_from_a_copy_that_was_made_while_it_worked(
    world: World, tmp_path: Path
) -> None:
    await world.webhook(world.alert())
    copy = tmp_path / "copy.db"
    done = backup(world, copy)
    assert done.exit_code == 0, done.output
    assert f"Copied to {copy}, {copy.stat().st_size:,} bytes" in done.output
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    await world.webhook(world.alert("Later"))
    await world.stop()
    for name in ("bridge.db-wal", "bridge.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    copy.replace(world.file)
    await world.start()
    assert [one["title"] for one in await world.incidents()] == ["DiskFull"]
    await world.pass_(46)
    assert world.rings() == [0, 45]


async def test_a_backup_writes_over_nothing_and_leaves_no_half_of_a_copy(
    world: World, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.db"
    kept.write_text("somebody's")
    assert "is there already" in backup(world, kept).output
    assert kept.read_text() == "somebody's"
    assert "cannot write" in backup(world, tmp_path / "none/copy.db").output
    await world.stop()
    world.file.write_bytes(b"no database, but some other file of somebody" * 100)
    assert "cannot copy" in backup(world, tmp_path / "copy.db").output
    assert not (tmp_path / "copy.db").exists()
    world.file.unlink()
    assert "there is no ledger" in backup(world, tmp_path / "copy.db").output


def test_a_postgresql_is_left_to_pg_dump(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    root = Path(__file__).parents[2]
    text = (root / "config.example.yaml").read_text().replace("examples/", f"{root}/examples/")
    file.write_text(text.replace("sqlite:///bridge.db", "postgresql://bridge@127.0.0.1/bridge"))
    done = CliRunner().invoke(main, ["storage", "backup", f"--config.file={file}", str(tmp_path / "copy.db")])
    assert (done.exit_code, "pg_dump" in done.output) == (1, True)
