import { setTimeout as sleep } from 'node:timers/promises';
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  NoSuchKey,
  PutObjectCommand,
  type PutObjectCommandInput,
  paginateListObjectsV2,
  type S3Client,
  S3ServiceException,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { AccessDenied, NotFound, StoreUnavailable, Throttled } from './errors.ts';
import { byBytes, changedWhileRead, type ListedObject, type ListingObjectStore } from './objects-files.ts';

/** Of a multipart upload: 10,000 parts at most; each but the last of 5 MiB at least, and 8 here: docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html */
const [maxParts, minPartBytes] = [10_000, 8 * 1024 * 1024];

/**
 * The bucket and the key of `s3://BUCKET/KEY`, without slashes at the key's end; undefined where it names no bucket. Not as a URL: a
 * key may hold %, ? and #, and is typed as `aws s3` takes it.
 */
export function parseS3(place: string): { readonly bucket: string; readonly key: string } | undefined {
  const [, bucket = '', rest = ''] = /^s3:\/\/([^/]*)\/?(.*)$/s.exec(place) ?? [];
  return bucket === '' ? undefined : { bucket, key: rest.replace(/\/+$/, '') };
}

/**
 * Objects in an S3 bucket. S3 itself writes whole objects or none, and reads what was last written.
 * @throws Throttled on 503 SlowDown, AccessDenied, NotFound when there is no bucket, StoreUnavailable for S3's other faults,
 * from every call: the client has retried them by then.
 */
export function openS3Objects(bucket: string, client: S3Client): ListingObjectStore {
  const locate = (key: string): string => `s3://${bucket}/${key}`;

  const entries = async (prefix: string): Promise<readonly ListedObject[]> => {
    const found: ListedObject[] = [];
    for await (const page of paginateListObjectsV2({ client }, { Bucket: bucket, Prefix: prefix })) {
      for (const { Key = '', Size = 0, ETag = '' } of page.Contents ?? [])
        found.push({ key: Key, size: Size, tag: ETag });
    }
    // Directory buckets do not list in order.
    return found.sort((a, b) => byBytes(a.key, b.key));
  };

  const write = async (
    key: string,
    body: Uint8Array | string,
    contentType = 'application/octet-stream',
    only: Pick<PutObjectCommandInput, 'IfNoneMatch'>,
  ): Promise<void> => {
    // The length is given, for the client takes an empty text for a stream of unknown length.
    const bytes = typeof body === 'string' ? Buffer.from(body) : body;
    const given = { Bucket: bucket, Key: key, Body: bytes, ContentLength: bytes.byteLength, ContentType: contentType };
    await client.send(new PutObjectCommand({ ...given, ...only }));
  };

  return {
    async get(key) {
      try {
        const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
        return (await Body?.transformToByteArray()) ?? new Uint8Array();
      } catch (error) {
        if (error instanceof NoSuchKey) return undefined;
        throw translate(error, locate(key));
      }
    },

    async put(key, body, contentType) {
      await write(key, body, contentType, {}).catch((error: unknown) => {
        throw translate(error, locate(key));
      });
    },

    async putParts(key, size, parts) {
      const object = { Bucket: bucket, Key: key };
      // The client gives each part a CRC32 in any case, and S3 takes one only where the upload was begun with it, and is ended with
      // all of them: docs.aws.amazon.com/AmazonS3/latest/API/API_CompletedPart.html
      const checked = { ...object, ChecksumAlgorithm: 'CRC32' } as const;
      let unread: unknown;
      const read = async function* (): AsyncGenerator<Uint8Array> {
        try {
          yield* parts;
        } catch (error) {
          unread = error;
          throw error;
        }
      };
      try {
        const { UploadId } = await client.send(
          new CreateMultipartUploadCommand({ ...checked, ContentType: 'application/octet-stream' }),
        );
        try {
          const done: CompletedPart[] = [];
          for await (const body of inParts(read(), Math.max(minPartBytes, Math.ceil(size / maxParts)))) {
            const PartNumber = done.length + 1;
            const part = { ...checked, UploadId, PartNumber, Body: body, ContentLength: body.length };
            const { ETag, ChecksumCRC32 } = await client.send(new UploadPartCommand(part));
            done.push({ PartNumber, ETag, ChecksumCRC32 });
          }
          await client.send(
            new CompleteMultipartUploadCommand({ ...object, UploadId, MultipartUpload: { Parts: done } }),
          );
        } catch (error) {
          // S3 keeps, and bills, the parts of an upload that is neither completed nor aborted. What failed first is what is said.
          await client.send(new AbortMultipartUploadCommand({ ...object, UploadId })).catch(() => {});
          throw error;
        }
      } catch (error) {
        throw unread ?? translate(error, locate(key));
      }
    },

    async create(key, body, contentType) {
      for (let tries = 1; ; tries++) {
        try {
          await write(key, body, contentType, { IfNoneMatch: '*' });
          return true;
        } catch (error) {
          const status = error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
          if (status === 412) return false;
          // Another writer is at it this moment, and only one of both is let through:
          // docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
          if (status !== 409 || tries === 5) throw translate(error, locate(key));
          await sleep(100 * tries);
        }
      }
    },

    async list(prefix) {
      return (await this.entries(prefix)).map(({ key }) => key);
    },

    async folders(prefix) {
      const found: string[] = [];
      try {
        for await (const page of paginateListObjectsV2({ client }, { Bucket: bucket, Prefix: prefix, Delimiter: '/' }))
          found.push(...(page.CommonPrefixes ?? []).map(({ Prefix = '' }) => Prefix));
      } catch (error) {
        throw translate(error, locate(prefix));
      }
      return found.sort(byBytes);
    },

    async entries(prefix) {
      return await entries(prefix).catch((error: unknown) => {
        throw translate(error, locate(prefix));
      });
    },

    async range({ key, tag }, from, to) {
      try {
        const range = `bytes=${from}-${to - 1}`;
        const { Body } = await client.send(
          new GetObjectCommand({ Bucket: bucket, Key: key, Range: range, IfMatch: tag }),
        );
        return (await Body?.transformToByteArray()) ?? new Uint8Array();
      } catch (error) {
        const status = error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
        if (status === 412 || error instanceof NoSuchKey) throw changedWhileRead(locate(key));
        throw translate(error, locate(key));
      }
    },

    async delete(key) {
      await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key })).catch((error: unknown) => {
        throw translate(error, locate(key));
      });
    },

    locate,
  };
}

/** The same bytes in parts of `size`, but for the last; one part of no bytes where there are none. */
async function* inParts(chunks: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Buffer> {
  let held: Uint8Array[] = [];
  let bytes = 0;
  let isFirst = true;
  for await (const chunk of chunks) {
    held.push(chunk);
    bytes += chunk.length;
    while (bytes >= size) {
      const all = Buffer.concat(held);
      yield all.subarray(0, size);
      isFirst = false;
      held = [all.subarray(size)];
      bytes -= size;
    }
  }
  if (bytes > 0 || isFirst) yield Buffer.concat(held);
}

/** What S3 says in our words. Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html */
function translate(error: unknown, where: string): unknown {
  if (!(error instanceof Error)) return error;
  const status = error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
  const what = `${where}: ${error.message}`;
  if (error.name === 'SlowDown' || error.name === 'ThrottlingException' || status === 503 || status === 429) {
    return new Throttled(what, { cause: error });
  }
  if (error.name === 'NoSuchBucket')
    return new NotFound(`${what}; make the bucket or name another`, { ids: [where], cause: error });
  if (status === 401 || status === 403 || error.name === 'CredentialsProviderError') {
    return new AccessDenied(`${what}; check the role's permissions on it`, { ids: [where], cause: error });
  }
  if (status === undefined || status >= 500) return new StoreUnavailable(what, { cause: error });
  return error;
}
