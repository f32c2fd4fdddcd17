import type { Flag } from '../cutover/flag.ts';

/** Where the client reads the routing flag: a file (file-flag.ts), an SSM parameter (aws.ts), or the application's own. */
export interface FlagReader {
  /** The flag's name: it is part of the hash that routes a key, and a dimension of the metrics. */
  readonly name: string;
  /** The flag as it is now; undefined when it was never set. Extra fields are ignored, wrong ones refused by the client. */
  read(): Promise<Flag | undefined>;
}
