"""Makes the golden files of this folder: `python make.py DIRECTORY`. README.md says with which versions they were made."""
import datetime as dt, decimal, gzip, json, pathlib, sys
import duckdb, numpy as np, pandas as pd, polars as pl, pyarrow as pa, pyarrow.feather as feather, pyarrow.parquet as pq

out = pathlib.Path(sys.argv[1]); out.mkdir(parents=True, exist_ok=True)
n, dim = 24, 8
vectors = (np.arange(n * dim, dtype='float32').reshape(n, dim) - 50) / 8
ids = np.arange(100, 100 + n)
words = ['été' if i == 3 else f'word {i}' for i in range(n)]
frame = pd.DataFrame({'id': ids, 'word': words, 'rank': np.arange(n, dtype='int32'), 'embedding': list(vectors)})

# pandas
frame.to_parquet(out / 'pandas.parquet')
frame.set_index('id').to_parquet(out / 'pandas-index-named.parquet')
frame.drop(columns='id').set_index(pd.Index(ids)).to_parquet(out / 'pandas-index-unnamed.parquet', compression='zstd')
frame.assign(kind=pd.Categorical(['a' if i % 2 else 'b' for i in range(n)])).to_parquet(out / 'pandas-categorical.parquet', compression='gzip')
frame.to_feather(out / 'pandas.feather', compression='lz4')

# pyarrow: every kind of list, and types
def column(kind):
    flat = pa.array(vectors.ravel(), kind)
    return flat
def table(lists, **more):
    return pa.table({'id': pa.array([f'id-{i}' for i in ids]), 'embedding': lists, **more})
offsets = np.arange(0, n * dim + 1, dim)
for name, kind in [('float16', pa.float16()), ('float32', pa.float32()), ('float64', pa.float64())]:
    flat = pa.array(vectors.ravel().astype(name), kind)
    pq.write_table(table(pa.ListArray.from_arrays(offsets, flat)), out / f'list-{name}.parquet')
    pq.write_table(table(pa.FixedSizeListArray.from_arrays(flat, dim)), out / f'fixed-{name}.parquet')
flat = pa.array(vectors.ravel())
large = pa.table({'id': pa.array([f'id-{i}' for i in ids], pa.large_string()), 'embedding': pa.LargeListArray.from_arrays(offsets, flat)})
pq.write_table(large, out / 'large.parquet')
for codec in ['lz4', 'brotli', 'zstd', 'gzip', 'snappy', 'none']:
    pq.write_table(table(pa.ListArray.from_arrays(offsets, flat)), out / f'codec-{codec}.parquet', compression=codec, row_group_size=10)
zone = dt.timezone.utc
rich = {
    'text': pa.array(words).dictionary_encode(),
    'at': pa.array([dt.datetime(2026, 3, 29, 1, 2, 3, 456789, zone)] * n, pa.timestamp('us', 'UTC')),
    'ns': pa.array([1774746123456789012] * n, pa.timestamp('ns', 'UTC')),
    'local': pa.array([dt.datetime(2026, 3, 29, 1, 2, 3)] * n, pa.timestamp('ms')),
    'day': pa.array([dt.date(2026, 3, 29)] * n),
    'time': pa.array([dt.time(1, 2, 3, 4)] * n),
    'price': pa.array([decimal.Decimal('1.25')] * n, pa.decimal128(9, 2)),
    'exact': pa.array([decimal.Decimal('123456789012345678.901234567')] * n, pa.decimal128(38, 9)),
    'nested': pa.array([{'a': {'b': [1, None]}}] * n),
    'map': pa.array([[('k', 1), ('l', None)]] * n, pa.map_(pa.string(), pa.int64())),
    'tags': pa.array([['x', 'y']] * n),
    'flag': pa.array([True, None] * (n // 2)),
    'raw': pa.array([b'ab'] * n),
    'big': pa.array([9007199254740993] * n),
    'half': pa.array(np.full(n, 1.5, 'float16')),
}
pq.write_table(table(pa.ListArray.from_arrays(offsets, flat), **rich), out / 'types.parquet')
payload = pa.array([{'word': word, 'rank': i} for i, word in enumerate(words)])
pq.write_table(table(pa.ListArray.from_arrays(offsets, flat), payload=payload), out / 'payload-struct.parquet')
pq.write_table(table(pa.ListArray.from_arrays(offsets, flat), payload=pa.array([json.dumps({'word': word}) for word in words])), out / 'payload-text.parquet')

# Arrow IPC
every = table(pa.ListArray.from_arrays(offsets, flat), **rich)
for codec in [None, 'lz4', 'zstd']:
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.ipc.new_file(out / f'file-{codec or "plain"}.arrow', every.schema, options=options) as writer:
        for batch in every.to_batches(max_chunksize=10): writer.write_batch(batch)
    with pa.ipc.new_stream(out / f'stream-{codec or "plain"}.arrows', every.schema, options=options) as writer:
        for batch in every.to_batches(max_chunksize=10): writer.write_batch(batch)
feather.write_feather(large, out / 'large.feather', compression='zstd')
views = pa.table({'id': pa.array([f'id-{i} which is longer than twelve bytes' if i % 2 else f'id-{i}' for i in ids], pa.string_view()), 'embedding': pa.FixedSizeListArray.from_arrays(flat, dim)})
feather.write_feather(views, out / 'views.feather', compression='uncompressed')

# Lance
import lance
lance.write_dataset(table(pa.FixedSizeListArray.from_arrays(flat, dim), word=pa.array(words)), out / 'lance.tmp')
pq.write_table(lance.dataset(out / 'lance.tmp').to_table(), out / 'lance.parquet')

# Polars
polars = pl.DataFrame({'id': ids, 'word': words, 'embedding': pl.Series(vectors.tolist(), dtype=pl.List(pl.Float32)), 'fixed': pl.Series(vectors.tolist(), dtype=pl.Array(pl.Float32, dim))})
polars.write_parquet(out / 'polars.parquet')
polars.write_ipc(out / 'polars.arrow', compression='zstd')
polars.write_ipc_stream(out / 'polars.arrows', compression='uncompressed')

# Hugging Face datasets
import datasets
hf = datasets.Dataset.from_dict({'id': [str(i) for i in ids], 'text': words, 'embedding': vectors.tolist()}, features=datasets.Features({'id': datasets.Value('string'), 'text': datasets.Value('string'), 'embedding': datasets.Sequence(datasets.Value('float32'), length=dim)}))
hf.to_parquet(out / 'huggingface.parquet')
hf.save_to_disk(out / 'hf.tmp'); (out / 'hf.tmp' / 'data-00000-of-00001.arrow').rename(out / 'huggingface.arrow')
hf.to_json(out / 'huggingface.jsonl')

# fastparquet writes lists as JSON bytes: no vectors; left out on purpose
# DuckDB
con = duckdb.connect()
con.execute(f"copy (select 100 + i as id, 'word ' || i as word, [i + j * 0.5 for j in range({dim})]::float[{dim}] as fixed, [i + j * 0.25 for j in range({dim})]::double[] as doubles from range({n}) t(i)) to '{out}/duckdb.parquet' (format parquet)")

# JSON lines
with gzip.GzipFile(out / 'lines.jsonl.gz', 'w', mtime=0) as lines:
    for i in range(n): lines.write((json.dumps({'id': int(ids[i]), 'embedding': vectors[i].tolist(), 'word': words[i]}) + '\n').encode())

# NumPy: a folder a kind
def folder(name):
    (out / name).mkdir(exist_ok=True); return out / name
where = folder('numpy'); np.save(where / 'vectors.npy', vectors); np.save(where / 'ids.npy', ids)
(where / 'metadata.jsonl').write_text(''.join(json.dumps({'word': word}) + '\n' for word in words))
where = folder('numpy-text'); np.save(where / 'embeddings.npy', vectors.astype('float16')); (where / 'ids.txt').write_text(''.join(f'id-{i}\n' for i in ids))
where = folder('numpy-unicode'); np.save(where / 'vectors.npy', vectors.astype('float64')); np.save(where / 'ids.npy', np.array([f'é-{i}' for i in ids]))
where = folder('numpy-rows'); np.save(where / 'vectors.npy', vectors)
where = folder('numpy-lines'); np.save(where / 'a.npy', vectors); np.save(where / 'b.npy', vectors[:, :3]); (where / 'ids.jsonl').write_text(''.join(json.dumps(f'id\n{i}') + '\n' for i in ids))
np.savez(out / 'stored.npz', ids=ids, vectors=vectors, word=np.array(words))
np.savez_compressed(out / 'deflated.npz', ids=np.array([f'id-{i}' for i in ids]), embeddings=vectors)
where = folder('bad'); np.save(where / 'fortran.npy', np.asfortranarray(vectors)); np.save(where / 'big-endian.npy', vectors.astype('>f4')); np.save(where / 'objects.npy', np.array([[None]], dtype=object)); np.save(where / 'integers.npy', vectors.astype('int32'))

import shutil
for name in ['lance.tmp', 'hf.tmp']: shutil.rmtree(out / name)
frame.drop(columns='id').set_index(pd.Index([f'id-{i}' for i in ids])).to_parquet(out / 'pandas-index-text.parquet')
