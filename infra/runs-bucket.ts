import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { BlockPublicAccess, Bucket, BucketEncryption, type IBucket, StorageClass } from 'aws-cdk-lib/aws-s3';
import type { Construct } from 'constructs';

/** How long log groups keep their lines: longer than the longest run (retries.ts) and a month to look into it. */
export const logRetention = RetentionDays.TWO_MONTHS;

/**
 * Plans, shards, markers and reports of all runs. Kept when the stack is deleted: it holds what a rollback needs. Not
 * versioned: an object of a run is written once, or again with the same content.
 */
export function runsBucket(scope: Construct): IBucket {
  const made = new Bucket(scope, 'Runs', {
    encryption: BucketEncryption.S3_MANAGED,
    enforceSSL: true,
    minimumTLSVersion: 1.2,
    blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
    removalPolicy: RemovalPolicy.RETAIN,
    lifecycleRules: [
      {
        id: 'unfinished uploads',
        abortIncompleteMultipartUploadAfter: Duration.days(7),
      },
      {
        // Shards are as large as the collection; by then a run is either cut over or will be made anew.
        id: 'old runs',
        prefix: 'runs/',
        transitions: [{ storageClass: StorageClass.INFREQUENT_ACCESS, transitionAfter: Duration.days(30) }],
        expiration: Duration.days(180),
      },
    ],
  });
  // CDK's own class and interface differ under exactOptionalPropertyTypes.
  return made as IBucket;
}
