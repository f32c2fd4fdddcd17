"""Files with odd yet common choices: pyarrow 26.0.1, Polars 2.1.0, DuckDB 2.0.0, NumPy 2.4.6. python make.py DIRECTORY"""

import datetime as dt
import os
import sys
import uuid
from decimal import Decimal

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

out = sys.argv[1]
at = lambda name: os.path.join(out, name)
uuids = [uuid.UUID(int=0x80000000000040008000000000000000 + i) for i in range(3)]
vectors = pa.array([[float(i), -0.0] for i in range(3)], pa.list_(pa.float32()))
storage = pa.array([each.bytes for each in uuids], pa.binary(16))


def table(**columns):
    return pa.table({"id": pa.array([1, 2, 3], pa.int64()), "v": vectors, **columns})


def ipc(name, made):
    with pa.ipc.new_file(at(name), made.schema) as writer:
        writer.write(made)


extension = pa.ExtensionArray.from_storage(pa.uuid(), storage)
pq.write_table(table(id=extension, ref=extension, raw=storage), at("uuid-arrow.parquet"))
ipc("uuid.arrow", table(id=extension, ref=extension, raw=storage))
pq.write_table(table(id=pa.array([Decimal(2**63 + i) for i in range(3)], pa.decimal128(38, 0))), at("id-number38.parquet"))
pq.write_table(
    table(
        zero=pa.array([-0.0, 0.0, 5e-324]),
        took=pa.array([dt.timedelta(seconds=-1, microseconds=-500000), None, dt.timedelta(days=2, microseconds=3)], pa.duration("us")),
        big=pa.array([2**64 - 1, 2**53 + 1, None], pa.uint64()),
        view=pa.array(["a", None, "longer than twelve bytes"], pa.string_view()),
        lists=pa.array([[], None, [2**53 + 1, None]], pa.list_view(pa.int64())),
    ),
    at("values.parquet"),
    data_page_version="2.0",
    compression="zstd",
)
wide = {"id": pl.Int64, "v": pl.List(pl.Float32), "wide": pl.Int128}
frame = pl.DataFrame({"id": [1], "v": [[1.0, 2.0]], "wide": [2**100]}, schema=wide)
frame.write_parquet(at("int128.parquet"))
frame.write_ipc(at("int128.arrow"))
timed = {"id": [1, 2, 3], "v": [[0.5, 1.0]] * 3, "took": [dt.timedelta(seconds=1)] * 3, "text": ["a", "b", "c"]}
pl.DataFrame(timed, schema_overrides={"v": pl.List(pl.Float32)}).write_parquet(at("duration-polars.parquet"))
sql = duckdb.connect()
ids = ", ".join(f"('{each}'::uuid, {i})" for i, each in enumerate(uuids))
sql.execute(f"copy (select u as id, [i, 1]::float[2] as v, u as ref from (values {ids}) t(u, i)) to '{at('uuid-duckdb.parquet')}' (format parquet)")
sql.execute(f"copy (select 1 as id, [1.5, 2]::float[] as v, '{{\"a\": 1}}'::json::variant as x) to '{at('variant.parquet')}' (format parquet)")
sql.execute(
    "copy (select i as id, [i, 1.5]::float[] as v, 2024 + i % 2 as year, "
    "case i % 3 when 0 then 'de/at' when 1 then null else '007' end as lang from range(6) t(i)) "
    f"to '{at('hive')}' (format parquet, partition_by (year, lang), overwrite_or_ignore)"
)
for name in ["_SUCCESS", "notes.txt"]:
    open(at(f"hive/{name}"), "w").close()
os.makedirs(at("npy-bytes"), exist_ok=True)
np.save(at("npy-bytes/vectors.npy"), np.ones((2, 2), "f4"))
np.save(at("npy-bytes/ids.npy"), np.array([b"a\xff", b"b"]))
