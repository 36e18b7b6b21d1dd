"""DuckDB as the store sets it up."""

from pathlib import Path

from andoncord.adapters.parquet.files import connect


def test_a_cursor_does_not_look_at_every_text_of_a_table(tmp_path: Path) -> None:
    """What holds for a connection holds for its cursors: a search for absent libraries at every text took seconds."""
    connection = connect(threads=1, memory_mb=64, spill=tmp_path)
    with connection.cursor() as cursor:
        assert cursor.execute("SELECT current_setting('pandas_analyze_sample')").fetchone() == (1,)
    connection.close()
