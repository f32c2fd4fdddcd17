import { Duration } from 'aws-cdk-lib';
import { JitterType, type RetryProps } from 'aws-cdk-lib/aws-stepfunctions';
import { errorNames } from '../lib/errors.ts';

/**
 * What is tried again, and for how long: with jitter FULL a retrier waits between nothing and the figures given here.
 * Every function can be called again with the same input; an error of ours that no policy names fails the run at once.
 */

/**
 * Lambda itself was at fault, or has too many calls under way. Interval 2 s, doubled up to 60 s:
 * 2 + 4 + 8 + 16 + 32 + 60 + 60 + 60 = 242 s at most.
 * Names: docs.aws.amazon.com/step-functions/latest/dg/bp-lambda-serviceexception.html
 */
export const lambdaFaults = {
  errors: [
    'Lambda.ClientExecutionTimeoutException',
    'Lambda.ServiceException',
    'Lambda.AWSLambdaException',
    'Lambda.SdkClientException',
    'Lambda.TooManyRequestsException',
  ],
  interval: Duration.seconds(2),
  backoffRate: 2,
  maxDelay: Duration.seconds(60),
  maxAttempts: 8,
  jitterStrategy: JitterType.FULL,
} satisfies RetryProps;

/**
 * The store asks for time or is away, as during a failover or a restart. Interval 5 s, doubled up to 300 s:
 * 5 + 10 + 20 + 40 + 80 + 160 + 6 x 300 = 2,115 s, some 35 minutes at most. Within a call lib/throttle.ts waits already.
 */
export const storeBusy = {
  errors: [errorNames.throttled, errorNames.storeUnavailable],
  interval: Duration.seconds(5),
  backoffRate: 2,
  maxDelay: Duration.seconds(300),
  maxAttempts: 12,
  jitterStrategy: JitterType.FULL,
} satisfies RetryProps;

/**
 * The function's process ended without an answer: time or memory ran out, or its host was lost. Its work so far is in
 * markers, so another call goes on from there; twice, since a cause that stays would cost a full timeout a try.
 * Interval 10 s, doubled: 10 + 20 = 30 s at most.
 */
export const lostCalls = {
  errors: [
    'States.Timeout',
    'Sandbox.Timedout',
    // What @middy/core throws in the last milliseconds before Lambda would end the function.
    'TimeoutError',
    'Runtime.ExitError',
    'Runtime.OutOfMemory',
    'Lambda.Unknown',
  ],
  interval: Duration.seconds(10),
  backoffRate: 2,
  maxAttempts: 2,
  jitterStrategy: JitterType.FULL,
} satisfies RetryProps;

/** The retriers of every task. */
export const retries: readonly RetryProps[] = [lambdaFaults, storeBusy, lostCalls];

/**
 * The loops that wait for a store look again after 5 s, 10 s, 15 s and so on: n looks last 5 n (n + 1) / 2 s. That is 26
 * looks in half an hour, 492 in 7 days; what is waited too long is never more than a tenth in vain after the first minutes.
 * A look makes 11 events, so two loops of 7 days make 11,000 of the 25,000 that an execution may have:
 * docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
 */
export const firstWaitSeconds = 5;

/** An execution that lasts longer is ended by Step Functions, and the alarm for failed runs tells of it. */
export const longestRun = Duration.days(14);
