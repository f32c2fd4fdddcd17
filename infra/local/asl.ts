import { z } from 'zod';

/** The parts of the Amazon States Language that the bridge looks into; everything else passes through as it is. */

const retrier = z.looseObject({
  ErrorEquals: z.array(z.string()),
  IntervalSeconds: z.number().optional(),
  MaxDelaySeconds: z.number().optional(),
});

const base = z.looseObject({
  Type: z.enum(['Task', 'Parallel', 'Map', 'Pass', 'Wait', 'Choice', 'Succeed', 'Fail']),
  Resource: z.string().optional(),
  TimeoutSeconds: z.number().optional(),
  SecondsPath: z.string().optional(),
  TimeoutSecondsPath: z.string().optional(),
  Parameters: z.unknown().optional(),
  Seconds: z.number().optional(),
  Retry: z.array(retrier).optional(),
  ResultPath: z.string().nullable().optional(),
  ItemBatcher: z.unknown().optional(),
  ItemsPath: z.string().optional(),
  ItemSelector: z.unknown().optional(),
  MaxConcurrency: z.int().nonnegative().optional(),
  MaxConcurrencyPath: z.string().optional(),
  ToleratedFailureCount: z.int().nonnegative().optional(),
  ToleratedFailurePercentage: z.number().optional(),
  ItemReader: z
    .looseObject({
      Resource: z.string(),
      ReaderConfig: z.looseObject({ InputType: z.string(), MaxItems: z.int().positive().optional() }).optional(),
      Parameters: z.unknown(),
    })
    .optional(),
  ResultWriter: z.unknown().optional(),
});

export const stateSchema = base.extend({
  get ItemProcessor() {
    return machineSchema.extend({ ProcessorConfig: z.looseObject({ Mode: z.string() }).optional() }).optional();
  },
  get Branches() {
    return z.array(machineSchema).optional();
  },
});
export const machineSchema = z.looseObject({
  StartAt: z.string(),
  TimeoutSeconds: z.number().optional(),
  get States() {
    return z.record(z.string(), stateSchema);
  },
});

export type State = z.infer<typeof stateSchema>;
export type Machine = z.infer<typeof machineSchema>;
