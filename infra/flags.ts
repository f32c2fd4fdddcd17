import { Stack } from 'aws-cdk-lib';
import type { IConstruct } from 'constructs';

/** SSM parameters that hold routing flags. */
export const flagPrefix = '/vecferry/flags/';

/** All of them, since an event names its flag. */
export function flagArn(scope: IConstruct): string {
  return Stack.of(scope).formatArn({ service: 'ssm', resource: 'parameter', resourceName: `${flagPrefix.slice(1)}*` });
}
