import { startFauxqs } from 'fauxqs';

/** An emulator of S3 with one empty bucket, which every client that this process opens finds by the environment until `stop`. */
export async function startS3(bucket: string): Promise<{ stop(): Promise<void> }> {
  const server = await startFauxqs({ port: 0, logger: false, host: '127.0.0.1' });
  server.createBucket(bucket);
  const before = { ...process.env };
  Object.assign(process.env, {
    AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${server.port}`,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
  });
  return {
    stop: async () => {
      process.env = before;
      await server.stop();
    },
  };
}
