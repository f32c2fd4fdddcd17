import { GetParameterCommand, ParameterNotFound, PutParameterCommand, type SSMClient } from '@aws-sdk/client-ssm';
import { type FlagStore, parseFlag } from './flag.ts';

/** Flags as SSM parameters under `prefix`, which begins and ends with a slash. */
export function ssmFlags(client: SSMClient, prefix: string): FlagStore {
  const parameter = (name: string): string => `${prefix}${name}`;
  return {
    read: async (name) => {
      try {
        const { Parameter } = await client.send(new GetParameterCommand({ Name: parameter(name) }));
        return parseFlag(Parameter?.Value ?? '', parameter(name));
      } catch (error) {
        if (error instanceof ParameterNotFound) return undefined;
        throw error;
      }
    },
    write: async (name, flag) => {
      await client.send(
        new PutParameterCommand({
          Name: parameter(name),
          Value: JSON.stringify(flag),
          Type: 'String',
          Overwrite: true,
        }),
      );
    },
    locate: parameter,
  };
}
