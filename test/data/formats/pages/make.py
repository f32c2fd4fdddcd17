"""
Parquet files of one row group in very small pages, which end at other records in every column: pip install pyarrow==26.0.1; python make.py
Those named crossing-: pip install pyarrow==16.1.0 'numpy<2'; python make.py crossing-. It lets a list go on in the next page, which 26 does not.
"""

import random
import sys

import pyarrow as pa
import pyarrow.parquet as pq

random.seed(1)
N = 120
texts = ["", "a", "word", "x" * 30]


def maybe(value, p=0.15):
    return None if random.random() < p else value


def floats(n):
    return [random.randrange(-64, 64) / 4 for _ in range(n)]


required = {"id", "text", "flag", "embedding"}
columns = {
    "id": pa.array(range(N), pa.int64()),
    "text": pa.array([random.choice(texts) for _ in range(N)]),
    "flag": pa.array([random.random() < 0.5 for _ in range(N)]),
    "word": pa.array([maybe(f"w{random.randrange(9)}") for _ in range(N)]),
    "price": pa.array([maybe(i) for i in range(N)]).cast(pa.decimal128(25, 2)),
    "embedding": pa.array([floats(5) for _ in range(N)], pa.list_(pa.float32())),
    "late": pa.array([maybe(floats(random.randrange(1, 6))) for _ in range(N)], pa.list_(pa.float64())),
    "inside": pa.array([maybe({"a": i, "b": maybe(["t"] * random.randrange(4))}) for i in range(N)]),
    "items": pa.array([maybe([maybe({"k": f"k{j}", "v": maybe(floats(random.randrange(4)))}) for j in range(random.randrange(5))]) for _ in range(N)]),
    "rows": pa.array([maybe([maybe(floats(random.randrange(4))) for _ in range(random.randrange(4))]) for _ in range(N)]),
    "map": pa.array([maybe([(f"m{j}", maybe(j)) for j in range(random.randrange(4))]) for _ in range(N)], pa.map_(pa.string(), pa.int32())),
}
schema = pa.schema([pa.field(name, values.type, nullable=name not in required) for name, values in columns.items()])
table = pa.Table.from_arrays(list(columns.values()), schema=schema)
prefix = "".join(sys.argv[1:])
for codec, version in [("none", "1.0"), ("snappy", "1.0"), ("gzip", "1.0"), ("brotli", "1.0"), ("zstd", "1.0"), ("lz4", "1.0"), ("snappy", "2.0")]:
    pq.write_table(
        table,
        f"{prefix}{codec}-{version[0]}.parquet",
        compression=codec,
        data_page_version=version,
        data_page_size=1 if codec in ("snappy", "none") else 200,
        write_batch_size=64 if codec in ("snappy", "none") else 32,
        use_dictionary=codec in ("snappy", "zstd"),
        write_statistics=False,
    )
